"""Draws each kind of panel in `panels` on given axes, much as Grafana does."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes

from helm.dashboards.recording import Recording

INK, FAINT, PAPER = "#d8d9da", "#3a3d45", "#181b1f"
COLOURS = (
    *("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9"),
    *("#8ab8ff", "#ffa6b0", "#37872d", "#c4162a", "#c0d8ff", "#fade2a"),
)
NAMED = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c"}
UNITS = {"ops": "/s", "reqps": "/s"}


def written(unit: str) -> str:
    """What stands after a number; Grafana's own units, and those of our own, `suffix: …`."""
    return "B" if unit == "bytes" else UNITS.get(unit, unit.removeprefix("suffix:") if ":" in unit else "")


def told(value: float, unit: str, decimals: int | None = None) -> str:
    """A value roughly as Grafana formats it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.4g} %" if decimals is None else f"{value * 100:.{decimals}f} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    scale, suffix = next(
        ((by, word) for by, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if abs(value) >= by), (1.0, "")
    )
    return f"{value / scale:.3g}{' ' + suffix if suffix else ''}{written(unit)}"


def style(axes: Axes, panel: Any) -> None:
    axes.set_facecolor(PAPER)
    axes.set_title(panel["title"], loc="left", color=INK, fontsize=9, fontweight="bold")
    axes.tick_params(colors=INK, labelsize=7, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def along_time(axes: Axes, seconds: float) -> None:
    axes.set_xlim(0, seconds)
    axes.xaxis.set_major_formatter(lambda at, _: f"{int(at) // 60}:{int(at) % 60:02d}")


def legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(
            handles,
            labels,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            ncols=6,
            fontsize=7,
            frameon=False,
            labelcolor=INK,
            handlelength=1,
        )


def draw_chart(axes: Axes, panel: Any, recording: Recording) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
    lines = [line for target in panel["targets"] for line in recording.lines(target)]
    if stacked:
        times = sorted({at for _, ats, _ in lines for at in ats})
        layers = [dict(zip(ats, values, strict=True)) for _, ats, values in lines]
        filled = [[_number(layer.get(at, 0)) for at in times] for layer in layers]
        axes.stackplot(times, filled, labels=[name for name, _, _ in lines], colors=COLOURS, alpha=0.8)
    else:
        for (name, ats, values), colour in zip(lines, cycle(COLOURS), strict=False):
            axes.plot(ats, values, color=colour, linewidth=1.2, label=name)
    axes.set_ylim(bottom=0)
    if "max" in defaults:
        axes.set_ylim(top=defaults["max"])
    else:
        axes.margins(y=0.1)
    top = axes.get_ylim()[1]
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and step["value"] <= top:
            axes.axhline(step["value"], color=NAMED[step["color"]], linewidth=0.8, linestyle="--")
    axes.grid(color=FAINT, linewidth=0.5)
    along_time(axes, recording.seconds)
    axes.yaxis.set_major_formatter(lambda value, _: told(value, defaults.get("unit", "none")))
    legend(axes)


def draw_number(axes: Axes, panel: Any, recording: Recording) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    axes.set_xticks([])
    axes.set_yticks([])
    lines = recording.lines(panel["targets"][0])
    if not lines:
        axes.text(0.5, 0.45, "–", color=INK, fontsize=18, ha="center", va="center", transform=axes.transAxes)
        return
    name, ats, values = lines[0]
    known = [value for value in values if not math.isnan(value)] or [math.nan]
    text = (
        name
        if panel["options"]["textMode"] == "name"
        else told(known[-1], defaults["unit"], defaults.get("decimals"))
    )
    colour = NAMED["green"]
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and known[-1] >= step["value"]:
            colour = NAMED[step["color"]]
    if panel["options"]["graphMode"] == "area":
        top = max([value for value in known if math.isfinite(value)] or [0]) or 1
        axes.fill_between(ats, values, color=colour, alpha=0.15)
        axes.set_ylim(0, top * 2)
        axes.margins(x=0)
    size = 18 if len(text) < 12 else 10
    axes.text(0.5, 0.5, text, color=colour, fontsize=size, ha="center", va="center", transform=axes.transAxes)


def draw_bars(axes: Axes, panel: Any, recording: Recording) -> None:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    rows = []
    for target in panel["targets"]:
        lines = recording.lines(target)
        known = [value for _, _, values in lines for value in values if not math.isnan(value)]
        rows.append((target["legendFormat"], known[-1] if known else 0.0))
    names, values = [name for name, _ in rows], [value for _, value in rows]
    colours = [
        NAMED[[step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]]
        for value in values
    ]
    axes.barh(names, values, color=colours)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xticks([])
    for index, value in enumerate(values):
        axes.text(value, index, f" {told(value, 's')}", color=INK, fontsize=8, va="center")


def draw_heat(axes: Axes, panel: Any, recording: Recording) -> None:
    """Buckets are cumulative: each one's own count is its value minus that of the bucket below."""
    lines = recording.lines(panel["targets"][0])
    if not lines:
        return
    lines.sort(key=lambda line: float(line[0]))
    below: dict[float, float] = {}
    cells, names = [], []
    times = sorted({at for _, ats, _ in lines for at in ats})
    for name, ats, values in lines:
        row = dict(zip(ats, values, strict=True))
        cells.append([max(0.0, _number(row.get(at, 0)) - below.get(at, 0)) for at in times])
        names.append(name.removesuffix(".0"))
        below = {at: _number(value) for at, value in row.items()}
    axes.pcolormesh(times, range(len(names)), cells, cmap="magma", shading="nearest")
    axes.set_yticks(range(len(names)), names)
    along_time(axes, recording.seconds)
    axes.set_facecolor("black")


def _number(value: float) -> float:
    return 0.0 if math.isnan(value) else value


DRAW: dict[str, Callable[[Axes, Any, Recording], None]] = {
    "timeseries": draw_chart,
    "stat": draw_number,
    "bargauge": draw_bars,
    "heatmap": draw_heat,
}
