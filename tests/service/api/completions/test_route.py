"""Completions take the course of every request to the model: place, stream, usage, errors, metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.api.sse import DONE
from service.domain import Route
from service.errors import EngineRejected
from tests.service.api.fakes import Call, Harness, Reply, event

pytestmark = pytest.mark.anyio
WORDS = event(id="1", object="text_completion", choices=[{"index": 0, "text": "a", "finish_reason": None}])
END = event(id="1", object="text_completion", choices=[{"index": 0, "text": "", "finish_reason": "stop"}])
USAGE = event(id="1", object="text_completion", choices=[], usage={"prompt_tokens": 9})


def complete(harness: Harness, *, headers: dict[str, str] | None = None, **fields: Any) -> Call:
    body = json.dumps({"prompt": "Once"} | fields).encode()
    return Call(harness.api, "/v1/completions", body, **(headers or {}))


async def test_an_answer_in_one_piece_passes_byte_for_byte() -> None:
    raw = b'{ "choices": [{"text": "a", "finish_reason": "length"}], "usage" : {"prompt_tokens": 9} }'
    harness = Harness(Reply(raw))
    call = await complete(harness).run()
    assert (call.status, call.body) == (200, raw)
    request, _ = harness.service.asked[0]
    assert (request.route, request.payload) == (Route.COMPLETION, {"prompt": "Once", "model": "demo"})
    assert harness.metric("requests_total", route="/v1/completions", model="demo", code="200") == 1
    assert harness.admission.inflight == 0


async def test_a_stream_passes_frame_by_frame() -> None:
    harness = Harness(Reply(WORDS, WORDS, END, USAGE, DONE))
    call = await complete(harness, stream=True, stream_options={"include_usage": True}).run()
    assert call.body == WORDS + WORDS + END + USAGE + DONE
    assert harness.metric("time_to_first_token_seconds_count") == 1


async def test_its_cost_is_told_to_who_asks() -> None:
    call = await complete(Harness(Reply(b'{"choices":[]}')), headers={"x_patchbay_details": "1"}).run()
    assert json.loads(call.body)["patchbay"]["images"] == []


async def test_refusals_come_as_in_chat() -> None:
    harness = Harness(EngineRejected("no", status=400))
    assert (await complete(harness).run()).error["code"] == "engine_rejected"
    assert (await complete(harness, suffix="end").run()).error["param"] == "suffix"
    harness.admission.drain()
    assert (await complete(harness).run()).error["code"] == "draining"
    assert (await complete(Harness(api_keys=["secret"])).run()).status == 401
