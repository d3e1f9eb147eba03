"""What each client of a scenario asks, one request after another. Pixels of unique images differ, not only bytes."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, count, islice
from typing import Any

import numpy as np

from loadtests.pictures import photo

SIZE = (1024, 768)
MIXED = ((640, 480), (1024, 768), (336, 336), (1280, 720), (480, 1000))
WORDS = "Say what you see, and then what you would ask about it if you had another minute."


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; `measured` is false for those that only keep the server busy."""

    messages: list[dict[str, Any]]
    measured: bool = True


Script = Iterator[Ask]
Urls = Callable[[int], str]
"""The data URL of the scenario's n-th unique image."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`scripts` makes one script a client; `images` is how many unique ones a client asks about at most."""

    name: str
    clients: int
    images: int
    scripts: Callable[[int, Urls], list[Script]]
    sizes: tuple[tuple[int, int], ...] = (SIZE,)
    due: tuple[float, ...] | None = None
    """Of an open loop: when the requests of its one script are sent, in seconds. None: a closed loop."""


def _message(text: str, *urls: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def _unique(each: int, clients: int, urls: Urls, *, images: int = 40) -> list[Script]:
    def script(client: int) -> Script:
        for first in range(client * images, (client + 1) * images - each + 1, each):
            yield Ask([_message(WORDS, *(urls(n) for n in range(first, first + each)))])

    return [script(client) for client in range(clients)]


def _repeated(clients: int, urls: Urls) -> list[Script]:
    """A new question about the same image each time, so that only the image can be known already."""

    def script(client: int) -> Script:
        return (Ask([_message(f"{client}-{n}: {WORDS}", urls(0))]) for n in count())

    return [script(client) for client in range(clients)]


def _text(client: int, measured: bool = True) -> Script:
    return (Ask([_message(f"{client}-{n}: {WORDS}")], measured) for n in count())


def _texts(clients: int, urls: Urls) -> list[Script]:
    return [_text(client) for client in range(clients)]


def _conversations(clients: int, urls: Urls) -> list[Script]:
    """Four turns about two images, which every turn sends again."""

    def script(client: int) -> Script:
        for first in range(client * 40, client * 40 + 39, 2):
            messages = [_message(WORDS, urls(first), urls(first + 1))]
            for turn in range(4):
                yield Ask(list(messages))
                messages += [{"role": "assistant", "content": "I see."}, _message(f"{turn}: {WORDS}")]

    return [script(client) for client in range(clients)]


def _flood(clients: int, urls: Urls) -> list[Script]:
    """All but two clients send unique images; the two that send text are measured."""
    flood = [
        (Ask(ask.messages, measured=False) for ask in script) for script in _unique(1, clients - 2, urls)
    ]
    return [*flood, _text(clients), _text(clients + 1)]


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("unique, 1 client", 1, 80, partial(_unique, 1, images=80)),
        Scenario("unique, 4 clients", 4, 40, partial(_unique, 1)),
        Scenario("unique, 8 clients", 8, 40, partial(_unique, 1)),
        Scenario("mixed sizes, 4 clients", 4, 40, partial(_unique, 1), MIXED),
        Scenario("4 images a request, 4 clients", 4, 40, partial(_unique, 4)),
        Scenario("one repeated image, 8 clients", 8, 1, _repeated),
        Scenario("conversations, 4 clients", 4, 40, _conversations),
        Scenario("text, 8 clients", 8, 0, _texts),
        Scenario("text, 64 clients", 64, 0, _texts),
        Scenario("text beside an image flood, 2 of 8 clients", 8, 40, _flood),
    )
}


def open_loop(rate: float, seconds: float, seed: int) -> Scenario:
    """A Poisson process of requests about unique images, the same for every server."""
    rng = np.random.default_rng(seed)
    due = tuple(accumulate(rng.exponential(1 / rate, size=math.ceil(2 * rate * seconds) + 10).tolist()))
    due = tuple(at for at in due if at < seconds)
    scripts = partial(_unique, 1, images=len(due))
    return Scenario(f"unique, open loop, {rate:g} requests/s", 1, len(due), scripts, due=due)


def _draw(seed: int, size: tuple[int, int], index: int) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(photo(seed, index, size)).decode()}"


def draw(scenario: Scenario, seed: int, processes: int) -> list[str]:
    """The scenario's unique images as data URLs, in order; the same seed gives the same."""
    number = scenario.images * scenario.clients if scenario.images > 1 else scenario.images
    sizes = list(islice((size for _ in count() for size in scenario.sizes), number))
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(partial(_draw, seed), sizes, range(number)))
