"""`patchbay serve`: says what it is doing, serves, and ends with a request that can be pasted."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.app import Patchbay
from service.errors import ConfigurationError
from service.preparation import Prepared, prepare
from service.server import listen, make_server
from service.settings import EMBEDDED_MODEL, load

EXAMPLE = Path(EMBEDDED_MODEL).parent / "scenes" / "shapes.jpg"
QUESTION = "What colour is the star?"
CURL = """
  curl -s {url}/v1/chat/completions -H 'content-type: application/json' -d '{{
    "messages": [{{"role": "user", "content": [
      {{"type": "image_url", "image_url": {{"url": "data:image/jpeg;base64,'"$(base64 -w0 {image})"'"}}}},
      {{"type": "text", "text": "{question}"}}]}}],
    "temperature": 0}}'
"""


def serve(given: Mapping[str, Any]) -> int:
    """Serves until a signal comes; exit status 0, or 1 with a sentence when the start fails."""
    settings = load(given)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[patchbay {time.monotonic() - began:3.0f}s] {line}", flush=True)

    prepared = prepare(settings)
    say(f"serving {prepared.served_name} from {prepared.checkpoint.path}")
    for line in prepared.plan.lines:
        say(f"  {line}")
    with listen(settings.host, settings.port) as listening:
        return asyncio.run(_serve(prepared, listening, say))


async def _serve(prepared: Prepared, listening: socket.socket, say: Any) -> int:
    settings = prepared.settings
    patchbay = Patchbay(prepared, say)
    server = make_server(
        patchbay.api(),
        patchbay.admission,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        drain_timeout=settings.drain_timeout,
    )
    watch = asyncio.create_task(_announce(patchbay, server, say))
    try:
        await server.serve([listening])
    finally:
        watch.cancel()
    if patchbay.failed is not None:
        raise ConfigurationError(patchbay.failed.message)
    return 0


async def _announce(patchbay: Patchbay, server: Any, say: Any) -> None:
    await patchbay.started.wait()
    if patchbay.failed is not None:
        server.should_exit = True
        return
    settings = patchbay.prepared.settings
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
    url = f"http://{host}:{settings.port}"
    say(f"ready at {url}")
    print(CURL.format(url=url, image=example_image(), question=QUESTION), flush=True)


def example_image() -> str:
    """The example's path as one would type it here."""
    try:
        return str(EXAMPLE.relative_to(Path.cwd()))
    except ValueError:
        return str(EXAMPLE)
