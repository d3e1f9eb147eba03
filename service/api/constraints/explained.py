"""What the engine says of a schema, pattern or grammar that it cannot follow, or of an image for which the template has
no place, in words for the client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from service.errors import EngineRejected, InvalidRequest, PatchbayError

_REFUSED = re.compile(
    r"Failed to transform (?:json schema|regex|choices)|[Gg]rammar specification|[Ss]tructural[_ ]tag specification|"
    r"not supported by xgrammar|Grammar error|structured outputs?|Regex compilation timed out"
)
_REASON = re.compile(r"(?:into a grammar: |Grammar error: |specification: )(.*)", re.DOTALL)
_SOURCE = re.compile(r"\[\d\d:\d\d:\d\d\] \S+?:\d+: (?:Check failed: .*? is false: )?")
"""Where in xgrammar's own code an error was found, and by what expression."""
MAX_REASON = 200
_MISPLACED = re.compile(r"has \d+ image placeholders for \d+ images|prompt placeholders corresponding to")


def explained(error: EngineRejected, payload: Mapping[str, Any]) -> PatchbayError:
    """`error`, or what it means when it is about a constraint of `payload` or about where its images are."""
    if _MISPLACED.search(error.message) and (place := _beside_the_question(payload)):
        return InvalidRequest(
            f"{place}: the checkpoint's chat template has no place for images in a system message; send it in a user "
            "message.",
            param=place,
        )
    path = _constraint(payload)
    if path is None or not _REFUSED.search(error.message):
        return error
    found = _REASON.search(error.message)
    reason = _SOURCE.sub("", found[1]).strip().splitlines() if found else []
    told = f": {reason[0][:MAX_REASON].rstrip('.')}" if reason else ""
    return InvalidRequest(f"{path}: the engine cannot hold an answer to this{told}.", param=path)


def _constraint(payload: Mapping[str, Any]) -> str | None:
    """The field of a checked request from which the engine makes a grammar."""
    if outputs := payload.get("structured_outputs"):
        return f"structured_outputs.{next(name for name, value in outputs.items() if value is not None)}"
    if (payload.get("response_format") or {}).get("type") == "json_schema":
        return "response_format.json_schema.schema"
    return "tools" if payload.get("tools") else None


def _beside_the_question(payload: Mapping[str, Any]) -> str | None:
    """The first image in a message that is neither the user's nor a tool's."""
    for row, message in enumerate(payload.get("messages") or ()):
        content = message.get("content")
        if message.get("role") in ("system", "developer") and isinstance(content, list):
            for column, part in enumerate(content):
                if part.get("type") == "image_url":
                    return f"messages[{row}].content[{column}]"
    return None
