"""The engine's reply, read as far as needed to know whether it is an answer or an error.

vLLM starts an event stream and sends the role before it has generated anything, so a failure may arrive as status 200,
a role and an error event. An answer therefore counts as begun only with the first event that says more than a role.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from service.domain import Engine, EngineReply
from service.errors import (
    ContextLengthExceeded,
    EngineFailed,
    EngineLost,
    EngineRejected,
    EngineUnavailable,
    PatchbayError,
)

EVENT, EVENT_END = b"data: ", b"\n\n"
TOO_LONG = "maximum context length"
ITS_ARGUMENTS = re.compile(r" \((?:parameter|value)=.*\)$", re.DOTALL)
"""With what vLLM's messages end: the field, which an error has as `param`, and its value as Python writes it."""
MALFORMED = re.compile(r"\d+ validation errors?:.*?'loc': 'body\.(\w+)|\d+ validation errors?:", re.DOTALL)
"""How vLLM begins what pydantic finds wrong with a body, in Python's words and its own classes; the field."""
FIELD = re.compile(r"[a-z]\w*")
TOKEN_IN_PROMPT = re.compile(r"Token id -?\d+ is out of vocabulary")
DYING = "EngineCore encountered an issue"
"""What vLLM's server answers, with status 500, between the death of its engine and its own exit."""
ERROR_BODY_BYTES = 64 * 1024


class Answer:
    """A reply that has begun successfully. `body()` yields all of it; closing it early aborts the generation."""

    def __init__(self, reply: EngineReply, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self.content_type = reply.content_type
        self._reply = reply
        self._first = first
        self._rest = rest

    async def body(self) -> AsyncIterator[bytes]:
        yield self._first
        async for chunk in self._rest:
            yield chunk

    async def aclose(self) -> None:
        await self._reply.aclose()


async def ask(
    engine: Engine, route: str, payload: Mapping[str, Any], headers: Mapping[str, str], *, stream: bool
) -> Answer:
    """Sends a request and waits for the first event of a stream, or for the whole of any other body.

    Raises EngineRejected and ContextLengthExceeded (the engine refused it), EngineFailed (it failed inside the
    engine), EngineUnavailable (the engine did not respond, or is shutting down).
    """
    reply = await engine.post(route, payload, headers)
    try:
        if reply.status != 200:
            raise refusal(reply.status, await _limited(reply.body()))
        chunks = reply.body()
        if not stream:
            return Answer(reply, b"".join([chunk async for chunk in chunks]), _nothing())
        return Answer(reply, await _opening(chunks), chunks)
    except BaseException as error:
        await reply.aclose()
        if isinstance(error, ContextLengthExceeded):
            error.param = "messages" if "messages" in payload else "prompt"
        elif isinstance(error, EngineRejected) and error.param is None:
            error.param = _field(error.message, payload)
        raise


def refusal(status: int, body: bytes) -> PatchbayError:
    """The error that a reply with a status other than 200 means."""
    error = _error_object(body)
    said = ITS_ARGUMENTS.sub("", str(error.get("message") or ""))
    message = said or f"The engine answered with status {status}."
    if malformed := MALFORMED.match(said):
        where = f": {malformed[1]}" if malformed[1] else ""
        return EngineRejected(
            f"The engine takes the request for malformed{where}.", status=status, param=malformed[1]
        )
    if DYING in message:
        return EngineLost("The engine died while it had this request.", retry_after=1.0)
    if status == 503:
        return EngineUnavailable("The engine is overloaded or has stopped.", retry_after=1.0)
    if status >= 500:
        return EngineFailed("The engine failed to process this request.")
    if TOO_LONG in message:
        return ContextLengthExceeded(message)
    return EngineRejected(message, status=status, param=_text(error.get("param")))


def _field(message: str, payload: Mapping[str, Any]) -> str | None:
    """The field that a refusal is about where the engine names none: it begins with its name, or with a token."""
    if TOKEN_IN_PROMPT.match(message) and "prompt" in payload:
        return "prompt"
    named = FIELD.match(message)
    return named[0] if named and named[0] in payload else None


async def _opening(chunks: AsyncIterator[bytes]) -> bytes:
    """Everything up to and including the first event that says more than a role.

    Raises the error that an error event among these means, and EngineFailed if the stream ends before.
    """
    read, seen = b"", 0
    async for chunk in chunks:
        read += chunk
        while (end := read.find(EVENT_END, seen)) >= 0:
            event = read[seen:end].removeprefix(EVENT)
            seen = end + len(EVENT_END)
            if event.startswith(b'{"error"'):
                raise refusal(_code(event), event)
            if not _names_a_role_only(event):
                return read
    raise EngineFailed("The engine closed its answer without sending any of it.")


def _names_a_role_only(event: bytes) -> bool:
    try:
        choices = json.loads(event)["choices"]
        deltas = [choice["delta"] for choice in choices if choice.get("finish_reason") is None]
        return 0 < len(deltas) == len(choices) and all(
            "role" in delta and not any(value for name, value in delta.items() if name != "role")
            for delta in deltas
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


async def _limited(chunks: AsyncIterator[bytes]) -> bytes:
    read = b""
    async for chunk in chunks:
        read += chunk
        if len(read) > ERROR_BODY_BYTES:
            break
    return read


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in tuple[bytes, ...]():
        yield chunk


def _error_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    error = value.get("error", value) if isinstance(value, dict) else {}
    return error if isinstance(error, dict) else {}


def _code(error: bytes) -> int:
    code = _error_object(error).get("code")
    return code if isinstance(code, int) else 500


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
