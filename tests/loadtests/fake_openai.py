"""A small OpenAI server in a thread: answers by what it is asked, refuses broken images as Patchbay does.

It answers each question with a word that depends on the question and on nothing else, as an event stream.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from service.errors import ImageError, InvalidImage
from service.ingest.probe import ImageLimits, probe

CROWD = 3


@dataclass
class Behaviour:
    """Sound, unless `sound_for` says for how many requests: all later ones are held until `CROWD` of them are there at
    once, and from then on every third is refused as for want of room, every third is answered with something else, and
    broken images are taken for good ones."""

    sound_for: float = math.inf
    held: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    crowded: threading.Event = field(default_factory=threading.Event)

    def enter(self, body: dict[str, Any]) -> int | None:
        """Notes a request, and holds it while there is no crowd. None: it is answered soundly; else its number."""
        with self.lock:
            self.bodies.append(body)
            number = len(self.bodies)
            if number <= self.sound_for:
                return None
            self.held += 1
            if self.held == CROWD:
                self.crowded.set()
        self.crowded.wait()
        return number


def look_at(url: str) -> None:
    """Raises ImageError as the service would."""
    data = base64.b64decode(url.partition(",")[2])
    probe(data, source="data", limits=ImageLimits(), path="image")
    try:
        Image.open(io.BytesIO(data)).load()
    except OSError as error:
        raise InvalidImage(str(error)) from None


def question(body: dict[str, Any]) -> str:
    last = body["messages"][-1]["content"]
    return last if isinstance(last, str) else str(last[-1]["text"])


def images(body: dict[str, Any]) -> list[str]:
    return [
        part["image_url"]["url"]
        for message in body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    behaviour: Behaviour

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            return self._json(200, {"data": [{"id": "fake"}]})
        return self._json(200 if self.path == "/livez" else 404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number = self.behaviour.enter(body)
        if number is None:
            try:
                for url in images(body):
                    look_at(url)
            except ImageError as error:
                return self._json(400, {"error": {"message": error.message, "code": error.code}})
        elif number % 3 == 0:
            return self._json(429, {"error": {"message": "full", "code": "queue_full"}}, retry_after="1")
        lost = number is not None and number % 3 == 1
        word = "lost" if lost else hashlib.sha256(question(body).encode()).hexdigest()[:6]
        return self._stream(word, body)

    def _stream(self, words: str, body: dict[str, Any]) -> None:
        details = {"image_tokens": 16 * len(images(body))}
        usage = {"prompt_tokens": 20, "completion_tokens": 2, "prompt_tokens_details": details}
        events: list[Any] = [
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"index": 0, "delta": {"content": words[:3]}}]},
            {"choices": [{"index": 0, "delta": {"content": words[3:]}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        ]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for text in [*map(json.dumps, events), "[DONE]"]:
            frame = f"data: {text}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, status: int, content: Any, retry_after: str | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        if retry_after is not None:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: a test's output is its own."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # a burst of new connections is not what is tested
    request_queue_size = 256

    def handle_error(self, *_: Any) -> None:
        """A client that left in the middle is no fault of the server's."""


@contextmanager
def answering(behaviour: Behaviour) -> Iterator[str]:
    """Its URL."""
    handler = type("Bound", (Handler,), {"behaviour": behaviour})
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
