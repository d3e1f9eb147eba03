"""pytest's own process, into which every test file has been imported by now."""

from __future__ import annotations

import sys


def test_the_standard_library_is_as_python_made_it() -> None:
    """Locust replaces sockets and threads where it is imported; a worker of pytest-xdist then waits for ever."""
    assert "gevent" not in sys.modules
