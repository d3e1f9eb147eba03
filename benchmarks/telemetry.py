"""Is a request's time all accounted for, and what does accounting cost?

    patchbay serve --log-format json 2> patchbay.log &
    python -m benchmarks.telemetry --url http://127.0.0.1:8000 --log patchbay.log --n 1000

Asks n questions by several clients, half of them as streams, then reads each one's access line: its stages must sum to
its duration within 2 %, and its duration is held against the client's own clock. Exit status 1 when one request fails
or is not accounted for. `--cost` needs no service: processor time of spans, histograms and log line, per request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry

from benchmarks.equality import body
from demo.cases import Case, draw_cases
from service.api.access import log_access
from service.api.completion import Event, Outcome
from service.api.exchange import Exchange
from service.domain import ImageUsage, Record
from service.telemetry.logs import JsonFormatter
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import Span, StageTimings, Strand

WITHIN = 0.02
FRAME = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request by three clocks, in milliseconds: the client's, the service's, and the sum of its stages."""

    client: float
    duration: float
    stages: float

    @property
    def gap(self) -> float:
        """What the stages leave out, as a share of the duration."""
        return abs(self.stages - self.duration) / self.duration


async def ask_all(url: str, cases: list[Case], clients: int) -> dict[str, float]:
    """Client's milliseconds by request id. Raises RuntimeError for an answer other than 200."""
    gate = asyncio.Semaphore(clients)
    took: dict[str, float] = {}
    # before any clock runs: a picture that is packed for one request holds up the answers to others
    bodies = [json.dumps(body(case) | {"stream": bool(i % 2)}).encode() for i, case in enumerate(cases)]

    async def ask(client: httpx.AsyncClient, asked: bytes, case: Case) -> None:
        request_id = f"telemetry-{uuid.uuid4().hex}"
        headers = {"X-Request-Id": request_id, "Content-Type": "application/json"}
        async with gate:
            began = time.perf_counter()
            reply = await client.post("/v1/chat/completions", content=asked, headers=headers)
            took[request_id] = 1000 * (time.perf_counter() - began)
        if reply.status_code != 200:
            raise RuntimeError(f"{case.kind}: {reply.status_code} {reply.text[:300]}")

    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        await asyncio.gather(*(ask(client, asked, case) for asked, case in zip(bodies, cases, strict=True)))
    return took


def accounted(log: Path, took: dict[str, float]) -> list[Seen]:
    """The access lines of these requests. Other lines of the log are passed over."""
    seen = []
    for line in log.read_text(errors="replace").splitlines():
        if not line.startswith("{"):
            continue
        fields = json.loads(line)
        if fields.get("request_id") in took and "stages_ms" in fields:
            stages = sum(fields["stages_ms"].values())
            seen.append(Seen(took[fields["request_id"]], fields["duration_ms"], stages))
    return seen


def report(seen: list[Seen], asked: int) -> bool:
    """Prints the comparison; true when every request was found and its stages sum."""
    missing = asked - len(seen)
    worst = max((one.gap for one in seen), default=0.0)
    outside = sum(one.gap > WITHIN for one in seen)
    print(
        f"{asked} requests, {missing} without an access line, {outside} whose stages miss their duration by 2 %"
    )
    if seen:
        later = sorted(one.client - one.duration for one in seen)
        shares = sorted(one.duration / one.client for one in seen)
        print(f"largest gap {100 * worst:.4f} % of the duration")
        print(
            f"client's clock minus duration: p50 {statistics.median(later):.2f} ms, "
            f"p95 {later[int(0.95 * len(later))]:.2f} ms; duration is p50 {100 * statistics.median(shares):.1f} % "
            "of the client's time"
        )
    return not missing and not outside


def _timings(images: int) -> StageTimings:
    timings = StageTimings(0.0)
    timings.add(Span("body", 0, 1))
    timings.add(Span("admission", 1, 1.1))
    for image in range(images):
        strand, at = Strand(), 1.1
        for stage in ("decode", "encode_queue", "encode", "transfer"):
            strand.enter(stage, at)
            at += 0.1 + 0.01 * image
        strand.leave(at)
        timings.add(*strand.spans(0, 99))
    timings.add(Span("engine_first_token", 20, 21))
    timings.add(Span("engine_answer", 21, 22))
    return timings


def _microseconds(work: Callable[[], object], calls: int = 1000, rounds: int = 7) -> tuple[float, float]:
    """Median and spread (largest minus least) of processor time a call."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(calls):
            work()
        found.append(1e6 * (time.process_time() - began) / calls)
    return statistics.median(found), max(found) - min(found)


def cost() -> None:
    """Prints processor time per request: what is written down, reckoned and logged."""
    logger = logging.getLogger("patchbay.access")
    handler = logging.FileHandler(os.devnull)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    metrics = Metrics(CollectorRegistry())
    for images in (1, 8):
        usage = ImageUsage(
            **{"width": 640, "height": 480, "processed": (336, 336), "placement": (0, 0, 336, 336)},
            **{"grid": (3, 3), "tiles": 10, "tokens": 160, "detail": "high", "cached": False},
        )
        exchange = Exchange(
            "telemetry",
            {},
            record=Record(_timings(images), [usage] * images),
            model="demo",
            outcome=Outcome({"prompt_tokens": 9, "completion_tokens": 9}, ["stop"]),
        )
        shares = exchange.record.timings.shares(22.5)
        parts: dict[str, Callable[[], object]] = {
            "spans": lambda images=images: _timings(images),
            "critical path": lambda exchange=exchange: exchange.record.timings.shares(22.5),
            "histograms": lambda shares=shares: metrics.request(
                "/v1/chat/completions", "demo", 200, 1.0, shares
            ),
            "access line, JSON": lambda shares=shares, exchange=exchange: log_access(
                "POST", "/v1/chat/completions", 200, 1.0, shares, exchange
            ),
        }
        found = {name: _microseconds(work) for name, work in parts.items()}
        told = ", ".join(
            f"{name} {median:.1f} (±{spread / 2:.1f})" for name, (median, spread) in found.items()
        )
        print(f"{images} image(s): {sum(m for m, _ in found.values()):.0f} µs a request: {told}")
    outcome = Outcome()
    median, spread = _microseconds(lambda: Event(FRAME).tell(outcome), 20000)
    print(f"a streamed event: {median:.2f} µs (±{spread / 2:.2f})")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="Patchbay (default %(default)s)")
    parser.add_argument("--log", type=Path, help="what Patchbay writes to standard error, as JSON")
    parser.add_argument("--n", type=int, default=1000, help="requests (default %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="at once (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the questions (default %(default)s)")
    parser.add_argument("--cost", action="store_true", help="only what accounting costs")
    args = parser.parse_args()
    if args.cost:
        cost()
        return 0
    if args.log is None:
        parser.error("--log is needed: the file that the service's standard error goes to")
    took = asyncio.run(ask_all(args.url, draw_cases(args.n, args.seed), args.clients))
    return 0 if report(accounted(args.log, took), len(took)) else 1


if __name__ == "__main__":
    sys.exit(main())
