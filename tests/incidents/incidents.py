"""Incidents: what happens to a service, and which alerts must fire thereupon, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.e2e.server import Server
from tests.faults.drills import engine_killed
from tests.incidents.host import ImageHost
from tests.incidents.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Scene:
    server: Server
    host: ImageHost
    """Where the pictures of one half of the requests lie."""
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Incident:
    name: str
    play: Callable[[Scene], Awaitable[None]]
    """Ends when the service has been left alone long enough for its alerts to be over, or nearly so."""
    alerts: frozenset[str]
    """That must fire."""
    may: frozenset[str] = frozenset()
    """That may fire too: where it depends on how long this machine takes."""


async def engine_killed_again_and_again(scene: Scene) -> None:
    for number in range(1, 5):
        scene.timeline.tell(f"kill number {number} of the engine")
        await asyncio.to_thread(engine_killed, scene.server)
        await asyncio.sleep(5)
        await asyncio.to_thread(scene.server.wait_ready)
        scene.timeline.tell("the service is ready again")
        await asyncio.sleep(20)
    scene.timeline.tell("the engine is left alone")
    await asyncio.sleep(7 * 60)


async def slow_image_host(scene: Scene) -> None:
    scene.timeline.tell("the image host answers after 4 s")
    scene.host.delay = 4.0
    await asyncio.sleep(5 * 60)
    scene.timeline.tell("the image host does not answer at all")
    scene.host.delay = None
    await asyncio.sleep(8 * 60)
    scene.timeline.tell("the image host is well again")
    scene.host.delay = 0.0
    await asyncio.sleep(6 * 60)


INCIDENTS = (
    Incident(
        "engine killed repeatedly",
        engine_killed_again_and_again,
        alerts=frozenset({"PatchbayAvailabilityBurnFast", "PatchbayEngineRestarting"}),
        # the budget of a day is gone too; late first tokens of requests that waited for a restart; a slow restart
        may=frozenset(
            {
                *("PatchbayAvailabilityBurnSlow", "PatchbayFirstTokenBurnFast", "PatchbayFirstTokenBurnSlow"),
                "PatchbayEngineDown",
            }
        ),
    ),
    Incident("slow image host", slow_image_host, alerts=frozenset({"PatchbayFetchFailures"})),
)
