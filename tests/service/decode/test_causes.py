"""Each cause has a sentence that a client can act upon, and Pillow's words are told apart."""

from __future__ import annotations

import struct

import pytest

from service.decode.causes import Cause, Undecodable, cause_of


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_sentence_of_its_own(cause: Cause) -> None:
    assert cause.sentence.startswith("The image could not be decoded: ") and cause.sentence.endswith(".")
    assert [other.sentence for other in Cause].count(cause.sentence) == 1


def wrapped(error: Exception) -> SyntaxError:
    syntax = SyntaxError(error)
    syntax.__cause__ = error
    return syntax


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (Undecodable(Cause.SCANS, "truncated"), Cause.SCANS),
        (MemoryError(), Cause.MEMORY),
        (OSError("image file is truncated (7 bytes not processed)"), Cause.INCOMPLETE),
        (wrapped(EOFError("no more images in GIF file")), Cause.INCOMPLETE),
        (wrapped(struct.error("unpack requires a buffer of 4 bytes")), Cause.INCOMPLETE),
        (wrapped(KeyError("mode")), Cause.DAMAGED),
        (ValueError("APNG contains truncated acTL chunk"), Cause.ANIMATION),
        (ValueError("Truncated gAMA chunk"), Cause.CHUNK),
        (OSError("broken data stream when reading image file"), Cause.DAMAGED),
    ],
)
def test_errors_are_told_apart(error: Exception, cause: Cause) -> None:
    assert cause_of(error) is cause
