"""A long storm against a service of its own: `make fuzz`, or `python -m tests.fuzz --requests 10000`.

Exit status 1 when a request met something unplanned, a plain probe failed, the engine was restarted, or memory did not
come back to within 5 % of what it was after warming up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.e2e.server import Server, serving
from tests.fuzz.storm import storm

WITHIN = 1.05
KIB = 1024


def memory(server: Server) -> dict[str, int]:
    """Anonymous memory in bytes: of the service's own process, and of everything that it started."""
    tree = _tree(server.process.pid)
    own, *others = (_anonymous(pid) for pid in tree)
    return {"service": own, "children": sum(others)}


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _anonymous(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * KIB for line in lines if line.startswith("RssAnon")), 0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000, help="default %(default)s")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(32), help="default: a new one"
    )
    parser.add_argument(
        "--warm-up",
        type=int,
        default=5000,
        help="requests before memory is read, which fill the engine's caches (default %(default)s)",
    )
    parser.add_argument("--failures", type=Path, help="gets each unplanned outcome, one JSON object a line")
    parser.add_argument(
        "--log", type=Path, default=Path(tempfile.gettempdir()) / "fuzz.log", help="default %(default)s"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with serving(options.log) as server:
        asyncio.run(storm(server.url, options.warm_up, options.seed + 1))
        before = memory(server)
        seen = asyncio.run(storm(server.url, options.requests, options.seed))
        after = memory(server)
        restarts = server.metric("patchbay_engine_restarts_total")
    grown = {name: after[name] / before[name] for name in before}
    print(
        f"statuses {dict(sorted(seen.statuses.items()))}, slowest {seen.slow[0][0]:.1f} s, engine restarts {restarts:g}"
    )
    print(f"plain probes {len(seen.probes)}, failed {seen.failed_probes}, p99 {seen.p99() * 1000:.0f} ms")
    print(", ".join(f"memory of {name} {before[name] >> 20} -> {after[name] >> 20} MiB" for name in before))
    for seconds, status, body in seen.slow:
        print(f"slow: {seconds:.1f} s, {status}: …{body[-400:]!r}")
    for status, body, told in seen.unplanned[:20]:
        print(f"unplanned {status}: {told[:300]!r} for {body[:600]!r}", file=sys.stderr)
    if options.failures:
        lines = [
            json.dumps({"status": s, "body": b.decode(errors="replace"), "told": t})
            for s, b, t in seen.unplanned
        ]
        options.failures.write_text("\n".join(lines))
    red = seen.unplanned or seen.failed_probes or restarts or any(share > WITHIN for share in grown.values())
    return int(bool(red))


if __name__ == "__main__":
    sys.exit(main())
