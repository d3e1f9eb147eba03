"""The timeline of an incident, its pages as they are read, the load, the slow host; and incidents name real alerts."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.helm.test_alerts import ALERTS, PAGES
from tests.incidents.__main__ import last_lines
from tests.incidents.host import hosting
from tests.incidents.incidents import INCIDENTS
from tests.incidents.load import Load, under
from tests.incidents.pages import answers, queries
from tests.incidents.timeline import Timeline
from tests.prometheus import ROOT
from tests.waiting import until

pytestmark = pytest.mark.anyio


def rule(name: str, state: str) -> dict[str, Any]:
    labels, page = {"severity": "critical"}, f"docs/runbooks/{name}.md"
    return {
        "type": "alerting",
        "name": name,
        "state": state,
        "labels": labels,
        "annotations": {"runbook_url": page},
    }


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 1000.0
        self.timeline = Timeline(self.lines.append, lambda: self.now)

    def look(self, after: float, **states: str) -> list[str]:
        self.now += after
        rules = [{"type": "recording", "name": "a:ratio"}, *(rule(name, it) for name, it in states.items())]
        return [alert.name for alert in self.timeline.look(rules)]


def test_alerts_are_told_when_they_change_and_fire_once() -> None:
    told = Told()
    assert told.look(5, A="inactive", B="pending") == []
    assert told.look(5, A="pending", B="pending") == []
    assert told.look(60, A="firing", B="inactive") == ["A"]
    assert told.look(3, A="firing", B="inactive") == []
    assert told.look(90, A="inactive", B="firing") == ["B"]
    assert told.look(1, A="firing", B="firing") == ["A"]
    assert told.lines == [
        "  0:05  B is pending",
        "  0:10  A is pending",
        "  1:10  A fires (critical): docs/runbooks/A.md",
        "  2:43  A is over",
        "  2:43  B fires (critical): docs/runbooks/B.md",
        "  2:44  A fires (critical): docs/runbooks/A.md",
    ]
    assert told.timeline.fired == {"A": 70.0, "B": 163.0}


def test_time_counts_from_the_incident() -> None:
    told = Told()
    told.now += 150
    told.timeline.begin()
    told.now += 61
    told.timeline.tell("it is well again")
    assert told.lines == ["  1:01  it is well again"]


def test_a_page_is_read_with_what_its_queries_come_to() -> None:
    page = "docs/runbooks/PatchbayFetchFailures.md"
    asked: list[str] = []

    def ask(query: str) -> list[dict[str, Any]]:
        asked.append(query)
        if "cause" not in query:
            return []
        values = {"dns": "0", "timeout": "0.5", "4xx": "NaN"}
        return [{"metric": {"cause": cause}, "value": [0, value]} for cause, value in values.items()]

    lines = answers(page, ask)
    assert asked == queries(page) and len(asked) > 2
    (causes,) = [line for line in lines if "by (cause)" in line]
    assert causes.endswith("  =>  cause=timeout 0.5, cause=dns 0")
    assert all(line.endswith("  =>  nothing") for line in lines if line != causes)


def test_every_incident_names_alerts_with_pages_that_can_be_read() -> None:
    for incident in INCIDENTS:
        assert incident.alerts and not incident.alerts & incident.may
        for name in incident.alerts | incident.may:
            assert ALERTS[name]["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
            assert queries(str((PAGES / f"{name}.md").relative_to(ROOT)))


def test_of_a_log_the_last_failures_are_shown_of_each_kind_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = "2026-01-01 00:00:00,000 ERROR a: long ago\n"
    log.write_text(
        before
        + "2026-01-01 00:00:01,000 INFO patchbay.access: POST /v1 200 0.1s req-1\n"
        + "2026-01-01 00:00:02,000 INFO patchbay.access: POST /v1 503 5.0s req-2 error=engine_unavailable key=key-1\n"
        + "2026-01-01 00:00:03,000 ERROR b: the engine exited. Its last log lines:\nfirst\nsecond\n"
        + "2026-01-01 00:00:04,000 INFO patchbay.access: POST /v1 503 5.1s req-3 error=engine_unavailable key=key-1\n"
        + "2026-01-01 00:00:05,000 INFO service: well\n"
    )
    shown = last_lines(log, len(before))
    assert [line.split(" ", 2)[-1] for line in shown] == [
        "INFO patchbay.access: POST /v1 503 5.1s req-3 error=engine_unavailable key=key-1",
        "ERROR b: the engine exited. Its last log lines:",
        "first",
        "second",
    ]


async def test_the_host_answers_or_says_nothing_until_it_is_left() -> None:
    async with hosting(b"picture") as host:
        async with aiohttp.ClientSession() as session, session.get(f"{host.url}/1.png") as reply:
            assert (reply.status, await reply.read()) == (200, b"picture")
        host.delay = None
        reader, writer = await asyncio.open_connection("127.0.0.1", int(host.url.rpartition(":")[2]))
        writer.write(b"GET /2.png HTTP/1.1\r\n\r\n")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_the_load_goes_on_whatever_comes_back() -> None:
    replies = iter(
        [
            b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\ndata: [DONE]\n\n",
            b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ndata: {}\n",
        ]
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(length))
        writer.write(next(replies, b""))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        seen: dict[str, int] = {}
        async with under(Load(url, "sk", 0.001, lambda number: {"number": number})) as load:
            wanted = {"200", "503", "broken stream", "ServerDisconnectedError"}
            while not wanted <= set(seen):
                await until(lambda: bool(load._seen))
                for status, count in load.seen().items():
                    seen[status] = seen.get(status, 0) + count
    assert (seen["200"], seen["503"], seen["broken stream"]) == (1, 1, 1)
