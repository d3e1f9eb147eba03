"""What a request to the engine carries in place of an image: a key and a layout, as JSON lists of numbers.

The form is that of vLLM's `image_embeds` content part without its tensor; `service.engine.plugin` reads it on the other
side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.domain import Handle, ImageRef

PLUGIN_VERSION = 1
"""Version of the format that this module writes and the plugin reads; each handle carries it."""


def part(handle: Handle) -> dict[str, Any]:
    """The content part for one handle."""
    layout = handle.layout
    fields = {
        "soft_version": [PLUGIN_VERSION],
        "soft_target": list(layout.target),
        "soft_layout": [number for run in layout.runs for number in (run.token, run.count, int(run.embeds))],
    }
    if layout.joins:
        fields["soft_joins"] = [token for join in layout.joins for token in join]
    if layout.ending is not None:
        fields["soft_ending"] = [layout.ending]
    if layout.grid is not None:
        fields["image_grid_thw"] = list(layout.grid)
    return {"type": "image_embeds", "uuid": handle.key, "image_embeds": fields}


def substitute(
    payload: Mapping[str, Any], images: Sequence[ImageRef], handles: Sequence[Handle]
) -> dict[str, Any]:
    """A copy of a chat payload in which a handle stands in the place of each image.

    The given payload stays as it is. Raises ValueError when the numbers differ.
    """
    messages = [dict(message) for message in payload["messages"]]
    for index in {image.message for image in images}:
        messages[index]["content"] = list(messages[index]["content"])
    for image, handle in zip(images, handles, strict=True):
        content = messages[image.message]["content"]
        content[image.part] = part(handle)
        if handle.layout.spaced:
            content[image.part + 1 : image.part + 2] = map(_spaced, content[image.part + 1 : image.part + 2])
    return {**payload, "messages": messages}


def _spaced(behind: Any) -> Any:
    """A content part that follows an image; text gets a space in front, unless it begins with one or with a tag."""
    text = behind.get("text") if isinstance(behind, dict) and behind.get("type") == "text" else None
    if not isinstance(text, str) or not text or text[0] == "<" or text[0].isspace():
        return behind
    return {**behind, "text": f" {text}"}
