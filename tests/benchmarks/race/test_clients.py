"""The closed loop counts what was answered in time and whole, and tells everything else."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from benchmarks.race.clients import Answer, Heard, listen, offer
from benchmarks.race.scenarios import Ask

HELLO = [{"role": "user", "content": "hello"}]


class Streams(BaseHTTPRequestHandler):
    """Streams two tokens; says what a message asks for instead."""

    def do_GET(self) -> None:
        self._send(200, json.dumps({"data": [{"id": "m"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = body["messages"][0]["content"]
        if asked == "refuse":
            return self._send(429, "busy")
        tokens = 1 if asked == "short" else 2
        events: list[dict[str, object]] = [
            {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
            *({"choices": [{"delta": {"content": word}}]} for word in ("a", "b")),
            {"choices": [], "usage": {"completion_tokens": tokens}},
        ]
        if asked == "break":
            events = [{"error": {"message": "broken"}}]
        self._send(200, "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n")

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing: a test reads what is returned."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Streams) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _hear(url: str, *asks: Ask) -> Heard:
    return asyncio.run(listen(url, [iter(asks)], seconds=60, tokens=2))


def test_answers_are_kept_by_client_and_number(url: str) -> None:
    heard = _hear(url, Ask(HELLO), Ask(HELLO, measured=False), Ask(HELLO))
    assert set(heard.answers) == {(0, 0), (0, 2)} and not heard.faults
    assert {answer.text for answer in heard.answers.values()} == {"ab"}
    assert heard.rate == pytest.approx(2 / heard.seconds)


@pytest.mark.parametrize(
    ("asked", "told"), [("refuse", "429 busy"), ("break", "broken"), ("short", "1 tokens of 2")]
)
def test_what_is_not_a_whole_answer_is_told(url: str, asked: str, told: str) -> None:
    heard = _hear(url, Ask([{"role": "user", "content": asked}]))
    assert not heard.answers and told in heard.faults[0]


def test_the_first_script_that_ends_ends_the_scenario(url: str) -> None:
    endless = (Ask(HELLO) for _ in count())
    heard = asyncio.run(listen(url, [iter([Ask(HELLO)]), endless], seconds=60, tokens=2))
    assert (0, 0) in heard.answers and heard.seconds < 60


def test_an_open_loop_sends_without_waiting_for_answers(url: str) -> None:
    heard = asyncio.run(offer(url, (Ask(HELLO) for _ in count()), (0.0, 0.0, 0.01), tokens=2))
    assert set(heard.answers) == {(0, 0), (0, 1), (0, 2)} and not heard.faults
    refused = asyncio.run(offer(url, [Ask([{"role": "user", "content": "refuse"}])], (0.0,), tokens=2))
    assert not refused.answers and "429 busy" in refused.faults[0]


def test_an_open_loops_first_token_is_counted_from_when_its_request_was_due(url: str) -> None:
    late = asyncio.run(offer(url, [Ask(HELLO)], (-5.0,), tokens=2))
    assert late.answers[0, 0].first > 5


def test_quantiles_are_milliseconds() -> None:
    heard = Heard({(0, n): Answer("", n / 1000) for n in range(100)})
    assert heard.quantile(0.5) == pytest.approx(50) and heard.quantile(0.99) == pytest.approx(99)
    assert Heard(seconds=1).quantile(0.5) == float("inf")
