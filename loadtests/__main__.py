"""`python -m loadtests`: the load test's own options, on top of Locust."""

from __future__ import annotations

import argparse
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from loadtests.flags import add_options, from_namespace
from loadtests.options import URL

EPILOG = """
values
  RATE in requests/s (users, with --model closed), S in seconds, MS in milliseconds or none, SHARE from 0 to 1

what to run
  python -m loadtests                                the capacity of the service at 127.0.0.1:8000
  python -m loadtests --shape soak --rate 5 --seconds 3600
  python -m loadtests --shape spike --rate 2 --peak 30
  python -m loadtests --ui                           Locust's page at http://127.0.0.1:8089, the report at /report
  python -m loadtests --processes 4                  four generator processes on this machine
  python -m loadtests --master --expect-workers 2    and on other machines: --worker --master-host ADDRESS
  python -m loadtests --images photos --answers none --url https://other.example   any other model

Options that are not listed here are passed to Locust (--users, --run-time, --web-port, --loglevel, …).
Exit status: 0 all objectives met, 1 an objective missed, 2 the load test could not run. See docs/load-testing.md.
"""


def main() -> int:
    """Checks the options, then becomes Locust. Returns only if it cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        usage="%(prog)s [--url URL] [--shape SHAPE] [--rate RATE] [option ...]",
        description="Puts load on a running Patchbay, checks every answer, and says whether the objectives were met.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Locust would not understand abbreviations of our options
        allow_abbrev=False,
    )
    parser.add_argument("--url", default=URL, help=f"the service to test (default {URL})")
    parser.add_argument("--ui", action="store_true", help="start Locust's web page instead of a run")
    parser.add_argument("--worker", action="store_true", help="send load for a master on another machine")
    add_options(parser)
    options, _ = parser.parse_known_args()
    try:
        from_namespace(options)
    except ValueError as error:
        parser.error(str(error))
    if not options.ui and not options.worker and not answers(options.url):
        print(
            f"No server answers at {options.url}. Run `make serve` in another terminal and wait until it is ready, or "
            "give the address of a service with --url.",
            file=sys.stderr,
        )
        return 2
    return become_locust(options)


def answers(url: str) -> bool:
    """Whether anything there speaks HTTP, with whatever status."""
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/livez", timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def become_locust(options: argparse.Namespace) -> int:
    """Replaces this process. The command line is passed on, except for options that Locust names differently."""
    given = sys.argv[1:]
    kept = []
    i = 0
    while i < len(given):
        if given[i] == "--url":
            i += 1
        elif given[i] != "--ui" and not given[i].startswith("--url="):
            kept.append(given[i])
        i += 1
    headless = [] if options.ui or options.worker else ["--headless", "--only-summary"]
    locustfile = str(Path(__file__).parent / "locustfile.py")
    command = [sys.executable, "-m", "locust", "-f", locustfile, "--host", options.url, *headless, *kept]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    sys.exit(main())
