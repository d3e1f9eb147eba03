"""A rung's questions, asked of a server that answers as it is told: what is right, and what is not."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.steps import rung
from benchmarks.servers import Server


class Canned(ThreadingHTTPServer):
    """Models, chat completions and metrics."""

    daemon_threads = True
    answer = "The star is red."
    tokens = 5
    status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Canned

    def do_GET(self) -> None:
        pages = {"/v1/models": json.dumps({"data": [{"id": "demo"}]}), "/metrics": METRICS}
        self._send(200, pages[self.path].encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status != 200:
            self._send(self.server.status, b'{"error": {"message": "no engine"}}')
        elif body.get("stream"):
            event = {"choices": [{"delta": {"content": self.server.answer}}]}
            used = {"choices": [], "usage": {"completion_tokens": self.server.tokens}}
            lines = (f"data: {json.dumps(each)}\n\n" for each in (event, used))
            self._send(200, ("".join(lines) + "data: [DONE]\n\n").encode())
        else:
            said = {"choices": [{"message": {"content": self.server.answer}}]}
            self._send(200, json.dumps(said | {"usage": {"completion_tokens": self.server.tokens}}).encode())

    def log_message(self, *arguments: Any) -> None: ...

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


METRICS = (
    "# TYPE patchbay_encoder_busy_seconds counter\n"
    'patchbay_encoder_busy_seconds_total{device="cpu"} 2.5\n'
    "patchbay_encoder_failures_total 9\n"
)


@pytest.fixture
def server() -> Iterator[Canned]:
    with Canned(("127.0.0.1", 0), Handler) as canned:
        thread = threading.Thread(target=canned.serve_forever)
        thread.start()
        yield canned
        canned.shutdown()
        thread.join()


def options(tmp_path: Path, **given: Any) -> argparse.Namespace:
    return rung.parser().parse_args(
        ["--name", "rung", "--write", str(tmp_path / "rows"), "--logs", str(tmp_path)],
        argparse.Namespace(**given),
    )


def test_a_colour_is_right_if_it_is_the_one_in_the_picture(server: Canned, tmp_path: Path) -> None:
    assert rung.picture(server.url, options(tmp_path)).right
    server.answer = "The star is blue."
    told = rung.picture(server.url, options(tmp_path))
    assert not told.right and told.figures == {"answer": "The star is blue."}


def test_a_refusal_is_told(server: Canned, tmp_path: Path) -> None:
    server.status = 503
    for ask in (rung.picture, rung.text):
        told = ask(server.url, options(tmp_path))
        assert not told.right and "no engine" in str(told.figures["answer"])


def test_text_has_tokens(server: Canned, tmp_path: Path) -> None:
    assert rung.text(server.url, options(tmp_path)).right
    server.tokens = 0
    assert not rung.text(server.url, options(tmp_path)).right


def test_an_evaluation_needs_nine_of_ten_answers(server: Canned, tmp_path: Path) -> None:
    told = rung.evaluate(server.url, options(tmp_path, questions=6))
    assert not told.right  # red is not the answer to all
    assert told.figures["asked"] == 6 and 0 <= int(str(told.figures["right_answers"])) < 6


def test_a_load_counts_answers_and_names_faults(
    server: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rung, "draw", lambda scenario, seed, processes: ["data:,"] * 80)
    server.tokens = rung.TOKENS
    told = rung.load(server.url, options(tmp_path, seconds=600.0, clients=1))
    assert told.right and told.figures["answers"] == 80 and told.figures["encoder_busy"] == 0
    server.tokens = 1
    told = rung.load(server.url, options(tmp_path, seconds=600.0, clients=1))
    assert not told.right and told.figures["faults"] == 80


def test_the_encoders_busy_seconds_are_read_from_its_metrics(server: Canned) -> None:
    assert rung.busy_seconds(server.url) == 2.5


@pytest.mark.parametrize(
    ("answer", "status", "done"),
    [("red", 0, ["start", "picture", "text"]), ("blue", 1, ["start", "picture"])],
)
def test_rows_come_as_they_are_made_and_end_with_what_is_wrong(
    server: Canned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    status: int,
    done: list[str],
) -> None:
    server.answer = answer
    monkeypatch.setattr(
        rung,
        "patchbay",
        lambda model, flags: Server(
            "patchbay", server.url, ("sleep", "1000"), {"PATH": "/usr/bin:/bin"}, f"{server.url}/metrics"
        ),
    )
    rows = tmp_path / "rows.jsonl"
    arguments = ["--name", "careful", "--write", str(rows), "--logs", str(tmp_path), "--do", "picture"]
    assert rung.main([*arguments, "--do", "text", "--", "--enforce-eager"]) == status
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["do"] for row in written] == done
    assert {(row["rung"], row["server"], row["flags"]) for row in written} == {
        ("careful", "patchbay", "--enforce-eager")
    }
    assert [row["right"] for row in written] == [True] * (len(done) - status) + [False] * status


def test_a_server_that_does_not_start_is_a_row_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        rung,
        "patchbay",
        lambda model, flags: Server(
            "patchbay", "", ("false",), {"PATH": "/usr/bin:/bin"}, "http://127.0.0.1:9/"
        ),
    )
    rows = tmp_path / "rows.jsonl"
    arguments = ["--name", "careful", "--write", str(rows), "--logs", str(tmp_path), "--do", "picture"]
    assert rung.main(arguments) == 1
    (row,) = map(json.loads, rows.read_text().splitlines())
    assert (row["do"], row["right"]) == ("start", False)
