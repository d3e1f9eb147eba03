"""Bodies that no client means well with, for every dialect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

Values = st.SearchStrategy[Any]


def anything(keys: Iterable[str], words: Sequence[str]) -> Values:
    """Any JSON, with a liking for the names and words that a dialect knows."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(words)
    names = st.text() | st.sampled_from(sorted(keys))
    return st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=30)


def spoilt(good: Values, fields: Iterable[str], values: Values) -> Values:
    """Good bodies in which one or two members are replaced."""
    more = st.dictionaries(st.sampled_from(sorted(fields)), values, max_size=2)
    return st.builds(lambda body, members: body | members, good, more)
