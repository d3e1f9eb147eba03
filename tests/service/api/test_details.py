"""What a request cost, for those who ask."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from service.api.openapi import REF, document
from service.api.sse import DONE
from service.domain import ChatRequest
from service.errors import EngineFailed
from service.telemetry.timeline import Span
from tests.service import fakes
from tests.service.api.fakes import HIGH, LOW, Call, Harness, Reply, Service, chat, event
from tests.service.pipeline import test_chat as pipeline

pytestmark = pytest.mark.anyio
ASKING = {"x_patchbay_details": "1"}
SECRET = "Sesame-7f3a"
ANSWER = {"id": "c-1", "choices": [{"message": {"content": SECRET}}], "usage": {"prompt_tokens": 9}}
DELTA = event(id="c-1", object="chat.completion.chunk", created=7, model="demo", choices=[{"delta": {}}])


class Working(Service):
    """Spends its time as a real one would, and writes it down."""

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> Reply:
        began = request.record.timings.began
        request.record.timings.add(Span("fetch", began - 1, began), Span("decode", began, began + 1e-5))
        assert isinstance(self.reply, Reply)
        request.record.images = self.reply.images
        return await super().chat(request, headers)


async def asked(reply: Reply, *, headers: Mapping[str, str] = ASKING, **fields: Any) -> Call:
    return await chat(Harness(pipeline=Working(reply)), headers=headers, **fields).run()


def is_whole(details: dict[str, Any]) -> bool:
    stages = details["stages_ms"]
    sums = math.isclose(math.fsum(stages.values()), details["total_ms"], abs_tol=1e-9)
    return sums and stages["decode"] > 0 and set(stages) <= {"body", "decode", "other"}


def told(frame: bytes) -> dict[str, Any]:
    content = json.loads(frame.removeprefix(b"data: "))
    assert isinstance(content, dict)
    return content


async def test_an_answer_in_one_piece_gets_a_member() -> None:
    completion = json.loads((await asked(Reply(json.dumps(ANSWER).encode(), images=[LOW, HIGH]))).body)
    details = completion.pop("patchbay")
    assert is_whole(details)
    assert details["images"] == [
        {
            **{"width": 40, "height": 30, "processed": [224, 224], "placement": [0, 0, 224, 224]},
            **{"grid": [1, 1], "tiles": 1},
            **{"tokens": 16, "detail": "low", "cached": False, "reduced": False},
        },
        {
            **{"width": 640, "height": 480, "processed": [672, 672], "placement": [0, 84, 672, 504]},
            **{"grid": [3, 3], "tiles": 10},
            **{"tokens": 160, "detail": "high", "cached": True, "reduced": True},
        },
    ]
    assert completion["choices"] == ANSWER["choices"]
    assert completion["usage"]["prompt_tokens_details"]["image_tokens"] == 176
    assert SECRET not in json.dumps(details)
    spec = document()
    schema = {"$ref": REF + "Details", "components": spec["components"]}
    jsonschema.Draft202012Validator(schema).validate(details)


@pytest.mark.parametrize("cut", [1, 7, 10_000])
async def test_a_stream_gets_one_more_event_before_its_end(cut: int) -> None:
    stream = DELTA + DELTA + DONE
    call = await asked(
        Reply(*[stream[i : i + cut] for i in range(0, len(stream), cut)], images=[HIGH]), stream=True
    )
    assert call.body.startswith(DELTA + DELTA) and call.body.endswith(b"\n\n" + DONE)
    assert call.body.count(DONE) == 1 and call.ended
    last = told(call.body.removeprefix(DELTA + DELTA).removesuffix(DONE))
    details = last.pop("patchbay")
    assert is_whole(details) and len(details["images"]) == 1
    # as any chunk, so that clients who loop over choices go on
    assert last == {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "demo",
        "choices": [],
    }


async def test_the_whole_answer_is_in_the_time_that_is_told() -> None:
    below = pipeline.Harness(fakes.Reply(DELTA, event(choices=[{"delta": {"content": "a"}}]), DONE))
    call = chat(Harness(pipeline=below.pipeline), headers=ASKING, stream=True)
    await call.run()
    details = told(call.body.removesuffix(DONE).split(b"\n\n")[-2])["patchbay"]
    assert {"engine_first_token", "engine_answer"} <= set(details["stages_ms"])
    assert below.all_given_back()


@pytest.mark.parametrize("headers", [{}, {"x_patchbay_details": "0"}])
async def test_who_does_not_ask_gets_the_engines_bytes(headers: dict[str, str]) -> None:
    raw = json.dumps(ANSWER).encode()
    assert (await asked(Reply(raw), headers=headers)).body == raw
    assert (await asked(Reply(DELTA, DONE), headers=headers, stream=True)).body == DELTA + DONE


@pytest.mark.parametrize("steps", [(DELTA, EngineFailed("died")), (DELTA,), (DELTA, event(error={}))])
async def test_a_stream_that_fails_ends_with_its_error(steps: tuple[Any, ...]) -> None:
    call = await asked(Reply(*steps), stream=True)
    assert b"patchbay" not in call.body and DONE not in call.body
    assert "error" in told(call.body.removeprefix(DELTA))


@pytest.mark.parametrize("value", ["2", "true", "", "1, 1"])
async def test_another_value_is_refused_by_name(value: str) -> None:
    call = await asked(Reply(b"{}"), headers={"x_patchbay_details": value})
    assert call.status == 400
    assert "X-Patchbay-Details must be 0 or 1" in call.error["message"]


async def test_what_is_no_object_passes() -> None:
    assert (await asked(Reply(b"[1]"))).body == b"[1]"
    assert (await asked(Reply(b"not JSON"))).body == b"not JSON"
