"""An HTTP client over gevent that reads answers as they stream and records when each part arrived."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import gevent
from geventhttpclient import URL, HTTPClient
from geventhttpclient.response import HTTPSocketPoolResponse

from loadtests.checks import Reply
from loadtests.sse import EventReader
from loadtests.stream import take_error, take_event

AT_ONCE = 10_000
"""Connections per process: an open-loop load must never be limited by its client."""
LONGEST_ERROR = 65_536


class Client:
    def __init__(self, url: str, *, api_key: str, timeout: float) -> None:
        """`timeout`: seconds for a whole answer."""
        self.url = url.rstrip("/")
        parsed = URL(self.url)
        self._path = parsed.path.rstrip("/")
        self._timeout = timeout
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = HTTPClient.from_url(
            parsed,
            headers=headers,
            concurrency=AT_ONCE,
            connection_timeout=timeout,
            network_timeout=timeout,
        )

    def model(self) -> str:
        """The first model that the service lists. Raises OSError without an answer, ValueError for a wrong one."""
        try:
            answer = self._http.get(f"{self._path}/v1/models")
            status, text = answer.status_code, bytes(answer.read())
        except OSError:
            raise
        except Exception as error:
            raise OSError(str(error)) from error
        if status != 200:
            raise ValueError(f"{self.url}/v1/models answers {status}: {text[:200]!r}")
        return str(json.loads(text)["data"][0]["id"])

    def ask(self, body: bytes, due: float, on_first: Callable[[float], None]) -> Reply:
        """The answer to a chat completion; `due` by `time.perf_counter`.

        `on_first` is called with the milliseconds to the first token as soon as it arrives, so that they count even
        while the request is still running.
        """
        reply = Reply()
        try:
            with gevent.Timeout(self._timeout):
                answer = self._http.post(f"{self._path}/v1/chat/completions", body=body)
                with answer:
                    self._read(reply, answer, due, on_first)
        except gevent.Timeout:
            reply.failure = f"no whole answer within {self._timeout:g} s"
        except Exception as error:
            # the parser's errors have no other common base class
            reply.failure = f"{type(error).__name__}: {error}"[:120]
        reply.total = _since(due)
        return reply

    def _read(
        self, reply: Reply, answer: HTTPSocketPoolResponse, due: float, on_first: Callable[[float], None]
    ) -> None:
        reply.status = answer.status_code
        reply.retry_after = answer.get("retry-after")
        if reply.status != 200:
            take_error(reply, bytes(answer.read())[:LONGEST_ERROR])
            return
        events = EventReader()
        # a line is processed as soon as it is complete
        while line := answer.readline(b"\n"):
            for data in events.feed(bytes(line)):
                early = reply.first is None
                if take_event(reply, data, _since(due)) and early:
                    on_first(_since(due))
        if not reply.done and not reply.code and not reply.failure:
            reply.failure = "the stream ended without [DONE]"

    def close(self) -> None:
        self._http.close()


def _since(due: float) -> float:
    """Milliseconds."""
    return 1000 * (time.perf_counter() - due)
