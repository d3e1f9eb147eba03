"""Programs that say what they do, for the tests beside this file."""

from __future__ import annotations

import subprocess


def said_until(process: subprocess.Popen[str], words: str) -> str:
    """What a process writes up to the line that has `words`. Fails when it ends before."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(said)
