"""Inspect AI, with which models are evaluated: tasks over samples, a scorer, and a solver that runs tools."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any, Literal
from urllib.request import urlopen

from tests.e2e.clients.asking import (
    BROKEN,
    COLOURS,
    DATA_URL,
    ENDLESS,
    FOLLOWING,
    LONG,
    MODEL,
    PAINTED,
    QUESTION,
    RED,
    SHORT,
    YES,
    colour_of,
    did,
    painted,
    refused,
)

SCENE = Path(__file__).parents[3] / "demo" / "scenes" / "shapes.jpg"


def in_progress(url: str) -> bool:
    """Whether the server has a request in progress."""
    with urlopen(f"{url}/metrics") as page:
        (line,) = (line for line in page if line.startswith(b'patchbay_inflight{stage="request"}'))
    return float(line.split()[1]) > 0


def inspect_ai(url: str) -> None:
    os.environ |= {"PATCHBAY_BASE_URL": f"{url}/v1", "PATCHBAY_API_KEY": "none"}
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import (
        ChatMessageUser,
        ContentImage,
        ContentText,
        GenerateConfig,
        ResponseSchema,
        get_model,
    )
    from inspect_ai.scorer import exact
    from inspect_ai.solver import generate, use_tools
    from inspect_ai.tool import Tool, ToolFunction, tool
    from inspect_ai.util import json_schema
    from openai import BadRequestError
    from pydantic import BaseModel, ConfigDict

    class Colour(BaseModel):
        model_config = ConfigDict(extra="forbid")
        colour: Literal["red", "blue"]

    calls = []

    @tool
    def paint() -> Tool:
        async def execute(colour: Literal["red", "blue"]) -> str:
            """Paints the wall.

            Args:
                colour: Of the paint.
            """
            calls.append({"colour": colour})
            return PAINTED

        return execute

    def about(image: str, question: str = QUESTION) -> list[Any]:
        return [ChatMessageUser(content=[ContentImage(image=image), ContentText(text=question)])]

    logs = tempfile.TemporaryDirectory()

    def evaluated(task: Task, **config: Any) -> Any:
        plainly: Any = {"max_retries": 0, "temperature": 0, "max_tokens": SHORT, **config}
        (log,) = eval(task, model=name, display="none", log_dir=logs.name, **plainly)
        assert log.status == "success", log.error
        return log

    name = f"openai-api/patchbay/{MODEL}"
    expected = {QUESTION: RED, FOLLOWING: YES}
    samples = [Sample(about(str(SCENE), asked), target=target) for asked, target in expected.items()]
    log = evaluated(Task(samples, scorer=exact()))
    did("image", log.results.scores[0].metrics["mean"].value, "1.0")
    solver = [use_tools(paint(), tool_choice=ToolFunction("paint")), generate()]
    log = evaluated(Task([Sample(about(DATA_URL))], solver=solver))
    (call,) = calls
    painted(log.samples[0].output.completion, call)

    config = GenerateConfig(max_retries=0, temperature=0, max_tokens=SHORT)

    async def ask_all() -> None:
        model = get_model(name, config=config)
        first = await model.generate(about(DATA_URL))
        second = await model.generate([*about(DATA_URL), first.message, ChatMessageUser(content=FOLLOWING)])
        did("turns", second.completion, YES)
        streaming = get_model(name, config=config, stream=True)
        did("stream", (await streaming.generate(about(DATA_URL))).completion, RED)
        schema = ResponseSchema(name="colour", json_schema=json_schema(Colour), strict=True)
        shaped = await model.generate(about(DATA_URL), config=GenerateConfig(response_schema=schema))
        did("structured", colour_of(shaped.completion), *COLOURS)
        with refused(BadRequestError, "messages[0].content[0].image_url.url"):
            try:
                await model.generate(about(BROKEN))
            except RuntimeError as error:
                raise error.__cause__ or error from None
        endless = GenerateConfig(max_tokens=LONG, extra_body=ENDLESS)
        left = asyncio.create_task(streaming.generate(about(DATA_URL), config=endless))
        while not await asyncio.to_thread(in_progress, url):
            assert not left.done()
        left.cancel()
        await asyncio.wait([left])
        did("abort", (await model.generate(about(DATA_URL))).completion, RED)

    asyncio.run(ask_all())
