"""OpenAI request bodies, assembled from bytes so that no image is JSON-encoded while the load runs."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pybase64

from loadtests.library import Script
from loadtests.pictures import fresh


def data_url(image: bytes, mime: str) -> bytes:
    return f"data:{mime};base64,".encode() + pybase64.b64encode(image)


def data_urls(script: Script, nonce: bytes) -> list[bytes]:
    """The script's images as data URLs, made unique with `nonce` if the script asks for fresh ones."""
    images = [
        fresh(image, b"%s-%d" % (nonce, i)) if script.fresh else image
        for i, image in enumerate(script.images)
    ]
    return [data_url(image, script.mime) for image in images]


def body(script: Script, urls: Sequence[bytes], said: Sequence[str], *, model: str, max_tokens: int) -> bytes:
    """The request for turn number `len(said)`; `said` are the answers to the earlier turns."""
    # no question contains a NUL, which JSON writes as six plain characters
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": {"url": f"\0{i}\0", "detail": "auto"}} for i in range(len(urls))
    ]
    messages: list[dict[str, object]] = []
    for i, turn in enumerate(script.turns[: len(said) + 1]):
        text = {"type": "text", "text": turn.question}
        messages.append({"role": "user", "content": [*parts, text] if i == 0 else turn.question})
        if i < len(said):
            messages.append({"role": "assistant", "content": said[i]})
    written = json.dumps(
        {
            "model": model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    if not urls:
        return written
    pieces: list[bytes] = []
    rest = written
    for i, url in enumerate(urls):
        before, _, rest = rest.partition(b"\\u0000%d\\u0000" % i)
        pieces += [before, url]
    return b"".join([*pieces, rest])
