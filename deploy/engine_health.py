"""Whether the engine in this container answers, or may still be starting: the chart's probe of its sidecar.

    python deploy/engine_health.py PORT SECONDS

Exit status 0 when the engine's /health answers 200, and for SECONDS after the container's start as long as it never
has; else 1. So a start may take its time, and an engine that hangs is not spared for as long. Standard library only.
"""

import http.client
import os
import sys
import tempfile
import time
from pathlib import Path

ANSWER_SECONDS = 8


def main(port: int, start_seconds: float) -> int:
    started = start_of(Path("/proc/1/stat"))
    # named by the start: the folder survives a restart of the container
    mark = Path(tempfile.gettempdir()) / f"engine-answered-{started:.2f}"
    if answers(port):
        mark.touch()
        return 0
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - started
    if not mark.exists() and age < start_seconds:
        return 0
    print(f"the engine does not answer at port {port}, {age:.0f} s after the container's start")
    return 1


def start_of(stat: Path) -> float:
    """When the process of a /proc/PID/stat started, in seconds after the machine did."""
    # the name, in parentheses, may hold anything
    ticks = stat.read_text().rpartition(")")[2].split()[19]
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
