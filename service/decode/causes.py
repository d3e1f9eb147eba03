"""Why an image cannot be decoded: one word on the way from the sandbox, one sentence for the client.

The words are ours, since a decoder's own can hold addresses; Pillow's are looked at within the sandbox alone, and only
to choose among these. Standard library only: both sides of the sandbox import it.
"""

from __future__ import annotations

import re
import struct
from enum import StrEnum


class Cause(StrEnum):
    DAMAGED = "damaged"
    INCOMPLETE = "incomplete"
    TEXT = "text"
    ANIMATION = "animation"
    CHUNK = "chunk"
    SCANS = "scans"
    SIZE = "size"
    MEMORY = "memory"

    @property
    def sentence(self) -> str:
        return f"The image could not be decoded: {_SENTENCES[self]}."


_SENTENCES = {
    Cause.DAMAGED: "its data is damaged, or of a kind that is not supported",
    Cause.INCOMPLETE: "its data is incomplete; the file ends too early",
    Cause.TEXT: "a text or colour profile beside the picture is too large: more than 1 MiB when decompressed, or "
    "64 MiB in all",
    Cause.ANIMATION: "its animation chunks (APNG) are damaged or contradict each other",
    Cause.CHUNK: "a chunk beside the picture is shorter than the PNG standard says",
    Cause.SCANS: "it is a progressive JPEG of too many scans",
    Cause.SIZE: "its header and its data give different sizes",
    Cause.MEMORY: "decoding it takes more memory than an image of its size may take",
}
_PILLOWS_WORDS = (
    (re.compile("APNG"), Cause.ANIMATION),
    (re.compile("MAX_TEXT"), Cause.TEXT),
    (re.compile(r"Truncated \w{4} chunk"), Cause.CHUNK),
    (re.compile("truncated", re.IGNORECASE), Cause.INCOMPLETE),
)


class Undecodable(ValueError):
    """Refused by us before, or although, a decoder would take it."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def cause_of(error: Exception) -> Cause:
    """Of whatever decoding an image raised."""
    if isinstance(error, Undecodable):
        return error.cause
    if isinstance(error, MemoryError):
        return Cause.MEMORY
    words = str(error)
    for pattern, cause in _PILLOWS_WORDS:
        if pattern.search(words):
            return cause
    # Pillow wraps the end of a file in a SyntaxError
    if isinstance(error.__cause__ or error, EOFError | struct.error):
        return Cause.INCOMPLETE
    return Cause.DAMAGED
