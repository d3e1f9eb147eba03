"""The application held against its own OpenAPI document: Schemathesis makes the requests and judges the answers.

    .venv/bin/python -m tests.service.api.conformance --examples 2000

Sound requests, and others that break the document's schemas in one place, go through the real pipeline to an engine
that is a stand-in. No answer may be a 5xx; its status, content type, headers and body must be declared; and what breaks
a schema must be refused.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from prometheus_client import CollectorRegistry
from schemathesis.engine import events, from_schema

from service.api.sse import DONE
from service.domain import ChatRequest, EngineReply, Route, TokenCount
from service.families import load_geometry
from service.ingest import URLPolicy
from service.pipeline.admission import Admission
from service.pipeline.handover import Handles
from service.settings import EMBEDDED_MODEL
from service.telemetry.metrics import Metrics
from tests.service.api.fakes import Harness, Tokenizer
from tests.service.api.test_routes import VLLM
from tests.service.fakes import Encoder, Engine, Reply, event, pipeline
from tests.waiting import DEADLOCK

HEAD = {"id": "chatcmpl-1", "created": 1, "model": "demo"}
MESSAGE = {"role": "assistant", "content": "red"}
CHOICE = {"index": 0, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_tokens_details": None}
COMPLETION = HEAD | {"object": "chat.completion", "choices": [CHOICE | {"message": MESSAGE}], "usage": USAGE}
CHUNK = HEAD | {"object": "chat.completion.chunk", "choices": [CHOICE | {"delta": MESSAGE}]}

TEXT = HEAD | {"object": "text_completion", "choices": [CHOICE | {"text": "red"}], "usage": USAGE}

CHAT = "/v1/chat/completions"
GENERATES = [CHAT, "/v1/completions"]
DIALECTS = ["/v1/responses", "/v1/responses/input_tokens", "/v1/messages", "/v1/messages/count_tokens"]
SETTINGS: dict[str, Any] = {
    "continue-on-failure": True,
    "request-timeout": DEADLOCK,
    "cache": {"enabled": False},
    "phases": {"stateful": {"enabled": False}},
    "operations": [
        # a schema cannot say that a data URL must be an image, that a tool must be known, or what excludes what
        {
            "include-path": [*GENERATES, *DIALECTS],
            "checks": {"positive_data_acceptance": {"enabled": False}},
        },
        {
            "include-path": "/v1/responses/{rest}",
            "checks": {"positive_data_acceptance": {"expected-statuses": ["404"]}},
        },
        # the same schema as that of chat, whose edges are tried there
        {
            "include-path": ["/v1/tokenize", "/tokenize"],
            "checks": {"positive_data_acceptance": {"enabled": False}},
            "phases": {"coverage": {"enabled": False}},
        },
        # any name is a sound one, but only a model's own finds it
        {
            "include-path": "/v1/models/{name}",
            "checks": {"positive_data_acceptance": {"expected-statuses": ["200", "404"]}},
        },
    ],
}


class AnsweringEngine(Engine):
    """Gives the same short answer to everything, streamed where that is asked for."""

    async def post(self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> EngineReply:
        if payload.get("stream"):
            return Reply(event(**CHUNK), DONE, content_type="text/event-stream")
        return Reply(json.dumps(TEXT if route == Route.COMPLETION else COMPLETION).encode())


class AnsweringTokenizer(Tokenizer):
    """Gives the same short answer to everything; what images cost is not known."""

    def __init__(self) -> None:
        super().__init__(TokenCount(prompt_tokens=9, context=4096, images=None))

    async def ask(self, request: ChatRequest, headers: Mapping[str, str]) -> Mapping[str, Any]:
        return {"prompt": "red"} if request.route == Route.DETOKENIZE else self.ANSWER


@dataclass(slots=True)
class Found:
    """What came of a run."""

    failures: list[str] = field(default_factory=list)
    """Each with the request that shows it."""
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by operation and status."""


def application() -> Harness:
    """Everything from HTTP to the engine's door, which is a stand-in; no image is fetched from anywhere."""
    geometry, metrics = load_geometry(EMBEDDED_MODEL), Metrics(CollectorRegistry())
    images = Handles(Encoder(), Admission(max_inflight=4, max_visual_tokens=1000), metrics, lambda rows: rows)
    policy = URLPolicy(allowed_hosts=("pictures.invalid",))
    chat = pipeline(AnsweringEngine(), geometry, images, metrics, policy=policy)
    return Harness(
        pipeline=chat, tokenizer=AnsweringTokenizer(), engine=VLLM(b"vllm:num_requests_running 0.0\n")
    )


def hold_to_document(examples: int, seed: int) -> Found:
    """Up to `examples` random requests to each operation, after those at the edges of each schema."""
    generation = {"max-examples": examples, "database": "none"}
    config = schemathesis.Config.from_dict({**SETTINGS, "seed": seed, "generation": generation})
    schema = schemathesis.openapi.from_asgi("/openapi.json", application().api, config=config)
    found = Found()
    for told in from_schema(schema).execute():
        if isinstance(told, events.ScenarioFinished):
            _collect(told, found)
        elif isinstance(told, events.NonFatalError):
            found.failures.append(f"{told.label}: {told.value!r}")
        elif isinstance(told, events.FatalError):
            raise told.exception
    return found


def _collect(scenario: events.ScenarioFinished, found: Found) -> None:
    recorder = scenario.recorder
    for interaction in recorder.interactions.values():
        if interaction.response is not None:
            found.statuses[recorder.label, interaction.response.status_code] += 1
    for checks in recorder.checks.values():
        for check in checks:
            if (info := check.failure_info) is not None:
                found.failures.append(f"{recorder.label}: {info.failure}\n{info.code_sample}")


def main() -> int:
    """Runs the command; status 1 when something does not conform."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=2000, help="for each operation (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(32), help="default: a new one"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}")
    found = hold_to_document(options.examples, options.seed)
    for (operation, status), count in sorted(found.statuses.items()):
        print(f"{operation}: {count} answers {status}")
    for failure in found.failures:
        print(f"\n{failure}", file=sys.stderr)
    return int(bool(found.failures))


if __name__ == "__main__":
    sys.exit(main())
