"""Every shape of request, asked of Patchbay and of vLLM's own server with the same model, in turns.

Answers are equal but for the members that the table in docs/clients.md lists.
"""

from __future__ import annotations

import pytest

from tests.e2e.clients.differences import asked, differing, documented
from tests.e2e.clients.shapes import SHAPES
from tests.e2e.server import Server

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("name", SHAPES)
def test_answers_differ_where_the_page_says_so(name: str, patchbay: Server, alone: str) -> None:
    ours, theirs = asked(patchbay.url, SHAPES[name]), asked(alone, SHAPES[name])
    found = differing(ours, theirs)
    assert found == documented().get(name, set()), {
        "ours": {path: value for path, value in ours.items() if theirs.get(path) != value},
        "vllm": {path: value for path, value in theirs.items() if ours.get(path) != value},
    }
