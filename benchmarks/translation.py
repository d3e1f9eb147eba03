"""What do the Responses and the Messages API cost, beside chat completions?

    patchbay serve &
    python -m benchmarks.translation --url http://127.0.0.1:8000

Asks one question about a picture in each API, as a stream: the texts must be equal, or no times are reported and the
exit status is 1. Then, in turns: the client's time from its request to the first piece of text, and, without the
service, processor time of reading a request and of writing one streamed event. Chat completions pass through as they
are and are 1.00.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import httpx

from demo.cases import data_url
from demo.world import draw_scene, scene_seed
from service.api.anthropic.dialect import Messages
from service.api.chat.dialect import ChatCompletions
from service.api.completion import Event
from service.api.dialect import Dialect
from service.api.limits import RequestLimits
from service.api.responses.dialect import Responses
from service.domain import ANYBODY

QUESTION = "Describe the picture."
EVENTS = 256
"""Of one streamed answer: as many tokens."""
_, SCENE = draw_scene(scene_seed("evaluate", 12, 1), "shapes")
URL = data_url(SCENE, "PNG")


class API(NamedTuple):
    path: str
    dialect: Dialect
    body: dict[str, Any]
    text: Callable[[dict[str, Any]], str]
    """That an event brings; most bring none."""


def _of_chat(event: dict[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])


def _of_responses(event: dict[str, Any]) -> str:
    return event["delta"] if event["type"] == "response.output_text.delta" else ""


def _of_messages(event: dict[str, Any]) -> str:
    return event["delta"]["text"] if event["type"] == "content_block_delta" else ""


def _user(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


_COMMON = {"temperature": 0, "stream": True}
_SOURCE = {"type": "base64", "media_type": "image/png", "data": URL.partition(",")[2]}
APIS = {
    "chat completions": API(
        "/v1/chat/completions",
        ChatCompletions(),
        {
            "messages": _user(
                {"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": QUESTION}
            ),
            "max_tokens": 48,
            **_COMMON,
        },
        _of_chat,
    ),
    "Responses": API(
        "/v1/responses",
        Responses(),
        {
            "input": _user(
                {"type": "input_image", "image_url": URL}, {"type": "input_text", "text": QUESTION}
            ),
            "max_output_tokens": 48,
            **_COMMON,
        },
        _of_responses,
    ),
    "Messages": API(
        "/v1/messages",
        Messages(),
        {
            "messages": _user(
                {"type": "image", "source": _SOURCE},
                {"type": "text", "text": QUESTION},
            ),
            "max_tokens": 48,
            **_COMMON,
        },
        _of_messages,
    ),
}


class Heard(NamedTuple):
    text: str
    first: float
    """Seconds to the first piece of text."""


def hear(client: httpx.Client, api: API) -> Heard:
    """Raises RuntimeError for an answer other than 200."""
    pieces: list[str] = []
    first, began = 0.0, time.perf_counter()
    with client.stream("POST", api.path, json=api.body) as reply:
        if reply.status_code != 200:
            raise RuntimeError(f"{api.path}: {reply.status_code} {reply.read()[:300]!r}")
        for event in events_of(reply.iter_lines()):
            if text := api.text(event):
                first = first or time.perf_counter() - began
                pieces.append(text)
    return Heard("".join(pieces), first)


def events_of(lines: Iterator[str] | Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def engine_events(count: int) -> list[Event]:
    """A streamed answer of the engine's: `count` tokens and the end."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "demo"}
    deltas = [{"content": f"word{number} "} for number in range(count)]
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": "stop"})
    usage = {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count}
    told = [{**chunk, "choices": [choice]} for choice in choices] + [{**chunk, "choices": [], "usage": usage}]
    return [Event(b"data: " + json.dumps(each, separators=(",", ":")).encode() + b"\n\n") for each in told]


def question_of(api: API, body: bytes) -> Any:
    return api.dialect.read(body, RequestLimits(), models=("demo",), request_id="r", caller=ANYBODY)


def written(api: API) -> str:
    """The text of the engine's answer as this API's client reads it."""
    writer = question_of(api, json.dumps(api.body).encode()).writer()
    frames = b"".join([writer.write([event]) for event in engine_events(EVENTS)]) + writer.end(None)
    return "".join(map(api.text, events_of(frames.decode().splitlines())))


def read_cost(api: API) -> float:
    """Processor microseconds to read a request."""
    body = json.dumps(api.body).encode()
    began = time.process_time()
    for _ in range(50):
        question_of(api, body)
    return 1e6 * (time.process_time() - began) / 50


def event_cost(api: API) -> float:
    """Processor microseconds to write an event that brings one token."""
    writer, events = question_of(api, json.dumps(api.body).encode()).writer(), engine_events(EVENTS)
    began = time.process_time()
    for event in events:
        writer.write([event])
    writer.end(None)
    return 1e6 * (time.process_time() - began) / len(events)


def in_turns(measure: Callable[[API], float], rounds: int) -> dict[str, float]:
    """Medians by API."""
    found: dict[str, list[float]] = {name: [] for name in APIS}
    for number in range(rounds):
        names = list(APIS)[:: 1 if number % 2 else -1]
        for name in names:
            found[name].append(measure(APIS[name]))
    return {name: statistics.median(values) for name, values in found.items()}


def show(what: str, unit: str, found: dict[str, float]) -> None:
    base = found["chat completions"]
    told = ", ".join(f"{name} {value:.1f} {unit} ({value / base:.2f})" for name, value in found.items())
    print(f"{what}: {told}")


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--url", help="Patchbay; without it only processor times are taken")
    options.add_argument("--rounds", type=int, default=41)
    given = options.parse_args()
    if len({written(api) for api in APIS.values()}) > 1:
        print("the APIs write different texts: no times are reported", file=sys.stderr)
        return 1
    if given.url:
        with httpx.Client(base_url=given.url, timeout=300) as client:
            heard = {name: hear(client, api).text for name, api in APIS.items()}
            if len(set(heard.values())) > 1 or not heard["chat completions"]:
                print(f"answers differ: {heard}; no times are reported", file=sys.stderr)
                return 1
            first = in_turns(lambda api: 1000 * hear(client, api).first, given.rounds)
        show("first text", "ms", first)
    show("reading a request, processor", "µs", in_turns(read_cost, given.rounds))
    show("a streamed event, processor", "µs", in_turns(event_cost, given.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
