"""The tokenizer's routes in the OpenAPI document."""

from __future__ import annotations

from service.api.openapi_parts import (
    COUNT,
    REF,
    REQUEST_ID,
    STRING,
    TRACE,
    Document,
    answered,
    array_of,
    asked,
    image_cuts,
    image_sizes,
    json_object,
    or_null,
)
from service.api.tokenize.fields import PromptFields, TokensFields

CHAT = {"$ref": REF + "ChatCompletionRequest"}


def token_paths() -> Document:
    either = {"anyOf": [{"$ref": REF + "TokenizeRequest"}, CHAT]}
    return {
        "/v1/tokenize": _post(
            "Count the tokens of a chat request, image by image, without answering it.",
            CHAT,
            answered("The count.", {"$ref": REF + "TokenCount"}),
        ),
        "/tokenize": _post(
            "Turn a text, or the prompt of a chat request, into tokens, as vLLM does.",
            either,
            answered("The tokens.", {"$ref": REF + "Tokens"}),
        ),
        "/detokenize": _post(
            "Turn tokens into text, as vLLM does.",
            {"$ref": REF + "DetokenizeRequest"},
            answered("The text.", json_object({"prompt": STRING}, "prompt")),
        ),
    }


def token_schemas() -> Document:
    return {
        "TokenizeRequest": PromptFields.model_json_schema(),
        "DetokenizeRequest": TokensFields.model_json_schema(),
        "TokenCount": _count(),
        "Tokens": _tokens(),
    }


def _post(summary: str, body: Document, responses: Document) -> Document:
    return {
        "post": {
            "summary": summary,
            "parameters": [REQUEST_ID, TRACE],
            "requestBody": asked(body),
            "responses": responses,
        }
    }


def _count() -> Document:
    compared = {
        **COUNT,
        "description": "What OpenAI's tariff of 85 and 170 tokens makes of it, for comparison.",
    }
    image = {"path": STRING, **image_sizes(), **image_cuts(), "openai_tokens": compared}
    properties = {
        "model": STRING,
        "prompt_tokens": {
            **COUNT,
            "description": "All of the prompt: the `prompt_tokens` of an answer's `usage`.",
        },
        "text_tokens": {
            **or_null(COUNT),
            "description": "What is not `image_tokens`, separators of images included.",
        },
        "image_tokens": {**or_null(COUNT), "description": "Soft tokens of all images."},
        "openai_image_tokens": {**or_null(COUNT), "description": "The sum of `openai_tokens`."},
        "max_model_len": {**COUNT, "description": "What the model holds, prompt and answer together."},
        "fits": {
            "type": "boolean",
            "description": "Whether there is room for the prompt and one token more.",
        },
        "images": or_null(array_of(json_object(image, *image))),
    }
    return json_object(properties, *properties)


def _tokens() -> Document:
    properties = {
        "count": COUNT,
        "max_model_len": COUNT,
        "tokens": array_of(COUNT),
        "token_strs": or_null(array_of(STRING)),
    }
    return json_object(properties, *properties)
