"""Line charts as SVG text: no script, no font, nothing to load."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 26, 36


@dataclass(frozen=True, slots=True)
class Series:
    """`colour` is a class of the page's style sheet. `marks`: points instead of a line; `steps`: a step function."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    marks: bool = False
    steps: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to pixels; `log` is for times that range from milliseconds to minutes."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return self.start + (self.end - self.start) * (at - low) / ((high - low) or 1)

    def ticks(self, about: int = 5) -> list[float]:
        if self.log:
            return [
                10.0**p for p in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            ]
        step = _nice((self.high - self.low) / about)
        first = math.ceil(self.low / step)
        return [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def chart(
    title: str, series: Sequence[Series], *, x: str, y: str, limit: float | None = None, log: bool = False
) -> str:
    """A figure with a legend; `x` and `y` are the titles of the axes. Text instead if there is no data."""
    points = [point for each in series for point in each.points if math.isfinite(point[1])]
    if not points:
        return f"<figure><figcaption>{html.escape(title)}</figcaption><p>Nothing was measured.</p></figure>"
    across, up = _scales(points, limit, log)
    drawn = [_grid(across, up, x, y)]
    if limit is not None:
        drawn.append(f'<path class="limit" d="M{LEFT} {up(limit):.1f}H{WIDTH - RIGHT}"/>')
    drawn += [_series(each, across, up) for each in series]
    legend = "".join(f'<span class="{each.colour}">{html.escape(each.name)}</span>' for each in series)
    if limit is not None:
        legend += f'<span class="limit">objective: {_figure(limit)}</span>'
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">{"".join(drawn)}</svg>'
        f'<div class="legend">{legend}</div></figure>'
    )


def _scales(points: Sequence[tuple[float, float]], limit: float | None, log: bool) -> tuple[Scale, Scale]:
    xs = [x for x, _ in points]
    ys = [y for _, y in points] + ([limit] if limit is not None else [])
    if log:
        positive = [y for y in ys if y > 0] or [1.0]
        low = 10.0 ** math.floor(math.log10(min(positive)))
        high = 10.0 ** math.ceil(math.log10(max(positive)) + 1e-9)
        high = max(high, 10 * low)
    else:
        low, high = 0.0, max(ys) * 1.08 or 1.0
    spread = max(xs) - min(xs) or 1.0
    across = Scale(min(xs), min(xs) + spread, LEFT, WIDTH - RIGHT)
    return across, Scale(low, high, HEIGHT - BOTTOM, TOP, log)


def _grid(across: Scale, up: Scale, x: str, y: str) -> str:
    parts = []
    for value in up.ticks():
        at = up(value)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_figure(value)}</text>')
    for value in across.ticks(8):
        parts.append(
            f'<text x="{across(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_figure(value)}</text>'
        )
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end" class="axis">{html.escape(x)}</text>'
    )
    parts.append(f'<text x="{LEFT}" y="{TOP - 12}" class="axis">{html.escape(y)}</text>')
    return "".join(parts)


def _series(series: Series, across: Scale, up: Scale) -> str:
    places = [(across(x), up(y)) for x, y in series.points if math.isfinite(y)]
    if not places:
        return ""
    if series.marks:
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>' for x, y in places)
        return f'<g class="{series.colour} marks">{dots}</g>'
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
    for x, y in places[1:]:
        path += f"H{x:.1f}V{y:.1f}" if series.steps else f"L{x:.1f} {y:.1f}"
    dashed = " dashed" if series.dashed else ""
    return f'<path class="{series.colour} line{dashed}" d="{path}"/>'


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _nice(step: float) -> float:
    """The nearest larger 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= step * (1 - 1e-9))
