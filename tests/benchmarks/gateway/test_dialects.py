"""In each API every token of the stand-in's is heard when it comes, and only the right answer is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.gateway.dialects import Cost, table
from benchmarks.gateway.engine import answer, events_of
from benchmarks.gateway.wires import WIRES
from benchmarks.translation import APIS, question_of
from service.api.completion import Event

TOKENS = 5


def streamed(api: str) -> list[tuple[int, bytes]]:
    """What was sent of an answer after each of the engine's steps, behind the number of the engine's events in it."""
    asked: dict[str, Any] = {"stream": True, "temperature": 0, **WIRES[api].asked("q", TOKENS)}
    question = question_of(APIS[api], json.dumps(asked).encode())
    writer, body, sent, found = question.writer(), b"", 0, []
    for frames, last in events_of("q", {**question.request.payload, "model": "demo"}):
        # the end of a stream is no event, and each API has its own
        events = [Event(frame) for frame in frames if b"[DONE]" not in frame]
        body += writer.write(events)
        sent += len(frames)
        found.append((sent, body + writer.end(None) if last else body))
    return found


@pytest.mark.parametrize("api", WIRES)
def test_every_token_is_heard_before_the_next_step(api: str) -> None:
    *steps, _ = streamed(api)
    assert [WIRES[api].heard(body) for _, body in steps] == [sent for sent, _ in steps]
    assert steps[0][0] == 2


@pytest.mark.parametrize("api", WIRES)
def test_only_the_answer_of_the_engine_is_right(api: str) -> None:
    *_, (_, body) = streamed(api)
    assert WIRES[api].says(body, answer("q", TOKENS))
    assert not WIRES[api].says(body, answer("q", TOKENS - 1))
    assert not WIRES[api].says(
        body.replace(b"length", b"stop").replace(b"max_", b"min_"), answer("q", TOKENS)
    )


def test_costs_are_told_beside_those_of_chat_completions() -> None:
    costs = {api: [Cost(2.0 * factor, 50.0 * factor, 8.0)] for factor, api in enumerate(WIRES, 1)}
    assert table(costs).splitlines()[-1] == (
        "| Messages | 6.00 (6.00–6.00) × 3.00 | 150 (150–150) × 3.00 | 8.00 (8.00–8.00) × 1.00 |"
    )
