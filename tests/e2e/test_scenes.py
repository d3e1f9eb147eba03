"""Every question that the page suggests, asked of the embedded model: what is one click away must be right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pybase64
import pytest

from demo.questions import NO_NUMBER
from service.app.service import SCENES
from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
OFFER: dict[str, Any] = json.loads((SCENES / "scenes.json").read_text())
FIRST = OFFER["scenes"][0]["file"]
"""The scene that is there when the page opens."""
ANSWERS = {
    (FIRST, "Describe the picture."): (
        "a white cross, a red star, a green circle, a green heart and a blue circle"
    ),
    (FIRST, "How many objects are there?"): "5",
    (FIRST, "What number is written?"): NO_NUMBER,
    ("shapes.jpg", "What colour is the star?"): "red",
    ("shapes.jpg", "What shape is the white object?"): "cross",
    ("shapes.jpg", "Is there a blue circle?"): "yes",
    ("small.png", "What number is written?"): "747",
    ("wide.jpg", "What colour is the square?"): "blue",
    ("wide.jpg", "Where is the purple cross?"): "top right",
    ("wide.jpg", "Is there a heart?"): "no",
    ("number.jpg", "What number is written?"): "8",
    ("number.jpg", "Where is the heart?"): "bottom left",
    ("number.jpg", "Describe the picture."): "an orange circle, an orange heart and a number",
}


def suggested() -> Iterator[tuple[str, str]]:
    for scene in OFFER["scenes"]:
        yield from ((scene["file"], question) for question in scene["questions"])
    # offered for pictures of one's own
    yield from ((FIRST, question) for question in OFFER["questions"])


def plain(words: str) -> str:
    return words.strip().rstrip(".").lower()


@pytest.mark.parametrize(("scene", "question"), [*suggested()])
def test_a_suggested_question_is_answered_right(patchbay: Server, scene: str, question: str) -> None:
    # some image type must be named; the bytes decide
    url = f"data:image/png;base64,{pybase64.b64encode((SCENES / scene).read_bytes()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 256, "temperature": 0}
    reply = httpx.post(f"{patchbay.url}/v1/chat/completions", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    said = reply.json()["choices"][0]["message"]["content"]
    assert plain(said) == plain(ANSWERS[scene, question]), f"{scene}: {question}"
