"""Block shapes that were fastest on a GPU: found by `python -m kernels.tune` and committed, so no request searches."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from kernels.patch_embed.configs import Config

TABLE = Path(__file__).with_name("tuned.json")
NEAR = 2.0
"""An entry stands for as much as twice and as little as half its work."""


@dataclass(frozen=True, slots=True)
class Entry:
    """For operands on tensor cores."""

    gpu: str
    """Its name, as torch tells it."""
    capability: int
    """Without its dot."""
    patch_size: int
    hidden: int
    tokens: int
    """Of the whole batch."""
    config: Config
    p50_us: float
    """Of a CUDA graph's replay, when it won."""


def load(path: Path = TABLE) -> tuple[Entry, ...]:
    """Raises ValueError for a file that is no table."""
    try:
        rows = json.loads(path.read_text())
        return tuple(Entry(**{**row, "config": Config(**row["config"])}) for row in rows)
    except (TypeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: no table of tuned block shapes: {error}") from error


def save(entries: Iterable[Entry], path: Path = TABLE) -> None:
    """In a fixed order, one entry a line, so that a difference can be read."""
    ordered = sorted(entries, key=lambda e: (e.gpu, e.patch_size, e.hidden, e.tokens))
    lines = ",\n".join(" " + json.dumps(asdict(entry)) for entry in ordered)
    path.write_text(f"[\n{lines}\n]\n" if lines else "[]\n")


def find(entries: Iterable[Entry], gpu: str, patch_size: int, hidden: int, tokens: int) -> Config | None:
    """The entry of this GPU and layer whose work is nearest by ratio; None where none is `NEAR`."""

    def apart(entry: Entry) -> float:
        return max(entry.tokens / tokens, tokens / entry.tokens)

    of_layer = [e for e in entries if (e.gpu, e.patch_size, e.hidden) == (gpu, patch_size, hidden)]
    nearest = min(of_layer, key=apart, default=None)
    return None if nearest is None or apart(nearest) > NEAR else nearest.config
