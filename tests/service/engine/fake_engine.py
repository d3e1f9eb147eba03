"""Stands in for vLLM where only its life matters: `python -S fake_engine.py PORT FOLDER`.

Refuses to start while FOLDER holds `broken`; writes a line to its log and answers /health. /die ends it, /mute makes
/health answer 503, /hang makes it deaf to SIGTERM and silent, /traceback begins one in its log. Other routes answer its
process id, /parent its parent's.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
health = b"200 OK"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global health
    path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
    if path == b"/die":
        os._exit(7)
    if path == b"/mute":
        health = b"503 Service Unavailable"
    if path == b"/traceback":
        print(
            "(EngineCore pid=2) ERROR 01-31 12:00:00 [b.py:2] Traceback (most recent call last):", flush=True
        )
    if path == b"/hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        health = b""
    if path == b"/health" and not health:
        await asyncio.Event().wait()
    body = str(os.getppid() if path == b"/parent" else os.getpid()).encode()
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    writer.write(head % (health or b"200 OK", len(body)) + body)
    await writer.drain()
    writer.close()


async def main() -> None:
    if (FOLDER / "broken").exists():
        sys.exit("loading weights\nValueError: no such checkpoint\nsee above")
    server = await asyncio.start_server(answer, "127.0.0.1", PORT)
    print("(APIServer pid=1) INFO 01-31 12:00:00 [a.py:1] listening", flush=True)
    print("(EngineCore pid=2) ERROR 01-31 12:00:00 [b.py:2] one request failed", flush=True)
    await server.serve_forever()


asyncio.run(main())
