"""How every kernel is measured: error against fp64, and times of several alternating calls.

A benchmark passes named calls and gets seconds back; it judges them itself.
"""
# torch leaves its streams and events without annotations
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping

import torch

Call = Callable[[], torch.Tensor]

LEAST_ROUNDS = 5
WARM_UP = 3
"""Calls before the first timed one: oneDNN builds its primitives, Triton compiles, clocks rise."""
L2_FLUSH_BYTES = 256 * 2**20
"""Written before each timed replay on a GPU, more than any L2 holds, so that inputs come from memory."""


def relative_error(result: torch.Tensor, exact: torch.Tensor) -> float:
    """‖result − exact‖ / ‖exact‖ in fp64; infinite if anything is not finite, an unwritten NaN for instance."""
    difference = float(torch.linalg.vector_norm(result.double() - exact.double()))
    norm = float(torch.linalg.vector_norm(exact.double()))
    return difference / norm if difference < float("inf") else float("inf")


def alternate(
    calls: Mapping[str, Call], rounds: int, device: torch.device, mode: str, patience: float = math.inf
) -> dict[str, list[float]]:
    """Seconds of every call, `rounds` times each, taking turns so that all meet the same noise.

    The order turns by one each round: nobody always runs after the same neighbour. After `patience` seconds no further
    round begins, `LEAST_ROUNDS` having been.
    """
    flush = torch.empty(L2_FLUSH_BYTES, dtype=torch.uint8, device=device) if mode == "graph" else None
    timed = {
        name: _timer(call, device, mode) if flush is None else _graph_timer(call, device, flush)
        for name, call in calls.items()
    }
    for timer in timed.values():
        for _ in range(WARM_UP):
            timer()
    names = list(timed)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    begun = time.perf_counter()
    for round_ in range(rounds):
        if round_ >= LEAST_ROUNDS and time.perf_counter() - begun > patience:
            break
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(timed[name]())
    return seconds


def percentiles(seconds: list[float]) -> tuple[float, float, float, float]:
    """The 20th, 50th, 80th and 99th, in microseconds; of fewer than a hundred calls the last is near the slowest."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[19] * 1e6, cuts[49] * 1e6, cuts[79] * 1e6, cuts[98] * 1e6


def _timer(call: Call, device: torch.device, mode: str) -> Callable[[], float]:
    """A function that makes the call once and returns its seconds."""
    clock = time.process_time if mode == "processor" else time.perf_counter

    def once() -> float:
        start = clock()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - start

    return once


def captured(call: Call, device: torch.device) -> Call:
    """The call as one CUDA graph; each replay writes into the same result."""
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # capture needs everything compiled and allocated
            for _ in range(WARM_UP):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = call()

    def replay() -> torch.Tensor:
        graph.replay()
        return result

    return replay


def _graph_timer(call: Call, device: torch.device, flush: torch.Tensor) -> Callable[[], float]:
    """`flush` is written before each replay; calls may share it."""
    replay = captured(call, device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def timed() -> float:
        flush.zero_()
        start.record()
        replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    return timed
