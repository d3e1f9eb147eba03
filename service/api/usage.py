"""Our own figures in the engine's `usage`: soft tokens and the level of detail, by image.

Everything that carries no usage passes byte for byte, and nothing is invented where the engine counted nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from service.domain import ImageUsage

DATA = b"data: "
MARK = b'"usage"'


def frame_with_images(frame: bytes, images: Sequence[ImageUsage]) -> bytes:
    """One server-sent event of a completion stream."""
    if MARK not in frame or not frame.startswith(DATA):
        return frame
    data = frame.removeprefix(DATA).rstrip(b"\n")
    changed = body_with_images(data, images)
    return frame if changed is data else DATA + changed + b"\n\n"


def body_with_images(body: bytes, images: Sequence[ImageUsage]) -> bytes:
    """A JSON completion; returned as it is, the same object, when it has no usage."""
    if not images or MARK not in body:
        return body
    try:
        completion = json.loads(body)
    except ValueError:
        return body
    usage = completion.get("usage") if isinstance(completion, dict) else None
    if not isinstance(usage, dict):
        return body
    details = usage.get("prompt_tokens_details") or {}
    usage["prompt_tokens_details"] = details | _counted(images)
    return json.dumps(completion, ensure_ascii=False, separators=(",", ":")).encode()


def _counted(images: Sequence[ImageUsage]) -> dict[str, Any]:
    return {
        "image_tokens": sum(image.tokens for image in images),
        "image_detail": [image.detail for image in images],
    }
