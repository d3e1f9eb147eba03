"""A chart of a race's rows: how many requests Patchbay answered for each of a peer's, and how soon.

    python -m benchmarks.race.chart rows.csv docs/pictures/race.png

Bars to the right of one are Patchbay's gain, bars to the left its loss; both stand in the same chart.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.race.table import OURS

COLOURS = {"vllm, tuned": "#2f6f9f", "vllm, default": "#b9cbd9"}
MEASURES = (("per_second", "requests/s"), ("p50", "first token, median"))

Ratios = dict[str, dict[str, float]]
"""By scenario and peer; above one where Patchbay is ahead."""


def ratios(rows: Iterable[Mapping[str, str]], measure: str) -> Ratios:
    """Of the medians over the rounds. More is better of `per_second`, less of all else.

    A peer that has finished nothing has no ratio.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        values.setdefault((row["scenario"], row["server"]), []).append(float(row[measure]))
    middle = {key: statistics.median(each) for key, each in values.items()}
    found: Ratios = {}
    for (scenario, server), value in middle.items():
        peers = found.setdefault(scenario, {})
        if server != OURS and 0 < value < math.inf:
            ratio = middle[scenario, OURS] / value
            peers[server] = ratio if measure == "per_second" else 1 / ratio
    return found


def draw(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    raced = {(row["scenario"], row["server"]) for row in rows}
    for panel, (measure, title) in zip(panels, MEASURES, strict=True):
        found = ratios(rows, measure)
        height = 0.8 / len(COLOURS)
        for place, (server, colour) in enumerate(COLOURS.items()):
            these = [(at, peers[server]) for at, peers in enumerate(found.values()) if server in peers]
            bars = panel.barh(
                [at + (place - 0.5) * height for at, _ in these],
                [ratio - 1 for _, ratio in these],
                height,
                left=1,
                color=colour,
                label=server,
            )
            panel.bar_label(bars, [f"{ratio:.2f}" for _, ratio in these], padding=3, fontsize=8)
            for at, (scenario, peers) in enumerate(found.items()):
                if server not in peers and (scenario, server) in raced:
                    panel.text(1, at + (place - 0.5) * height, "  it finished none", va="center", fontsize=8)
        panel.axvline(1, color="#333333", linewidth=1)
        panel.set(title=f"Patchbay against each peer: {title}", xscale="log")
        panel.set_xticks([0.5, 1, 2, 4], ["½ ×", "1 ×", "2 ×", "4 ×"])
        panel.minorticks_off()
        panel.margins(x=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(found)), list(found))
    panels[0].invert_yaxis()
    panels[-1].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="what `python -m benchmarks.race --out` wrote")
    parser.add_argument("picture", type=Path, help="a PNG or SVG file")
    options = parser.parse_args()
    with options.rows.open(newline="") as file:
        draw(list(csv.DictReader(file)), options.picture)


if __name__ == "__main__":
    main()
