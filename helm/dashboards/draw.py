"""Draws the rows of the dashboards from the data of a Prometheus server, one PNG per row, with the dashboards' queries.

`python -m helm.dashboards.draw http://127.0.0.1:9090 docs/pictures`. For use without Grafana.
"""

from __future__ import annotations

import argparse
import io
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
from matplotlib.figure import Figure
from PIL import Image

from helm.dashboards.paint import DRAW, PAPER, style
from helm.dashboards.queries import boards, panels
from helm.dashboards.recording import Recording

INCH = 0.62
"""Width of a grid column in inches; a grid row is half as high."""


def draw_row(members: list[Any], recording: Recording, file: Path) -> None:
    top = min(panel["gridPos"]["y"] for panel in members)
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in members) - top
    inches = height * INCH / 2
    figure = Figure(figsize=(24 * INCH, inches), facecolor=PAPER)
    for panel in members:
        place = panel["gridPos"]
        low, left = height - (place["y"] - top) - place["h"], place["x"]
        # room for the title above, the legend below and the tick labels on the left, in grid units
        beside = 2.6 if panel["type"] == "bargauge" else 0.2 if panel["type"] == "stat" else 1.3
        # many stages need a legend of two lines
        under = 0.3 if panel["type"] in ("stat", "bargauge") else 2.2 if place["w"] > 8 else 1.6
        axes = figure.add_axes(
            (
                (left + beside) / 24,
                (low + under) / height,
                (place["w"] - beside - 0.3) / 24,
                (place["h"] - under - 1) / height,
            )
        )
        style(axes, panel)
        DRAW[panel["type"]](axes, panel, recording)
    whole = io.BytesIO()
    figure.savefig(whole, dpi=100, facecolor=PAPER)
    # few colours: a third of the bytes
    Image.open(whole).convert("RGB").quantize(96).save(file, optimize=True)


def slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prometheus", help="base URL of the Prometheus server")
    parser.add_argument("folder", type=Path, help="folder for the pictures")
    parser.add_argument(
        "--end", type=float, default=None, help="end of the period, in seconds of Unix time (default: now)"
    )
    parser.add_argument(
        "--seconds", type=float, default=600, help="length of the period in seconds (default: %(default)s)"
    )
    parser.add_argument("--window", default="30s", help="window for rates (default: %(default)s)")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    end = given.end or time.time()
    with httpx.Client(base_url=given.prometheus, timeout=60) as client:
        recording = Recording(client, end - given.seconds, end, given.window)
        for name, board in boards().items():
            for row, members in groupby(panels(board), key=lambda pair: pair[0]):
                file = given.folder / f"{name}-{slug(row)}.png"
                draw_row([panel for _, panel in members], recording, file)
                print(file)


if __name__ == "__main__":
    main()
