"""`docs/api.md`, generated from the OpenAPI document: endpoints, fields, errors."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from service.api.anthropic.fields import MessagesFields
from service.api.chat.fields import HARMLESS, REFUSED, ChatFields, Tool
from service.api.chat.messages import (
    AssistantMessage,
    CalledFunction,
    ImagePart,
    ImageURL,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from service.api.chat.template import SWITCHES
from service.api.completions import fields as completions
from service.api.completions.fields import CompletionFields
from service.api.constraints.budget import ConstraintLimits
from service.api.constraints.enforced import FORMATS
from service.api.error_table import WHEN, by_status
from service.api.limits import BYTES_PER_TOKEN, LEAST_TOKENIZED, RequestLimits
from service.api.openapi import document
from service.api.openapi_parts import REF
from service.api.responses.fields import ResponsesFields
from service.api.sampling.fields import NO_EFFECT, SamplingFields
from service.api.wire import Wire
from service.cli.api_dialects import dialects
from service.errors import FetchCause

HEAD = """# API

OpenAI's chat completions, including images, and completions; any OpenAI client works with
`base_url="http://HOST:8000/v1"`. The same model answers in two more dialects, [OpenAI's Responses
API](#the-responses-api) and [Anthropic's Messages API](#the-messages-api); [clients.md](clients.md) shows clients of
each. If `api_keys` or `api_keys_file` is set, requests for the model or its tokenizer must carry `Authorization: Bearer
KEY` or `x-api-key: KEY`. `make docs` generates this page from the OpenAPI document, which is served at `/openapi.json`,
and which `python -m service.cli.reference openapi` prints for those who generate clients.

"""
ASKING = """
## Asking about an image

```sh
curl -s http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' -d '{
  "messages": [{"role": "user", "content": [
    {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,'"$(base64 -w0 demo/scenes/shapes.jpg)"'",
                                        "detail": "high"}},
    {"type": "text", "text": "What colour is the star?"}]}],
  "temperature": 0}'
```

```json
{"id": "chatcmpl-…", "object": "chat.completion", "created": 1784000000, "model": "patchbay-demo",
 "choices": [{"index": 0, "message": {"role": "assistant", "content": "red", …}, "finish_reason": "stop", …}],
 "usage": {"prompt_tokens": 177, "total_tokens": 179, "completion_tokens": 2,
           "prompt_tokens_details": {"cached_tokens": 0, "image_tokens": 160, "image_detail": ["high"], "images": [
             {"width": 278, "height": 278, "processed": [336, 336], "placement": [0, 0, 336, 336], "tokens": 160}]}}, …}
```

Images are parts of type `image_url` in all messages but the assistant's (in a system message, if the checkpoint's chat
template has a place for one there), as data URLs or http(s) URLs (JPEG, PNG, WebP, or the
first frame of a GIF). `detail` is `low` (one tile; for a model that accepts any size, at most 512 × 512 pixels), `high`
(as much as the model accepts) or `auto`, the default, which is `high` but reduced where the images would take more than
half of the context, and where the operator allows it (`auto_detail_backlog`) while the encoder has too much to do;
`original` is `high`. In place of the object, `image_url` may be the URL itself.

`prompt_tokens_details` reports the level that was applied, the soft tokens of all images together (`image_tokens`;
separators between them count as text), and each image as it was sent and as the model sees it: on a canvas of
`processed` pixels, where the whole image has the `placement` (left, top, width, height). A point (x, y) of the canvas,
such as the corner of a box that the model names, is on the image as sent at ((x − left) · `width` ÷ its width on the
canvas, (y − top) · `height` ÷ its height on the canvas). Where the engine encodes images itself and Patchbay does not
know the model's family, the count is the engine's own (`multimodal_tokens`).

With `"stream": true` the answer arrives as server-sent events, one `data:` line each; the last is `data: [DONE]`. While
an image is being encoded, lines that begin with a colon keep the connection open. An error in the middle of a stream is
an event with the error object, after which the stream ends. `stream_options.include_usage` adds a last chunk with
`usage`.

With the header `X-Patchbay-Details: 1` the answer also reports what the request cost: tiles, tokens and cache hits by
image, milliseconds by stage ([observability.md](observability.md#one-request)).

An error names the field that it is about:

```json
{"error": {"message": "temperature: input should be less than or equal to 2; received 3.",
           "type": "invalid_request_error", "param": "temperature", "code": "invalid_value"}}
```
"""
COUNTING = """
## Counting tokens

`POST /v1/tokenize` takes the body of a chat request and says what its prompt costs, without answering it:

```json
{"model": "patchbay-demo", "prompt_tokens": 177, "text_tokens": 17, "image_tokens": 160, "openai_image_tokens": 255,
 "max_model_len": 4096, "fits": true,
 "images": [{"path": "messages[0].content[0].image_url.url", "width": 278, "height": 278, "processed": [336, 336],
             "placement": [0, 0, 336, 336], "detail": "high", "grid": [3, 3], "tiles": 10, "tokens": 160,
             "openai_tokens": 255}]}
```

`prompt_tokens` is exactly what `usage` of the answer would say. Images are counted by the sizes in their headers: no
pixel is decoded and nothing is encoded. Of an image at a URL, which is fetched under the same rules, only as much is
fetched as its header needs, and of a long data URL, whose number of bytes is known by its length, only the beginning
is decoded; a PNG is read to its end, because it may be turned by what stands there. What a request is refused for by
the rest of a file, by a remote file's number of bytes, or because the rest of a data URL is not base64, is therefore
not known yet. `auto` is reduced as it would be for an answer while the encoder keeps up, and `fits` says whether there
is room for the prompt and one token more. `openai_tokens` is OpenAI's tariff of 85 tokens for an image and 170 for each
tile of 512 pixels, for comparison.

Where the engine encodes images itself (`images=passthrough`), it reads them to count them, and for a family that
Patchbay does not know the figures of single images are `null`.

`POST /tokenize` and `POST /detokenize` are vLLM's: a text under `prompt` (with `add_special_tokens`), or a chat
request, becomes `tokens`, with their texts if `return_token_strs` is true, and `tokens` become text. A request of this
kind may have {each} bytes for each token of the model's context beside its images, {least} at least and {most} at
most; a longer text is counted in parts.

All three need a key where keys are required, take a place, and are counted by the limits of the key.
"""
COMPLETIONS = """
## Completions

`POST /v1/completions` goes on with a text, or with each of several, as it is, without the chat template. It has the
fields of a chat request that draw and constrain an answer, and its own:

| field | type | allowed |
|---|---|---|
"""
CONSTRAINTS = """
## Structured output

`response_format`, `structured_outputs` and `tools` that are `strict` or forced are compiled before the model answers.
One request may have {limits.max_states:,} states compiled, which is the setting `max_constraint_states`: roughly the
characters of its property names, listed values and patterns, each as often as it is repeated; a character class counts
as 20, and one that leaves out only a few characters as 100. Lists have at most {limits.max_values:,} values. Schemas
and structural tags may be {limits.max_depth} levels deep, patterns and grammars may have {limits.max_depth} groups
within one another. Nothing may be repeated more than {limits.max_count:,} times, and in a schema's patterns
{limits.max_pattern_count} times. A `$ref` leads into its own schema (`#/…`) and may come back to itself only by way of
a property or an item, and no rule of a grammar may begin with itself. What exceeds a limit or is not well-formed is
answered 400, with the member's path.

A call that `tool_choice` forces has arguments by the tool's `parameters`, as if the tool were `strict`, unless
`strict` is `false`: then they are any JSON.

Answers in JSON have no white space that a model could write without end, and the arguments of a call that is `strict`
or forced at most one character of it side by side. Unless a schema is
`strict`, keywords that the engine cannot enforce (`multipleOf`, `uniqueItems`, `contains`, other formats than
{formats}, lengths beside a pattern or format) are left out; in one that is, and in `structured_outputs`, they are
refused. With a `--structured-outputs-config` of the operator's own its backend decides.

`allowed_token_ids` beside any of these is refused: where no token is both, the engine would fail. So it does, with 502,
where `bad_words` leave nothing that such an answer could go on with.

With `temperature` 0 and `n` more than 1, the same answer comes `n` times. `max_tokens` beyond the model's context is
lowered to what the prompt leaves free.
"""
FIELDS = """
## Fields of a chat request

No other field is accepted, at any depth, except those listed below as without effect: a misspelt field is refused, not
ignored. `null` is the same as absence, and an integer may be written with a fraction of zero (`16.0`).

| field | type | allowed |
|---|---|---|
"""
EXPLAINED = """\
`verbosity` and `prediction` are hints that change at most the style or the pace of an answer.
Their values are not looked at, except for `modalities`, which may only be `["text"]`.
"""
SENT_BACK: dict[str, type[Wire]] = {
    "system, developer and user messages": UserMessage,
    "assistant messages": AssistantMessage,
    "tool messages": ToolMessage,
    "a tool call": ToolCall,
    "its `function`": CalledFunction,
    "text and refusal parts": TextPart,
    "image parts": ImagePart,
    "`image_url`": ImageURL,
    "a tool, and its `function`": Tool,
}


IMAGES = """
## Images

An image is an http(s) URL or a data URL: JPEG with 8 bits per sample, PNG, WebP or GIF. Its bytes decide which, not the
type that is declared, and of an animation the first frame counts. It is turned upright as Pillow's
`ImageOps.exif_transpose` turns it: by the orientation in EXIF, or, where EXIF has none, in XMP. Transparency is
composed on white. What a GIF's first frame leaves bare of its screen has the palette's first colour, and a frame that
reaches beyond the screen enlarges it.

**Data URLs** are read by the rule of browsers: white space, percent-encoded or not, and missing padding do not matter.
The letters of base64url are read too, and the type may be absent, `image` or `application/octet-stream`, or what
Python and JavaScript write for one that is not known (`None`, `undefined`).

**URLs** are fetched by Patchbay. Bodies that a server compresses with gzip or deflate are decompressed, and a
`Content-Encoding` that encodes nothing is passed over. Where an image cannot be had, the error's `cause` says why:
{causes}.

Each image is bounded by `max_image_bytes` and `max_image_pixels`, and all images of one request together by
`max_request_image_bytes` and `max_request_image_pixels`; nothing is decoded before both are known.
"""


def api_page() -> str:
    spec = document()
    return "".join(
        (
            *(
                HEAD,
                _endpoints(spec),
                ASKING,
                _counting(),
                _constraints(),
            ),
            *(FIELDS, _fields("ChatCompletionRequest", ChatFields, spec), _left_out(), _completions(spec)),
            *(_images(), _dialects(spec), _errors()),
        ),
    )


def _counting() -> str:
    bounds = {
        "{each}": BYTES_PER_TOKEN,
        "{least}": LEAST_TOKENIZED,
        "{most}": RequestLimits().max_tokenized_bytes,
    }
    text = COUNTING
    for name, number in bounds.items():
        text = text.replace(name, f"{number:,}")
    return text


def _endpoints(spec: dict[str, Any]) -> str:
    rows = "".join(
        f"| `{verb.upper()} {path}` | {operation['summary']} | {', '.join(operation['responses'])} |\n"
        for path, verbs in spec["paths"].items()
        for verb, operation in verbs.items()
    )
    return "| request | | answers |\n|---|---|---|\n" + rows


def _fields(name: str, kind: type[Wire], spec: dict[str, Any], without: Container[str] = ()) -> str:
    schema = spec["components"]["schemas"][name]
    required = schema["required"]
    rows = []
    for name, field in schema["properties"].items():
        if name not in kind.model_fields or name in without:
            continue
        kinds = [kind for kind in field.get("anyOf", [field]) if kind != {"type": "null"}]
        allowed = "required" if name in required else _range(kinds[0])
        rows.append(f"| `{name}` | {' or '.join(_type(kind) for kind in kinds)} | {allowed} |\n")
    return "".join(rows)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].removeprefix(REF)}`"
    if "enum" in schema:
        return "string"
    if "const" in schema:
        return f"`{schema['const']}`"
    for alternatives in ("oneOf", "anyOf"):
        if alternatives in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[alternatives]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {_type(schema.get('items', {}))}"
    return kind


def _range(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    words = {
        "minimum": "at least {}",
        "exclusiveMinimum": "more than {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "less than {}",
        "maxItems": "at most {} elements",
        "minItems": "at least {} elements",
        "maxProperties": "at most {} entries",
    }
    return ", ".join(text.format(schema[name]) for name, text in words.items() if name in schema)


def _completions(spec: dict[str, Any]) -> str:
    own = _fields("CompletionRequest", CompletionFields, spec, without=SamplingFields.model_fields)
    rows = "".join(
        f"| `{name}` | {reason} | {_nothing(name, completions.HARMLESS)} |\n"
        for name, reason in sorted(completions.REFUSED.items())
        if REFUSED.get(name) != reason
    )
    shared = ", ".join(f"`{name}`" for name in SamplingFields.model_fields)
    return (
        f"{COMPLETIONS}{own}\nShared with chat requests: {shared}. `max_tokens` is 16 where it is not given, and each "
        "prompt has `n` answers, at most `max_choices` together. What is refused differs in these fields:\n\n"
        f"| field | reason | asks for nothing |\n|---|---|---|\n{rows}"
    )


def _dialects(spec: dict[str, Any]) -> str:
    responses = _fields("ResponsesRequest", ResponsesFields, spec)
    return dialects(responses, _fields("MessagesRequest", MessagesFields, spec))


def _constraints() -> str:
    formats = ", ".join(f"`{name}`" for name in sorted(FORMATS))
    return CONSTRAINTS.format(limits=ConstraintLimits(), formats=formats)


def _left_out() -> str:
    kept = "".join(f"| {where} | {_names(kind.ignored)} |\n" for where, kind in SENT_BACK.items())
    rows = "".join(
        f"| `{name}` | {reason} | {_nothing(name, HARMLESS)} |\n" for name, reason in sorted(REFUSED.items())
    )
    caps = RequestLimits()
    return (
        "\nBesides these ranges, `n` is at most `max_choices`, a request has at most `max_images` images, `stop` has "
        f"at most {caps.max_stop} strings, `top_logprobs` is at most {caps.max_top_logprobs}, a conversation has at "
        f"most {caps.max_messages} messages and {caps.max_parts} parts and calls of tools, and each of `tools`, "
        f"`response_format` and `structured_outputs` is at most {caps.max_schema_bytes // 1024} KiB of JSON.\n"
        f"\n`chat_template_kwargs` may set the variables that the checkpoint's chat template has; {_names(SWITCHES)} "
        "may always be sent.\n"
        "\nAccepted for compatibility with clients of OpenAI and vLLM, but without effect and not forwarded to the "
        f"engine: {_names(NO_EFFECT)}. {EXPLAINED}\n"
        "What clients add to answers that they send back, and to parts and tools, has no effect either:\n\n"
        f"| in | without effect |\n|---|---|\n{kept}\n"
        "Refused, with the reason or an alternative, unless the value is `null` or one that asks for nothing:\n\n"
        "| field | reason | asks for nothing |\n|---|---|---|\n" + rows
    )


def _names(fields: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(fields))


def _nothing(name: str, harmless: Mapping[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"`{json.dumps(value)}`" for value in harmless.get(name, ()))


def _images() -> str:
    return IMAGES.format(causes=", ".join(f"`{cause}`" for cause in FetchCause))


def _errors() -> str:
    rows = "".join(
        f"| {status} | `{kind.code}` | `{kind.type}` | {WHEN[kind]} |\n"
        for status, kinds in by_status().items()
        for kind in kinds
    )
    return (
        "\n## Errors\n\nThe body is OpenAI's error object: `message`, `type`, `param`, `code`, and `cause` where an "
        "image could not be had from its URL. Answers with status 429 or 503 carry the header `Retry-After`, in "
        "seconds.\n\n"
        "| status | code | type | when |\n|---|---|---|---|\n" + rows
    )
