"""`patchbay serve`: reports its progress, serves, and prints a request to paste once it is ready."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from service.app.prepare import Prepared, prepare
from service.app.server import Admin, DrainingServer, listen, make_server
from service.app.service import Patchbay
from service.app.start import Say
from service.errors import ConfigurationError
from service.server import ConnectionLimits, plan_descriptors
from service.settings import EMBEDDED_MODEL, load
from service.telemetry import logs

EXAMPLE = Path(EMBEDDED_MODEL).parent / "scenes" / "shapes.jpg"
log = logging.getLogger("patchbay")
QUESTION = "What colour is the star?"
CURL = """
  curl -s {url}/v1/chat/completions -H 'content-type: application/json' -d '{{
    "messages": [{{"role": "user", "content": [
      {{"type": "image_url", "image_url": {{"url": "data:image/jpeg;base64,'"$(base64 -w0 {image})"'"}}}},
      {{"type": "text", "text": "{question}"}}]}}],
    "temperature": 0}}'
"""


def serve(given: Mapping[str, Any]) -> int:
    """Serves until a signal arrives; exit status 0, or 1 with a message when startup fails."""
    settings = load(given)
    logs.configure(settings.log_level, settings.log_format)
    say = log.info if settings.log_format == "json" else _printer()
    prepared = prepare(settings)
    descriptors = plan_descriptors(settings.max_connections, settings.max_inflight)
    descriptors.ensure()
    say(f"serving {prepared.served_name} from {prepared.checkpoint.path}")
    for line in prepared.plan.lines:
        say(f"  {line}")
    with ExitStack() as sockets:
        listening = sockets.enter_context(listen(settings.host, settings.port))
        admin = None
        if settings.admin_port is not None:
            admin = sockets.enter_context(listen(settings.host, settings.admin_port, "--admin-port"))
        return uvloop.run(_serve(prepared, descriptors.connections, listening, admin, say))


def _printer() -> Say:
    began = time.monotonic()
    return lambda line: print(f"[patchbay {time.monotonic() - began:3.0f}s] {line}", flush=True)


async def _serve(
    prepared: Prepared, connections: int, listening: socket.socket, admin: socket.socket | None, say: Say
) -> int:
    settings = prepared.settings
    patchbay = Patchbay(prepared, say)
    server = make_server(
        patchbay.api(),
        patchbay.admission,
        patchbay.metrics,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        drain_timeout=settings.drain_timeout,
        max_connections=connections,
        limits=ConnectionLimits(
            max_header_bytes=settings.max_header_bytes,
            max_headers=settings.max_headers,
            header_timeout=settings.header_timeout,
            idle_timeout=settings.idle_timeout,
            write_timeout=settings.write_timeout,
        ),
        admin=Admin(patchbay.admin_api(), admin) if admin is not None else None,
    )
    watch = asyncio.create_task(_announce(patchbay, server, say))
    try:
        await server.serve([listening])
    finally:
        watch.cancel()
    if patchbay.failed is not None:
        raise ConfigurationError(patchbay.failed.message)
    return 0


async def _announce(patchbay: Patchbay, server: DrainingServer, say: Say) -> None:
    await patchbay.started.wait()
    if patchbay.failed is not None:
        server.should_exit = True
        return
    settings = patchbay.prepared.settings
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
    url = f"http://{host}:{settings.port}"
    say(f"ready at {url}")
    if settings.shows_playground:
        say(f"try it in a browser at {url}/")
    if settings.admin_port is not None:
        say(f"metrics at http://{host}:{settings.admin_port}/metrics")
    if settings.log_format == "text":
        print(CURL.format(url=url, image=example_image(), question=QUESTION), flush=True)


def example_image() -> str:
    """The example's path as it can be typed here."""
    try:
        return str(EXAMPLE.relative_to(Path.cwd()))
    except ValueError:
        return str(EXAMPLE)
