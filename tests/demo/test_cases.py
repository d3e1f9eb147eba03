"""Evaluation: the same cases from the same seed, honest marking, thresholds as promised, exit status by them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from demo.cases import (
    AT_LEAST,
    AT_MOST,
    KINDS,
    SMALL_HIGH,
    SMALL_LOW,
    Case,
    draw_cases,
    judge,
    marked,
    messages,
)
from demo.evaluate import main, through_http

Answers = dict[str, str]


def test_one_seed_gives_the_same_cases_and_another_gives_others() -> None:
    first, again, other = draw_cases(29, 7), draw_cases(29, 7), draw_cases(29, 8)
    assert [(c.kind, c.text, c.answer, c.detail) for c in first] == [
        (c.kind, c.text, c.answer, c.detail) for c in again
    ]
    assert [c.text for c in first] != [c.text for c in other]
    assert set(Counter(c.kind for c in first)) == set(KINDS)


def test_small_writing_is_asked_at_both_details_and_expects_the_number() -> None:
    for case in draw_cases(29, 2):
        if case.kind in (SMALL_HIGH, SMALL_LOW):
            assert case.detail == case.kind.split(", ")[1]
            assert case.answer.isdigit() and len(case.answer) == 3
        assert len(case.pictures) == {"chat": 0, "two images": 2}.get(case.kind, 1)


def test_pictures_are_sent_whole_before_the_question() -> None:
    case = next(c for c in draw_cases(10, 3) if c.kind == SMALL_HIGH)
    content = messages(case, 1)[0]["content"]
    assert isinstance(content, list)
    head, data = content[0]["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == case.pictures[0].tobytes()
    assert content[0]["image_url"]["detail"] == "high"
    assert content[-1] == {"type": "text", "text": case.text}


@pytest.mark.parametrize(
    ("said", "right"),
    [("red", True), (" Red. ", True), ("red star", False), ("", False), ("blue", False)],
)
def test_marking(said: str, right: bool) -> None:
    assert marked(Case("colour", (), "auto", "What colour is it?", "red"), said) is right


def test_thresholds_are_the_promised_ones() -> None:
    assert AT_LEAST == {
        "colour": 0.95,
        "shape": 0.95,
        "presence": 0.95,
        "position": 0.95,
        "count": 0.85,
        "number": 0.85,
        SMALL_HIGH: 0.75,
    }
    assert AT_MOST == {SMALL_LOW: 0.30}


def test_a_line_passes_at_its_threshold_and_fails_below() -> None:
    cases = [Case(SMALL_HIGH, (), "high", "", "1")] * 4 + [Case(SMALL_LOW, (), "low", "", "1")] * 4
    good = judge(cases, ["1", "1", "1", "0"] + ["1", "0", "0", "0"])
    assert [(line.kind, line.right, line.passed) for line in good] == [
        (SMALL_HIGH, 3, True),
        (SMALL_LOW, 1, True),
    ]
    bad = judge(cases, ["1", "1", "0", "0"] + ["1", "1", "0", "0"])
    assert [line.passed for line in bad] == [False, False]


@contextmanager
def service(answers: Answers, status: int = 200) -> Iterator[str]:
    """A stand-in for the service that answers each question text with `answers`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

        def _send(self, code: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": "stand-in"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert (body["model"], body["temperature"]) == ("stand-in", 0)
            asked = json.dumps(body["messages"][0]["content"])
            self._send(status, {"choices": [{"message": {"content": answers.get(asked, "")}}]})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _right(count: int, seed: int) -> Answers:
    cases = draw_cases(count, seed)
    return {
        json.dumps(messages(case, i)[0]["content"]): "I cannot read it."
        if case.kind == SMALL_LOW
        else case.answer
        for i, case in enumerate(cases)
    }


def run(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr("sys.argv", ["evaluate", "--n", "10", "--seed", "4", *flags])
    return main()


def test_status_0_and_a_record_when_all_is_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with service(_right(10, 4)) as url:
        assert run(monkeypatch, "--url", url, "--json", str(tmp_path / "r.json")) == 0
    kept = json.loads((tmp_path / "r.json").read_text())
    assert kept["kinds"]["colour"] == {"right": 2, "asked": 2, "limit": "at least 95 %", "passed": True}
    assert len(kept["cases"]) == 10


def test_status_1_when_a_threshold_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with service({}) as url:
        assert run(monkeypatch, "--url", url) == 1
    assert "FAILED" in capsys.readouterr().out


def test_status_2_when_the_service_fails_or_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with service({}, status=503) as url:
        assert run(monkeypatch, "--url", url) == 2
    assert "HTTP 503" in capsys.readouterr().err
    assert run(monkeypatch, "--url", "http://127.0.0.1:9") == 2


def test_a_failure_ends_the_requests_beside_it() -> None:
    async def ask(url: str) -> None:
        with pytest.raises(RuntimeError, match="HTTP 503"):
            await through_http(url, draw_cases(10, 4), concurrency=8)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with service({}, status=503) as url:
        asyncio.run(ask(url))
