"""Starts a server with the embedded model, asks it, and stops it: `… --do picture --do load -- --enforce-eager`.

What is asked is right or wrong: text must come, the colour in a picture must be the one that is there, an evaluation
must pass, a load must be answered without a fault. Each gives a row; what follows one that is wrong is not asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from benchmarks.gpu.steps.rows import add
from benchmarks.processes import serving
from benchmarks.race.clients import listen
from benchmarks.race.scenarios import SCENARIOS, draw
from benchmarks.servers import PATCHBAY, patchbay, vllm_alone
from service.settings import EMBEDDED_MODEL

PICTURE = Path(EMBEDDED_MODEL).parent / "scenes" / "shapes.jpg"
QUESTION, ANSWER = "What colour is the star?", "red"
TOKENS = 16
"""Of each answer under load."""
SEED = 17
FEWEST_RIGHT = 0.9
"""Share of an evaluation's answers."""
BUSY = "patchbay_encoder_busy_seconds_total"


@dataclass(frozen=True, slots=True)
class Told:
    right: bool
    figures: Mapping[str, object]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # so that the server is stopped, which has a session of its own
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    flags = [flag for flag in options.flags if flag != "--"]
    make = partial(vllm_alone, threads=1) if options.server == "vllm" else patchbay
    server = make(EMBEDDED_MODEL, flags)
    log = options.logs / f"{options.name}-server.log"
    row = {"rung": options.name, "server": options.server, "flags": " ".join(flags)}
    began = time.monotonic()
    try:
        with serving(server.argv, server.environment, log, server.ready):
            add(options.write, **row, do="start", right=True, seconds=time.monotonic() - began)
            for name in options.do:
                began = time.monotonic()
                told = ASKED[name](server.url, options)
                add(
                    options.write,
                    **row,
                    do=name,
                    right=told.right,
                    seconds=time.monotonic() - began,
                    **told.figures,
                )
                if not told.right:
                    return 1
    except RuntimeError as failure:
        add(options.write, **row, do="start", right=False, seconds=time.monotonic() - began)
        print(failure, file=sys.stderr)
        return 1
    return 0


def text(url: str, options: argparse.Namespace) -> Told:
    model = httpx.get(f"{url}/v1/models").json()["data"][0]["id"]
    body = {"model": model, "messages": [{"role": "user", "content": "What can you see?"}], "max_tokens": 16}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    if reply.is_error:
        return Told(False, {"answer": reply.text[:300]})
    said = reply.json()
    answer = said["choices"][0]["message"]["content"] or ""
    return Told(said["usage"]["completion_tokens"] > 0, {"answer": answer})


def picture(url: str, options: argparse.Namespace) -> Told:
    command = (*PATCHBAY, "ask", str(PICTURE), QUESTION, "--url", url)
    done = subprocess.run(command, capture_output=True, text=True)
    said = (done.stdout or done.stderr).strip()
    return Told(done.returncode == 0 and ANSWER in said.lower(), {"answer": said[:300]})


def evaluate(url: str, options: argparse.Namespace) -> Told:
    answers = options.logs / f"{options.name}-answers.json"
    command = (sys.executable, "-m", "demo.evaluate", "--url", url, "--n", str(options.questions))
    done = subprocess.run((*command, "--json", str(answers)), capture_output=True, text=True)
    print(done.stdout, done.stderr, sep="\n", flush=True)
    if done.returncode not in (0, 1):
        return Told(False, {"error": done.stderr[-300:]})
    kinds = json.loads(answers.read_text())["kinds"].values()
    right, asked = (sum(kind[name] for kind in kinds) for name in ("right", "asked"))
    # a few dozen questions are too few for the thresholds of each kind
    return Told(right >= FEWEST_RIGHT * asked, {"right_answers": right, "asked": asked})


def load(url: str, options: argparse.Namespace) -> Told:
    scenario = SCENARIOS["unique, 1 client" if options.clients == 1 else "unique, 8 clients"]
    images = draw(scenario, SEED, os.cpu_count() or 1)
    before = busy_seconds(url)
    heard = asyncio.run(
        listen(url, scenario.scripts(scenario.clients, images.__getitem__), options.seconds, TOKENS)
    )
    share = (busy_seconds(url) - before) / heard.seconds
    for fault in heard.faults:
        print(fault, file=sys.stderr)
    figures = {
        "clients": scenario.clients,
        "answers": len(heard.answers),
        "per_second": heard.rate,
        "first_token_p50_ms": heard.quantile(0.5),
        "first_token_p99_ms": heard.quantile(0.99),
        "encoder_busy": share,
        "faults": len(heard.faults),
    }
    return Told(bool(heard.answers) and not heard.faults, figures)


def busy_seconds(url: str) -> float:
    """Of the encoder, since it started."""
    page = httpx.get(f"{url}/metrics").text
    lines = (line.split() for line in page.splitlines() if line.startswith(BUSY))
    return sum(float(words[-1]) for words in lines)


ASKED: Mapping[str, Callable[[str, argparse.Namespace], Told]] = {
    "text": text,
    "picture": picture,
    "evaluate": evaluate,
    "load": load,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu.steps.rung", description=__doc__)
    made.add_argument("--server", choices=("patchbay", "vllm"), default="patchbay")
    made.add_argument(
        "--do", choices=ASKED, action="append", default=[], help="may be repeated; in this order"
    )
    made.add_argument("--name", required=True, help="of the rung, in rows and logs")
    made.add_argument("--write", type=Path, required=True, metavar="FILE", help="gets a JSON object a line")
    made.add_argument("--logs", type=Path, required=True, metavar="FOLDER", help="gets the server's log")
    made.add_argument("--questions", type=int, default=40, help="of an evaluation (default %(default)s)")
    made.add_argument("--seconds", type=float, default=15, help="of a load (default %(default)s)")
    made.add_argument(
        "--clients", type=int, choices=(1, 8), default=8, help="of a load (default %(default)s)"
    )
    made.add_argument("flags", nargs=argparse.REMAINDER, help="after --: flags of vLLM")
    return made


if __name__ == "__main__":
    sys.exit(main())
