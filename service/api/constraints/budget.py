"""What one request may have compiled, counted in states: roughly, places at which an answer can be held against it.

Weights and bounds are measured with xgrammar 0.2.8 and a vocabulary of 131,000: a state is about a millisecond of one
core or less, and eight threads share them; a text with a maxLength beyond 128 alone is twenty seconds of one core. Each
bound on nesting is far from where a stack ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from service.api.constraints.patterns import WIDE, WRITTEN_OUT, BadPattern, measure
from service.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class ConstraintLimits:
    max_states: int = 30_000
    """Of all that one request has compiled."""
    max_depth: int = 64
    """Objects and arrays within one another in a schema or structural tag, groups in a pattern or grammar."""
    max_count: int = 10_000
    """Numbers that say how often something repeats: `{9}` in grammars, minItems, maxLength and the like."""
    max_pattern_count: int = 128
    """The same in a schema's patterns: beyond it xgrammar fails where nobody can be told."""
    max_values: int = 5000
    """Values in one list."""
    max_chain: int = 1000
    """Levels of a schema with all its references followed once."""


class Budget:
    """Every method raises InvalidRequest, which names the field, what came and what is allowed."""

    def __init__(self, limits: ConstraintLimits) -> None:
        self._limits = limits
        self._taken = 0
        self._lengths: set[int] = set()

    def take(self, states: int, path: str) -> None:
        self._taken += states
        if self._taken > self._limits.max_states:
            raise InvalidRequest(
                f"{path}: with this the request's schemas, patterns and grammars need {self._taken} states; at most "
                f"{self._limits.max_states} are allowed. Fewer properties, shorter lists of values, and smaller or "
                "fewer repetitions need less.",
                param=path,
            )

    def pattern(self, pattern: str, path: str) -> None:
        """A regular expression within a schema."""
        self.take(self.pattern_states(pattern, path, self._limits.max_pattern_count), path)

    def pattern_states(self, pattern: str, path: str, most: int | None = None) -> int:
        """Checks a regular expression, and leaves it to the caller to take its states."""
        try:
            size = measure(pattern)
        except BadPattern as error:
            raise InvalidRequest(f"{path} is not a regular expression: {error}.", param=path) from None
        self.groups(size.depth, path)
        self.count(size.largest_count, path, most)
        return size.states

    def length(self, length: float, path: str) -> None:
        """A text of so many characters at least or at most. The longest holds the shorter, which cost little more."""
        self.count(length, path)
        written_out = int(min(length, WRITTEN_OUT))
        if written_out not in self._lengths:
            longer = max(0, written_out - max(self._lengths, default=0))
            self._lengths.add(written_out)
            self.take(WIDE * longer + WIDE * written_out // 10, path)

    def groups(self, depth: int, path: str) -> None:
        """Groups within one another, in a regular expression or a grammar."""
        if depth > self._limits.max_depth:
            raise InvalidRequest(
                f"{path} has more than {self._limits.max_depth} groups within one another.", param=path
            )

    def count(self, count: float, path: str, most: int | None = None) -> None:
        """How often something repeats."""
        most = most or self._limits.max_count
        if count > most:
            raise InvalidRequest(
                f"{path}: {count} repetitions are too many; at most {most} are allowed.",
                param=path,
            )

    def values(self, values: Any, path: str) -> None:
        """Literal values, any JSON."""
        if isinstance(values, list) and len(values) > self._limits.max_values:
            raise InvalidRequest(
                f"{path} has {len(values)} values; at most {self._limits.max_values} are allowed.", param=path
            )
        self.take(len(json.dumps(values, ensure_ascii=False)), path)

    def depth(self, value: Any, path: str) -> int:
        """How many objects and arrays lie within one another."""
        found = height(value)
        if found > self._limits.max_depth:
            raise InvalidRequest(
                f"{path} is nested {found} levels deep; at most {self._limits.max_depth} are allowed.",
                param=path,
            )
        return found

    def chain(self, levels: int, path: str) -> None:
        """Levels of nesting, references followed."""
        if levels > self._limits.max_chain:
            raise InvalidRequest(
                f"{path}: its references lead through {levels} levels; at most {self._limits.max_chain} are allowed.",
                param=path,
            )


def height(value: Any) -> int:
    """Objects and arrays within one another, without recursion: 0 for anything else."""
    levels, layer = 0, [value]
    while containers := [item for item in layer if isinstance(item, (dict, list))]:
        levels += 1
        layer = [item for each in containers for item in (each.values() if isinstance(each, dict) else each)]
    return levels
