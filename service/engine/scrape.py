"""vLLM's own metrics page, passed on unread, within limits on time and size."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from service.domain import Engine
from service.errors import EngineFailed, EngineUnavailable

SECONDS = 5.0
"""Half of Prometheus's usual timeout, so that it is told that the engine is slow instead of giving up on us."""
MAX_BYTES = 16 * 1024**2
"""vLLM's page is about 100 KB; many LoRA adapters may make it ten times longer."""
RETRY_AFTER = 5.0


async def scrape(
    engine: Engine, *, seconds: float = SECONDS, max_bytes: int = MAX_BYTES
) -> tuple[bytes, str]:
    """The page and its content type. Raises EngineUnavailable if it cannot be had completely, whatever the reason."""
    try:
        async with asyncio.timeout(seconds):
            return await _page(engine, max_bytes)
    except TimeoutError:
        raise _missing(f"did not send its metrics within {seconds:g} s") from None
    except EngineFailed:
        raise _missing("stopped while it was sending its metrics") from None


async def _page(engine: Engine, max_bytes: int) -> tuple[bytes, str]:
    reply = await engine.get("/metrics")
    async with aclosing(reply):
        if reply.status != 200:
            raise _missing(f"answered GET /metrics with status {reply.status}")
        chunks: list[bytes] = []
        size = 0
        async for chunk in reply.body():
            size += len(chunk)
            if size > max_bytes:
                raise _missing(f"sent more than {max_bytes} bytes of metrics")
            chunks.append(chunk)
        return b"".join(chunks), reply.content_type


def _missing(how: str) -> EngineUnavailable:
    return EngineUnavailable(f"The engine {how}.", retry_after=RETRY_AFTER)
