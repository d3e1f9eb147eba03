"""Prompts as tokens, without an answer: how long one is, texts to tokens, and tokens to texts.

The engine's own template and tokenizer do it. Images cost what their sizes say, by the same plans as in a request that
is answered, so that no pixel is decoded, nothing is encoded, and nothing of the arena is held.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from service.domain import ChatRequest, Route, TokenCount
from service.errors import EngineFailed
from service.pipeline.chat import ChatAnswer, Pipeline

COPIED = (
    "model",
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "return_token_strs",
)
"""Fields of a chat request that its prompt is made of, beside the template's own variables, and one of vLLM's."""


class Tokens:
    """`counting` may put a stand-in in the place of an image, `tokenizing` gives each the layout that it has."""

    def __init__(self, *, counting: Pipeline, tokenizing: Pipeline) -> None:
        self._counting = counting
        self._tokenizing = tokenizing

    async def count(self, request: ChatRequest, headers: Mapping[str, str]) -> TokenCount:
        """How long the prompt of a chat request is. Raises what `Pipeline.chat` raises."""
        asked = replace(request, payload=prompt_of(request.payload), route=Route.TOKENIZE, stream=False)
        answer = await self._counting.chat(asked, headers)
        told = await _read(answer, "count", "max_model_len")
        known = bool(answer.images) or not request.images
        return TokenCount(
            prompt_tokens=told["count"] + answer.left_out,
            context=told["max_model_len"],
            images=answer.images if known else None,
        )

    async def ask(self, request: ChatRequest, headers: Mapping[str, str]) -> dict[str, Any]:
        """vLLM's own answer to a request of one of its two routes. Raises what `Pipeline.chat` raises."""
        if "messages" in request.payload:
            request = replace(request, payload=prompt_of(request.payload))
        return await _read(await self._tokenizing.chat(request, headers))


async def _read(answer: ChatAnswer, *counts: str) -> dict[str, Any]:
    """The whole answer. Raises EngineFailed where it is no object, or has no whole numbers under `counts`."""
    async with aclosing(answer):
        body = b"".join([chunk async for chunk in answer.body()])
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict) or any(type(told.get(name)) is not int for name in counts):
        raise EngineFailed("The engine did not answer with what its tokenizer found.")
    return told


def prompt_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM's tokenizing route must be sent for the prompt that its chat route would make of `payload`.

    The chat route hands `reasoning_effort` to the template, and with it `enable_thinking` where that is not given; the
    tokenizing route knows neither.
    """
    kept = {name: payload[name] for name in COPIED if name in payload}
    variables = dict(payload.get("chat_template_kwargs") or {})
    if (effort := payload.get("reasoning_effort")) is not None:
        variables = {"enable_thinking": effort != "none", **variables, "reasoning_effort": effort}
    if variables:
        kept["chat_template_kwargs"] = variables
    return kept
