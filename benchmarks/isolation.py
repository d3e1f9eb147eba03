"""Can one API key find out, by counts or by timing, what another has sent?

    python -m benchmarks.isolation --trials 200

Serves the embedded model with two API keys. In each trial one key sends two new texts, or two new pictures; the other
then sends one of them and one that nobody has sent, in random order. `cached_tokens` must be 0 for both, and the times
to the first token are compared by a permutation test of their medians. For the test's power the same is done with
one key alone, where the difference must be found. Exit status 1 when the keys can be told apart, or the test is blind.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.processes import serving
from benchmarks.servers import patchbay
from demo.cases import data_url
from service.settings import EMBEDDED_MODEL

KEYS = ("sk-one", "sk-two")
WORDS = ("alpha", "bravo", "lima", "tango", "kilo", "echo", "oscar", "delta")
PERMUTATIONS = 5000
LEVEL = 0.01

Content = list[dict[str, Any]]


def text(chance: random.Random) -> Content:
    """About 400 tokens that nobody has sent."""
    return [{"type": "text", "text": " ".join(chance.choices(WORDS, k=100))}]


def picture(chance: random.Random) -> Content:
    noise = np.random.default_rng(chance.getrandbits(64)).integers(0, 255, (96, 96, 3), np.uint8)
    url = data_url(Image.fromarray(noise), "PNG")
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]


def first_token(client: httpx.Client, key: str, content: Content) -> tuple[float, int]:
    """Milliseconds, and cached tokens."""
    request = {
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 1,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, cached = time.perf_counter(), 0.0, 0
    with client.stream(
        "POST", "/v1/chat/completions", json=request, headers={"authorization": f"Bearer {key}"}
    ) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                first = first or time.perf_counter() - began
                usage = json.loads(line[6:]).get("usage") or {}
                cached += int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    return first * 1000, cached


def trials(
    client: httpx.Client, make: Callable[[random.Random], Content], count: int, *, sender: str, asker: str
) -> tuple[list[float], list[float], int]:
    """Times for what the sender has sent, times for what nobody has, and cached tokens of the first."""
    chance = random.Random(f"{make.__name__} {sender} {asker}")
    known: list[float] = []
    unknown: list[float] = []
    cached = 0
    for _ in range(count):
        sent, new = make(chance), make(chance)
        first_token(client, sender, sent)
        order = [(sent, known), (new, unknown)]
        chance.shuffle(order)
        for content, times in order:
            milliseconds, tokens = first_token(client, asker, content)
            times.append(milliseconds)
            cached += tokens if times is known else 0
    return known, unknown, cached


def p_value(one: Sequence[float], two: Sequence[float]) -> float:
    """How often medians differ as much by chance; two-sided."""
    generator = np.random.default_rng(0)
    both = np.array([*one, *two])
    seen = abs(statistics.median(one) - statistics.median(two))
    mixed = generator.permuted(np.tile(both, (PERMUTATIONS, 1)), axis=1)
    left, right = np.median(mixed[:, : len(one)], axis=1), np.median(mixed[:, len(one) :], axis=1)
    return float((np.sum(np.abs(left - right) >= seen) + 1) / (PERMUTATIONS + 1))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200, help="of each sort (default %(default)s)")
    options = parser.parse_args()
    server = patchbay(EMBEDDED_MODEL, ())
    log = Path(tempfile.gettempdir()) / "isolation.log"
    status = 0
    print(
        "| what | sender, asker | cached tokens | sent before, ms | never sent, ms | p |\n|---|---|---|---|---|---|"
    )
    with (
        serving((*server.argv, "--api-keys", ",".join(KEYS)), server.environment, log, server.ready),
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        for make in (text, picture):
            for sender, asker in ((KEYS[0], KEYS[1]), (KEYS[0], KEYS[0])):
                known, unknown, cached = trials(client, make, options.trials, sender=sender, asker=asker)
                p = p_value(known, unknown)
                apart = sender != asker
                told = f"{statistics.median(known):.1f} | {statistics.median(unknown):.1f} | {p:.4f}"
                print(f"| {make.__name__} | {'two keys' if apart else 'one key'} | {cached} | {told} |")
                status |= (cached > 0 or p < LEVEL) if apart else p >= LEVEL
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
