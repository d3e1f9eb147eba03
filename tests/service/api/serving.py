"""An application on a real server, for real clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from tests.waiting import DEADLOCK


@asynccontextmanager
async def served(api: ASGIApp) -> AsyncIterator[str]:
    """Its URL, on a port of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(api, log_config=None, timeout_graceful_shutdown=int(DEADLOCK)))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(DEADLOCK):
            while not server.started:
                await asyncio.sleep(0)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()
