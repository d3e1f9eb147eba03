"""How large a regular expression is, from its text alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.constraints.patterns import (
    NARROW,
    UNCOUNTED,
    WIDE,
    WRITTEN_OUT,
    BadPattern,
    PatternSize,
    measure,
)

SIZES = [
    ("", PatternSize(0, 0, 0)),
    ("abc", PatternSize(0, 3, 0)),
    ("^a|b$", PatternSize(0, 2, 0)),
    (r"\.\u{1F600}", PatternSize(0, 2, 0)),
    (r"\d\W\p{L}", PatternSize(0, NARROW + 2 * WIDE, 0)),
    (".", PatternSize(0, WIDE, 0)),
    ("[a-z]", PatternSize(0, NARROW, 0)),
    ("[^a-z]", PatternSize(0, WIDE, 0)),
    (r"[\]()]x", PatternSize(0, NARROW + 1, 0)),
    ("(ab)*", PatternSize(1, 2 + 1, 0)),
    (".*.+", PatternSize(0, 2 * WIDE + 4, 0)),
    ("(?:a(?<n>b)(?P<m>c)(?=d))", PatternSize(2, 4, 0)),
    ("a{3}", PatternSize(0, 3, 3)),
    ("a{3,}", PatternSize(0, 3 + 1, 3)),
    ("a{0,7}?", PatternSize(0, 7, 7)),
    ("a{0}", PatternSize(0, 1, 0)),
    ("(ab{3}){5}c", PatternSize(1, 21, 5)),
    ("((a{1,999}){1,999})", PatternSize(2, WRITTEN_OUT**2, 999)),
    ("a{2}{3}", PatternSize(0, 6, 3)),
    ("{x}", PatternSize(0, 3, 0)),
    ("(?i)a", PatternSize(0, 1, 0)),
]


@pytest.mark.parametrize("pattern, size", SIZES)
def test_size(pattern: str, size: PatternSize) -> None:
    assert measure(pattern) == size


@pytest.mark.parametrize(
    "pattern, words",
    [
        ("(((", "group that begins at character 3 is not closed"),
        ("a)", "no group to close at character 2"),
        ("[a", "class is not closed at character 1"),
        ("a\\", "escape sequence is not finished at character 2"),
        ("*a", "nothing to repeat at character 1"),
        ("(|+)", "nothing to repeat at character 3"),
        ("a{3,2}", "no count that fits"),
        ("a\0b", "NUL at character 2"),
    ],
)
def test_a_pattern_that_is_none(pattern: str, words: str) -> None:
    with pytest.raises(BadPattern, match=re.escape(words)):
        measure(pattern)


def test_what_grows_without_end_is_counted_to_an_end() -> None:
    assert measure("(" * 500 + "a" + "{999999999999}){99}" * 500).states == UNCOUNTED


@pytest.mark.parametrize("part", ["(", "[", "\\p{", "a{9", "(?<", "(?a", "{", "\\u{", "[\\"])
def test_long_nonsense_takes_linear_work(part: str) -> None:
    with pytest.raises(BadPattern):
        measure(part * 100_000 + "(")


@given(st.lists(st.sampled_from(list("ab()[]{}|*+?^$.\\,123")), max_size=30).map("".join))
def test_any_text_is_measured_or_refused(pattern: str) -> None:
    try:
        size = measure(pattern)
    except BadPattern:
        return
    assert 0 <= size.depth <= pattern.count("(")
    assert size.states >= 0


@given(st.lists(st.sampled_from(["a", "[ab]", "(a)", "(?:b|a)", "a*", "b+", "a?", "\\d", "|"]), max_size=12))
def test_what_python_reads_is_no_nonsense(parts: list[str]) -> None:
    pattern = "".join(parts)
    re.compile(pattern)
    assert measure(pattern).states >= sum(part != "|" for part in parts)
