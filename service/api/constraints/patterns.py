"""How large a regular expression is once it is compiled: nesting, and states with repetitions written out.

The syntax is what ECMAScript, Rust and xgrammar have in common. Where they differ, the reading is the one that sees
more groups, so that nothing is measured too small. Not recursive. What the engine cannot follow beyond that
(lookaheads, backreferences) is for it to refuse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LITERAL, NARROW, WIDE = 1, 20, 100
"""States of one character, of a class such as [a-z], and of one that leaves out only a few characters: how much of the
vocabulary has to be looked at."""
WRITTEN_OUT = 200
"""Repetitions beyond about so many are counted and not written out."""
UNCOUNTED = 10**9
"""Where counting states ends."""
_COUNTS = re.compile(r"\{(\d+)(?:(,)(\d*))?\}", re.ASCII)
_GROUP = re.compile(r"\((?:\?(?:P?<[A-Za-z_][A-Za-z0-9_]*>|<[=!]|[:=!>]|[a-zA-Z-]+[:)]))?")
_CLASS = re.compile(r"\[\^?(?:[^\\\]]|\\.)*\]", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u\{[0-9A-Fa-f]*\}|[pP]\{[^}\\]*\}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PatternSize:
    depth: int
    """Groups within one another."""
    states: int
    """Characters and classes, each counted as often as the repetitions around it say, and pairs of endless ones."""
    largest_count: int
    """The largest number within braces."""


class BadPattern(ValueError):
    """The message says what is wrong and where, to be continued after the field's name."""


@dataclass(slots=True)
class _Group:
    position: int
    states: int = 0
    last: int | None = None
    """States of the last element, which a quantifier repeats; None if there is none."""

    def add(self, states: int) -> None:
        self.states += states
        self.last = states


def measure(pattern: str) -> PatternSize:
    """In time linear in the pattern. Raises BadPattern."""
    if "\0" in pattern:
        raise BadPattern(f"there is a NUL at character {pattern.index(chr(0)) + 1}")
    groups = [_Group(0)]
    position, depth, largest, endless = 0, 0, 0, 0
    while position < len(pattern):
        begin, sign = position, pattern[position]
        match sign:
            case "\\":
                position = _end(_ESCAPE, pattern, begin, "the escape sequence is not finished")
                groups[-1].add(_escape(pattern[begin + 1]))
            case "[":
                position = _end(_CLASS, pattern, begin, "the character class is not closed")
                groups[-1].add(_class(pattern[begin:position]))
            case "(":
                position = _end(_GROUP, pattern, begin, "")
                if not pattern[begin:position].endswith(")"):  # (?i) is a flag and no group
                    groups.append(_Group(begin))
                    depth = max(depth, len(groups) - 1)
            case ")":
                position += 1
                if len(groups) == 1:
                    raise BadPattern(f"there is no group to close at character {begin + 1}")
                inner = groups.pop()
                groups[-1].add(inner.states)
            case "|":
                position += 1
                groups[-1].last = None
            case "^" | "$":
                position += 1
            case ".":
                position += 1
                groups[-1].add(WIDE)
            case "*" | "+" | "?":
                endless += sign != "?"
                position = _quantified(groups[-1], pattern, begin, begin + 1, 1)
            case "{" if counts := _COUNTS.match(pattern, begin):
                low, high = _number(counts[1]), _number(counts[3] or "0")
                largest = max(largest, low, high)
                endless += counts[2] is not None and not counts[3]
                if counts[3] and low > high:
                    raise BadPattern(f"{counts[0]} at character {begin + 1} has no count that fits")
                times = min(max(low, high, 1), WRITTEN_OUT)
                position = _quantified(groups[-1], pattern, begin, counts.end(), times)
            case _:
                position += 1
                groups[-1].add(LITERAL)
    if len(groups) > 1:
        raise BadPattern(f"the group that begins at character {groups[-1].position + 1} is not closed")
    # each may end wherever another begins
    return PatternSize(depth, min(groups[0].states + endless**2, UNCOUNTED), largest)


def _escape(letter: str) -> int:
    if letter in "DWSPp":
        return WIDE
    return NARROW if letter in "dws" else LITERAL


def _class(text: str) -> int:
    wide = text.startswith("[^") or any(escape in text for escape in ("\\D", "\\W", "\\S", "\\P", "\\p"))
    return (WIDE if wide else NARROW) + len(text) // 8


def _end(token: re.Pattern[str], pattern: str, begin: int, problem: str) -> int:
    found = token.match(pattern, begin)
    if found is None:
        raise BadPattern(f"{problem} at character {begin + 1}")
    return found.end()


def _quantified(group: _Group, pattern: str, begin: int, end: int, times: int) -> int:
    """Repeats the group's last element, and returns where the quantifier ends, lazy or possessive mark included."""
    if group.last is None:
        raise BadPattern(f"there is nothing to repeat at character {begin + 1}")
    more = min(group.last * (times - 1), UNCOUNTED)
    group.states, group.last = min(group.states + more, UNCOUNTED), group.last + more
    return end + 1 if pattern[end : end + 1] in ("?", "+") else end


def _number(digits: str) -> int:
    # a longer one is too large by any measure, and may be too long for int()
    return int(digits[:9])
