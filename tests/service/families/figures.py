"""What `make families` measured in each family: kept in figures.json, from which docs/families.md is made.

A test tells a figure as a property of its report, so that runs in several processes come together; only those of tests
that passed are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("figures.json")
PROPERTY = "figure"
MEASURED = {
    "counts": (
        "counts",
        "sizes of images, lines of a pixel among them, for which transformers' processor counts as many soft tokens, "
        "or where it has no count puts as many into a prompt",
    ),
    "float32": (
        "features, float32",
        "how far the soft tokens of the worst of two dozen pictures are from transformers', as a share of their "
        "length",
    ),
    "bfloat16": (
        "features, bfloat16",
        "how far those of all pictures are from transformers' in float32, and how far transformers' own in bfloat16 "
        "are",
    ),
    "handles": (
        "answers by handles",
        "of two dozen greedy answers of twelve tokens those whose prompt, tokens and log probabilities are those of "
        "transformers' `generate`; a near tie is a place where two words have log probabilities that little apart",
    ),
    "tower": ("answers by the engine's tower", "the same with images that are passed through"),
    "load": (
        "under load",
        "eight clients with a hundred requests each, of all sizes and details: answers that are those given to one "
        "client alone",
    ),
}
"""What is measured of a family: the heading of its column, and what stands in it."""

Tell = Callable[[str, str, str], None]
"""(family, one of `MEASURED`, what was found)"""
Figures = dict[str, dict[str, str]]
"""By family, by what is measured."""


def teller(record_property: Callable[[str, object], None]) -> Tell:
    """Raises KeyError for a name that is not in `MEASURED`."""

    def tell(family: str, name: str, found: str) -> None:
        assert MEASURED[name]
        record_property(PROPERTY, [family, name, found])

    return tell


def gathered(reports: Iterable[Any]) -> Figures:
    """Those that reports of tests have."""
    figures: Figures = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == PROPERTY:
                family, measured, found = value
                figures.setdefault(family, {})[measured] = found
    return figures


def kept() -> Figures:
    read: Figures = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    return read


def keep(found: Mapping[str, Mapping[str, str]]) -> None:
    """In the place of the same figures of earlier runs; others stay."""
    figures = kept()
    for family, measured in found.items():
        figures.setdefault(family, {}).update(measured)
    FILE.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
