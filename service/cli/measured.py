"""How many replicas a rate takes, from the rate that one was measured to sustain.

Reads the `summary.json` of a load test. Whether the measured machine is like the planned one is the caller's judgement.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import ConfigurationError

VERSION = 1
"""The version of the summary's format that is read here."""
SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Measured:
    rate: float
    """Requests/s that one replica sustained."""
    source: str
    at_least: bool = False
    """Whether it may sustain more: the test offered no more, as every shape but steps."""


@dataclass(frozen=True, slots=True)
class Replicas:
    count: int
    rate: float
    """Requests/s that are expected."""
    headroom: float
    """What they bear on top, as a share of it."""
    measured: Measured

    @classmethod
    def of(cls, rate: float, headroom: float, measured: Measured) -> Replicas:
        """Capacity adds up: nothing is shared between replicas."""
        # a quotient of decimals can miss a whole number by its last bit
        return cls(math.ceil(rate * (1 + headroom) / measured.rate * (1 - 1e-12)), rate, headroom, measured)


def read_measured(given: str) -> Measured:
    """A rate as a number, or the summary of a load test, or the folder that it is in.

    Raises ConfigurationError for anything else, and for a test that missed its objectives.
    """
    try:
        rate = float(given)
    except ValueError:
        return _of_summary(Path(given))
    if not 0 < rate < math.inf:
        raise ConfigurationError(f"measured: got {given}; allowed is more than 0 requests/s")
    return Measured(rate, "as given")


def _of_summary(path: Path) -> Measured:
    file = path / SUMMARY if path.is_dir() else path
    try:
        summary = json.loads(file.read_text())
        if summary["version"] != VERSION:
            raise ConfigurationError(
                f"measured: {file} has format version {summary['version']}; version {VERSION} is supported"
            )
        shape, rate = summary["options"]["shape"], _rate(summary)
        source = f"{file}, {shape}, {summary['model']}"
    except OSError as error:
        raise ConfigurationError(
            f"measured: {file} is neither a number nor a file that can be read ({error.strerror})"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"measured: {file} is not a summary of a load test") from None
    if not rate:
        raise ConfigurationError(
            f"measured: {file} contains no rate at which the objectives were met: find one with `make load`"
        )
    return Measured(rate, source, at_least=shape != "steps")


def _rate(summary: dict[str, Any]) -> float:
    """The capacity that steps found, or the most answers/s in a stage that met its objectives; 0 for none."""
    if summary["options"]["shape"] == "steps":
        return float(summary["capacity"] or 0)
    rates = [stage["answered_per_second"] for stage in summary["stages"] if stage["judged"] and stage["held"]]
    return float(max(rates, default=0)) if summary["passed"] else 0.0
