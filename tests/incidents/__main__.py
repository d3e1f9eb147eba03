"""Plays incidents on a real service and a real Prometheus with the chart's rules: what fires when, and what whoever is
on call then sees.

    make incidents ARGS='--only slow'

Each takes about twenty minutes, because alerts look back over minutes. At each alert, the answers to the queries of its
runbook and the last failures in the log are printed. An alert that should have fired and did not, or the other way
round, is exit status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from PIL import Image

from benchmarks.processes import free_port
from demo.cases import Case, data_url, draw_cases
from tests.e2e.server import Server, serving
from tests.incidents.host import hosting
from tests.incidents.incidents import INCIDENTS, Incident, Scene
from tests.incidents.load import Load, told, under
from tests.incidents.pages import answers
from tests.incidents.timeline import Timeline
from tests.prometheus import Prometheus, found, scraping

KEYS = ("sk-sends-pictures", "sk-sends-urls")
NAMES = ("key-1", "key-2")
"""Of these keys in the log."""
CALM = 150.0
"""Seconds of load before the incident."""
LOOK = 3.0
"""Seconds between two looks at the alerts."""
LAST_ENTRIES, LONGEST_ENTRY = 4, 12
"""Of the log: how many, and how many lines of each."""
BEGINS = re.compile(r"\d{4}-\d\d-\d\d ")
NUMBERS = re.compile(r"[\d.:]+")


async def watch(prometheus: Prometheus, timeline: Timeline, log: Path, begun_at: int) -> None:
    while True:
        for alert in timeline.look(await asyncio.to_thread(prometheus.rules)):
            for line in await asyncio.to_thread(answers, alert.page, prometheus.query):
                print(f"          {line}")
            for line in last_lines(log, begun_at):
                print(f"          log: {line}")
        await asyncio.sleep(LOOK)


def last_lines(log: Path, since: int) -> list[str]:
    """The last failures that a log tells, of each kind one, with the lines that belong to them."""
    entries: list[str] = []
    with log.open(errors="replace") as file:
        file.seek(since)
        for line in map(str.rstrip, file):
            if not BEGINS.match(line) and entries:
                entries[-1] += f"\n{line}"
            else:
                entries.append(line)
    failures = [
        entry for entry in entries if any(word in entry for word in (" error=", " WARNING ", " ERROR "))
    ]
    kinds = {NUMBERS.sub("", entry.partition(" error=")[2] or entry[24:80]): entry for entry in failures}
    return [
        line for entry in list(kinds.values())[-LAST_ENTRIES:] for line in entry.splitlines()[:LONGEST_ENTRY]
    ]


def request(case: Case, url: str) -> dict[str, object]:
    part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    content = [part, {"type": "text", "text": case.text}]
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 16}


@asynccontextmanager
async def loaded(server: Server, pause: float) -> AsyncIterator[tuple[Scene, list[Load]]]:
    """Half of the requests have their picture in them, the other half name it by a URL that is a new one each time."""
    cases = [case for case in draw_cases(60, seed=21) if len(case.pictures) == 1]
    file = io.BytesIO()
    cases[0].pictures[0].save(file, "PNG")
    pictures = [
        (case, data_url(noisy(case.pictures[0], number), "JPEG")) for number, case in enumerate(cases)
    ]
    async with hosting(file.getvalue()) as host:
        loads = [
            Load(server.url, KEYS[0], pause, lambda number: request(*pictures[number % len(pictures)])),
            Load(server.url, KEYS[1], pause, lambda number: request(cases[0], f"{host.url}/{number}.png")),
        ]
        async with under(loads[0]), under(loads[1]):
            yield Scene(server, host, Timeline()), loads


def noisy(picture: Image.Image, number: int) -> Image.Image:
    """One of which no other has the bytes."""
    copy = picture.copy()
    copy.putpixel((0, 0), (number, 0, 0))
    return copy


async def play(incident: Incident, server: Server, prometheus: Prometheus, pause: float) -> bool:
    """Whether the alerts were those that should fire, and clients were answered at the end."""
    print(f"\n{incident.name}", flush=True)
    async with loaded(server, pause) as (scene, loads):
        await asyncio.sleep(CALM)
        for load, name in zip(loads, NAMES, strict=True):
            scene.timeline.tell(f"before, {name} saw {told(load.seen())}")
        scene.timeline.begin()
        watching = asyncio.create_task(
            watch(prometheus, scene.timeline, server.log, server.log.stat().st_size)
        )
        await incident.play(scene)
        for load, name in zip(loads, NAMES, strict=True):
            scene.timeline.tell(f"{name} saw {told(load.seen())}")
        await asyncio.sleep(10)
        healed = [load.seen() for load in loads]
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    missing = incident.alerts - set(scene.timeline.fired)
    others = set(scene.timeline.fired) - incident.alerts - incident.may
    for name in sorted(missing):
        print(f"{name} did not fire")
    for name in sorted(others):
        print(f"{name} fired, and should not have")
    well = all(set(seen) == {"200"} for seen in healed)
    if not well:
        print(f"clients are still not answered: {', '.join(map(told, healed))}")
    return not missing and not others and well


@contextmanager
def stage(folder: Path) -> Iterator[tuple[Server, Prometheus]]:
    admin = free_port()
    flags = (
        "--admin-port",
        str(admin),
        "--api-keys",
        ",".join(KEYS),
        "--log-image-hosts",
        "--allow-private-urls",
    )
    with (
        serving(folder / "patchbay.log", *flags) as server,
        scraping(f"127.0.0.1:{admin}", folder, hurried=False) as prometheus,
    ):
        yield server, prometheus


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="incidents whose name contains this")
    parser.add_argument(
        "--pause", type=float, default=1.0, help="seconds between two requests of each of the two clients"
    )
    options = parser.parse_args()
    chosen = [incident for incident in INCIDENTS if options.only in incident.name]
    if not chosen:
        parser.error(f"no incident is called {options.only!r}: {', '.join(it.name for it in INCIDENTS)}")
    if found("prometheus") is None:
        parser.error("there is no prometheus here: `make setup-test` fetches it from Debian's packages")
    red = False
    for incident in chosen:
        with tempfile.TemporaryDirectory() as folder, stage(Path(folder)) as (server, prometheus):
            red |= not asyncio.run(play(incident, server, prometheus, options.pause))
    return int(red)


if __name__ == "__main__":
    sys.exit(main())
