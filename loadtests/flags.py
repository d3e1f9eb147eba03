"""The options of a load test on a command line: of `python -m loadtests`, and of Locust, which it becomes.

Every default stands here, once. Knows nothing of what the options do beyond what their help says.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from typing import Any

from loadtests.options import KINDS, SERVERS, SHAPES, Options
from loadtests.slo import Objectives

MIX = "chat=8,conversation=3,gallery=2,text=3,repeated=2,huge=1,broken=1"


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def not_negative(text: str) -> float:
    return 0.0 if text == "0" else positive(text)


def whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return value


def limit(text: str) -> float | None:
    """Milliseconds, or `none`."""
    return None if text in ("none", "None", "") else positive(text)


def mix(text: str) -> dict[str, int]:
    """`chat=8,text=2` as weights; kinds that are not named get none. Raises ArgumentTypeError."""
    weights = dict.fromkeys(KINDS, 0)
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"mix names {name!r}; there is {', '.join(KINDS)}")
        if not weight.isdecimal():
            raise argparse.ArgumentTypeError(
                f"mix gives {name} the weight {weight!r}; a whole number is needed"
            )
        weights[name] = int(weight)
    if not any(weights.values()):
        raise argparse.ArgumentTypeError("mix gives nothing any weight")
    return weights


def add_options(parser: argparse.ArgumentParser) -> None:
    """Enters every option, in groups, which also keeps them, and the key, off Locust's web page."""
    _load(parser.add_argument_group("what load", _listed(SHAPES)))
    _visits(parser.add_argument_group("who asks what", _listed(KINDS)))
    _questions(parser.add_argument_group("what is asked, and when an answer is right"))
    _objectives(parser.add_argument_group("objectives; exit status 1 when one is not kept"))
    _places(parser.add_argument_group("where to look"))


def _load(load: Any) -> None:
    load.add_argument(
        "--shape",
        choices=SHAPES,
        default="steps",
        metavar="SHAPE",
        help="one of the above (default steps)",
    )
    load.add_argument(
        "--model",
        choices=("open", "closed"),
        default="open",
        help="open: requests come when they are due, however slow the server is, as from many people who know nothing "
        "of each other; a RATE is in requests/s. closed: each user waits for its answer and thinks before it asks "
        "again, so that a slow server is asked less; a RATE is a number of users. Only open finds a capacity "
        "(default open)",
    )
    _add(load, "--rate", "RATE", 2, "first level of steps, top of ramp, level of spike and soak")
    _add(load, "--peak", "RATE", 20, "top of spike")
    _add(load, "--most", "RATE", 1000, "steps try nothing above it")
    _add(
        load, "--seconds", "S", 20, "length of one step, of the ramp, of each part of the spike, of the soak"
    )
    _add(load, "--warm", "S", 5, "beginning of a step or run that is not judged")
    _add(load, "--tail", "S", 5, "a step goes on so that its last requests can end under its own load")
    _add(load, "--growth", "FACTOR", 1.5, "from one step to the next, until one breaks")
    _add(
        load,
        "--precision",
        "FACTOR",
        0.1,
        "steps end when the rate that broke is this share above the one that held",
    )
    _add(
        load,
        "--unit",
        "RATE",
        0.1,
        "of one Locust user with --model open; 1 for hundreds of requests a second",
    )
    _add(load, "--think", "S", 1, "mean time between answer and next question with --model closed")


def _visits(visits: Any) -> None:
    visits.add_argument(
        "--mix",
        type=mix,
        default=mix(MIX),
        metavar="KIND=WEIGHT,…",
        help=f"shares of these kinds in the requests (default {MIX})",
    )


def _questions(what: Any) -> None:
    what.add_argument(
        "--images",
        choices=("scenes", "photos"),
        default="scenes",
        help="scenes: drawn ones with known answers, for the model that comes with Patchbay. photos: noise with a "
        "photograph's statistics in the sizes of cameras and screens, for any model (default scenes)",
    )
    what.add_argument(
        "--answers",
        choices=("alone", "world", "none"),
        default="alone",
        help="alone: each question is first asked alone, and under load must be answered the same. world: what the "
        "scene shows. none: any answer that is whole (text, finish_reason, usage), for other models (default alone)",
    )
    what.add_argument(
        "--server",
        choices=SERVERS,
        default="patchbay",
        help="other: any server with OpenAI's API; its usage need not count image tokens, and a broken image may be "
        "refused with any 4xx. --answers none asks no more of anyone (default patchbay)",
    )
    _add(what, "--count", "N", 24, "different images of each kind, all made before the load begins")
    _add(what, "--seed", "SEED", 1, "of images and questions: the same seed asks the same")
    _add(what, "--max-tokens", "N", 48, "most tokens of an answer")
    _add(what, "--timeout", "S", 60, "time after which an answer counts as failed")
    what.add_argument(
        "--api-key",
        default=os.environ.get("LOADTEST_API_KEY", ""),
        metavar="KEY",
        help="bearer key of the service (default: the variable LOADTEST_API_KEY)",
    )


def _objectives(promise: Any) -> None:
    usual = Objectives()
    first, gap, total, late = (
        usual.first_token_p95,
        usual.inter_token_p95,
        usual.total_p95,
        usual.late_p99,
    )
    _add(
        promise,
        "--slo-first-token-p95",
        "MS",
        first,
        "95 of 100 first tokens come within this, from when they were due",
    )
    _add(promise, "--slo-inter-token-p95", "MS", gap, "95 of 100 gaps between two events of a stream")
    _add(promise, "--slo-total-p95", "MS", total, "95 of 100 answers are whole within this")
    _add(
        promise,
        "--slo-errors",
        "SHARE",
        usual.errors,
        "most failed requests; refusals with Retry-After are not failures",
    )
    _add(
        promise,
        "--slo-refused",
        "SHARE",
        usual.refused,
        "most requests refused by admission (429, 503); not asked of a spike's burst and recovery",
    )
    _add(promise, "--slo-right", "SHARE", usual.right, "least answers that are right")
    _add(
        promise,
        "--slo-late-p99",
        "MS",
        late,
        "how late the load generator itself may be; beyond it figures are its own",
    )
    _add(promise, "--min-capacity", "LEAST", 0, "steps: the rate that must hold at least")


def _places(out: Any) -> None:
    out.add_argument(
        "--metrics-url",
        default="",
        metavar="URL",
        help="Patchbay's /metrics, where it has an admin port (default --url + /metrics)",
    )
    out.add_argument(
        "--report-dir",
        default="load-report",
        metavar="FOLDER",
        help="gets report.html and summary.json (default load-report)",
    )


def from_namespace(parsed: argparse.Namespace) -> Options:
    """What these options stand for. Raises ValueError for combinations that cannot work."""
    fields = {name: getattr(parsed, name) for name in Options.__slots__ if name != "objectives"}
    limits = {name: getattr(parsed, f"slo_{name}") for name in Objectives.__slots__}
    return Options(**fields, objectives=Objectives(**limits))


TYPES: Mapping[str, Callable[[str], float | None]] = {
    "RATE": positive,
    "S": positive,
    "FACTOR": positive,
    "N": whole,
    "SEED": int,
    "SHARE": share,
    "MS": limit,
    "LEAST": not_negative,
}
"""What a value in the help is called → how it is read."""


def _listed(names: Mapping[str, str]) -> str:
    return "\n".join(f"{name:<14}{meaning}" for name, meaning in names.items())


def _add(group: Any, flag: str, value: str, default: float | None, words: str) -> None:
    shown = "none" if default is None else f"{default:g}"
    group.add_argument(
        flag, type=TYPES[value], metavar=value, default=default, help=f"{words} (default {shown})"
    )
