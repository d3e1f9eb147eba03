"""What a client did, as its test found it: for the table, and held against vLLM's own server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable

import httpx

from tests.e2e.clients.asking import THINGS
from tests.e2e.clients.differences import allowed, asked, comparable, differing
from tests.e2e.clients.known import LACKING
from tests.e2e.clients.recorder import Recorder
from tests.e2e.clients.shapes import Shape
from tests.e2e.server import Server
from tests.waiting import until

FOUND: dict[str, set[str]] = {}
"""Paths at which two answers to one shape differ, by its JSON."""
LEFT = re.compile(r'^patchbay_requests_total\{.*code="499".*\} (\S+)$', re.M)


class Record:
    """Of one client, which asks at `url`: Patchbay, with a recorder in front."""

    def __init__(
        self,
        patchbay: Server,
        alone: str,
        url: str,
        recorder: Recorder,
        tell: Callable[[str, object], None],
    ) -> None:
        self.url = url
        self._patchbay, self._alone, self._recorder, self._tell = patchbay, alone, recorder, tell
        recorder.taken()
        self._left_before = self._left()

    def who(self, client: tuple[str, str]) -> None:
        """One of those that are known, by name and API."""
        self._tell("client", client[0])
        self._tell("api", client[1])
        for thing in LACKING[client]:
            self._tell(thing, "none")

    def version(self, told: str) -> None:
        self._tell("version", told)

    def note(self, told: str) -> None:
        self._tell("note", told)

    def did(self, *things: str) -> None:
        assert set(things) <= set(THINGS)
        for thing in things:
            self._tell(thing, "yes")

    def left_a_stream(self) -> None:
        """Returns when the server knows that the client has left; the engine has been told then."""
        asyncio.run(until(lambda: self._left() > self._left_before, pause=0.1))

    def same_as_vllm(self) -> None:
        """Asks both servers, in turns, for everything that the client asked for, and compares their answers."""
        shapes = [comparable(shape) for shape in self._recorder.taken()]
        shapes = [shape for place, shape in enumerate(shapes) if shape not in shapes[:place]]
        assert shapes, "the client has not been recorded"
        for shape in shapes:
            found = self._compared(shape) - allowed(shape)
            assert not found, (found, shape)
        self._tell("as vLLM", f"{len(shapes)} of {len(shapes)}")

    def _compared(self, shape: Shape) -> set[str]:
        """Once for all clients that ask the same."""
        key = json.dumps(shape)
        if key not in FOUND:
            # what is cached of a prompt is told, so both have answered it before
            _, _, ours, theirs = (asked(url, shape) for url in (self._patchbay.url, self._alone) * 2)
            FOUND[key] = differing(ours, theirs)
        return FOUND[key]

    def _left(self) -> float:
        page = httpx.get(f"{self._patchbay.url}/metrics").text
        return sum(float(value) for value in LEFT.findall(page))
