"""How the program ends."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_reader_that_has_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        command = "from service.cli import main; raise SystemExit(main())"
        ended = subprocess.run(
            [sys.executable, "-c", command, "plan", "demo", "--gpu", "h100", "--image", "640x480"],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (141, "")
