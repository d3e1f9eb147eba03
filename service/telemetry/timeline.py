"""Where the time of one request was spent: spans of stages, some in parallel, and each stage's share of the total.

Images are processed in parallel, so their stages overlap and cannot be summed. The critical path can: at every instant
the request was in the one stage that it was waiting for. Times are seconds of `time.monotonic`. Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

OTHER = "other"
"""The share of a request during which no stage was running."""


@dataclass(frozen=True, slots=True)
class Span:
    stage: str
    begin: float
    end: float
    host: str = ""
    """Of the other server that it was spent on; empty unless the operator wants to know."""


class Strand:
    """One piece of work: stages that follow one another without a gap. Several requests may wait for it."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, float]] = []
        self._ended: float | None = None

    def enter(self, stage: str, at: float) -> None:
        """Ends the stage before and starts `stage`, at `at`."""
        self._marks.append((stage, at))

    def leave(self, at: float) -> None:
        self._ended = at

    def spans(self, since: float, until: float) -> tuple[Span, ...]:
        """The stages as seen by a request that waited from `since` to `until`; a stage still running ends there."""
        ends = [*(at for _, at in self._marks[1:]), until if self._ended is None else self._ended]
        clipped = (
            Span(stage, max(begin, since), min(end, until))
            for (stage, begin), end in zip(self._marks, ends, strict=False)
        )
        return tuple(span for span in clipped if span.begin <= span.end)


class StageTimings:
    """The timeline of one request, from `began`."""

    def __init__(self, began: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.began = clock() if began is None else began
        self._clock = clock
        self._strands: list[tuple[Span, ...]] = []

    def add(self, *spans: Span) -> None:
        """The stages of one piece of work, in order."""
        if spans:
            self._strands.append(spans)

    @contextmanager
    def stage(self, name: str, host: str = "") -> Iterator[None]:
        """Times its block, even if it raises."""
        begin = self._clock()
        try:
            yield
        finally:
            self.add(Span(name, begin, self._clock(), host))

    @property
    def spans(self) -> list[Span]:
        """All stages as recorded, including overlaps."""
        return [span for strand in self._strands for span in strand]

    def path(self, ended: float) -> list[Span]:
        """The critical path: spans without a gap or an overlap from `began` to `ended`.

        Walks backwards: what a request was waiting for is what ended last before it could go on. Each piece of work
        is followed back to its start before another is considered, so that an image's stages stay together.
        """
        spans = [(number, span) for number, strand in enumerate(self._strands) for span in strand]
        path: list[Span] = []
        at, strand = ended, -1
        while at > self.began:
            earlier = [(number, span) for number, span in spans if span.begin < at and span.end > self.began]
            if not earlier:
                path.append(Span(OTHER, self.began, at))
                break
            same = [(number, span) for number, span in earlier if number == strand]
            strand, span = max(same or earlier, key=lambda item: (min(item[1].end, at), item[1].begin))
            if span.end < at:
                path.append(Span(OTHER, span.end, at))
            begin = max(span.begin, self.began)
            path.append(Span(span.stage, begin, min(span.end, at)))
            at = begin
        return path[::-1]

    def shares(self, ended: float) -> dict[str, float]:
        """Seconds of the critical path in each stage, OTHER included; they sum to `ended - began`."""
        shares: dict[str, float] = {}
        for span in self.path(ended):
            shares[span.stage] = shares.get(span.stage, 0.0) + span.end - span.begin
        return shares

    def share(self, stage: str, ended: float) -> float:
        """Seconds of the critical path in this one stage. The path is not walked where the stage never ran."""
        if not any(span.stage == stage for strand in self._strands for span in strand):
            return 0.0
        return self.shares(ended).get(stage, 0.0)
