"""A small OpenAI server in a thread: answers by what it is asked, refuses broken images as Patchbay does.

It answers each question with a word that depends on the question and on nothing else, as an event stream.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from service.errors import ImageError, InvalidImage
from service.ingest.probe import ImageLimits, probe


@dataclass
class Behaviour:
    """`places`: requests at once, more are refused with 429; `seconds` that one of them takes; `wrong_above`: with more
    than so many at once it answers something else; `swallows_broken`: it takes broken images for good ones."""

    places: int = 1000
    seconds: float = 0.0
    wrong_above: int = 1000
    swallows_broken: bool = False
    inside: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


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
    behaviour: Behaviour

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            return self._json(200, {"data": [{"id": "fake"}]})
        return self._json(200 if self.path == "/livez" else 404, {})

    def do_POST(self) -> None:
        behaviour = self.behaviour
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with behaviour.lock:
            behaviour.bodies.append(body)
            behaviour.inside += 1
            inside = behaviour.inside
        try:
            if inside > behaviour.places:
                return self._json(429, {"error": {"message": "full", "code": "queue_full"}}, retry_after="1")
            try:
                if not behaviour.swallows_broken:
                    for url in images(body):
                        look_at(url)
            except ImageError as error:
                return self._json(400, {"error": {"message": error.message, "code": error.code}})
            time.sleep(behaviour.seconds)
            word = hashlib.sha256(question(body).encode()).hexdigest()[:6]
            return self._stream(word if inside <= behaviour.wrong_above else "lost", body)
        finally:
            with behaviour.lock:
                behaviour.inside -= 1

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
