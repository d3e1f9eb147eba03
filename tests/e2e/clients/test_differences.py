"""Where two answers differ, and what of a request can be compared."""

from __future__ import annotations

import pytest

from tests.e2e.clients.asking import LONG
from tests.e2e.clients.differences import CUT, Members, allowed, comparable, differing, documented, members
from tests.e2e.clients.shapes import SHAPES, Shape


def test_members_are_leaves_by_path_and_what_says_nothing_is_absent() -> None:
    value = {"a": [{"b": 1}, {"b": None}], "c": {}, "d": [], "e": False, "f": {"g": [0]}}
    assert members(value) == {"a[0].b": 1, "e": False, "f.g[0]": 0}


@pytest.mark.parametrize(
    "ours, theirs, found",
    [
        ({"a[0].b": 1}, {"a[0].b": 1}, set()),
        ({"a[0].b": 1}, {"a[0].b": 2}, {"a[].b"}),
        ({"a[1].b": 1}, {}, {"a[].b"}),
        ({}, {"c": 1}, {"c"}),
        ({"choices[0].logprob": -0.5}, {"choices[0].logprob": -0.51}, set()),
        ({"choices[0].logprob": -0.5}, {"choices[0].logprob": -0.6}, {"choices[].logprob"}),
        ({"id": "1", "output[0].id": "2", "created": 3}, {"id": "4"}, set()),
        ({"error.message": "a", "error.type": "x"}, {"error.message": "b"}, set()),
        ({"status": 400, "a": 1}, {"status": 200, "b": 2}, {"status"}),
    ],
)
def test_what_differs_is_named_once(ours: Members, theirs: Members, found: set[str]) -> None:
    assert differing({"status": 200, **ours}, {"status": 200, **theirs}) == found


def test_what_is_compared_is_greedy_short_and_strict() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    asked = {"messages": [], "temperature": 1, "max_tokens": LONG, "tools": [tool], "tool_choice": "required"}
    body = comparable(Shape("/v1/chat/completions", asked)).body
    assert (body["temperature"], body["max_tokens"]) == (0, CUT)
    assert body["tools"][0]["function"]["strict"] and "strict" not in tool["function"]
    assert comparable(Shape("/tokenize", {"prompt": "a"})).body == {"prompt": "a"}


def test_each_row_of_the_page_names_shapes_that_there_are() -> None:
    assert len(documented()) > 10
    assert documented().keys() <= SHAPES.keys()
    assert "store" in documented()["responses"] & documented()["responses: turns"]


def test_a_request_may_differ_as_those_of_its_kind() -> None:
    assert "store" in allowed(SHAPES["responses"]) and "response.store" not in allowed(SHAPES["responses"])
    assert "response.store" in allowed(SHAPES["responses: stream"])
    assert allowed(SHAPES["chat: image"]) == set(), "not as one that vLLM answers otherwise"
    assert allowed(SHAPES["input_tokens"]) == {"status"}, "of a route that vLLM has not"
