"""The command-line options of a load test, for `python -m loadtests` and for Locust, which it becomes.

Every default is defined here, once.
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
            raise argparse.ArgumentTypeError(f"mix names {name!r}; known kinds are {', '.join(KINDS)}")
        if not weight.isdecimal():
            raise argparse.ArgumentTypeError(
                f"mix gives {name} the weight {weight!r}; a whole number is needed"
            )
        weights[name] = int(weight)
    if not any(weights.values()):
        raise argparse.ArgumentTypeError("mix gives no kind any weight")
    return weights


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds every option, in groups, which also keeps them, and the key, off Locust's web page."""
    _load(parser.add_argument_group("shape of the load", _listed(SHAPES)))
    _visits(parser.add_argument_group("kinds of requests", _listed(KINDS)))
    _questions(parser.add_argument_group("questions, and when an answer is right"))
    _objectives(parser.add_argument_group("objectives; the exit status is 1 if one is missed"))
    _places(parser.add_argument_group("input and output"))


def _load(load: Any) -> None:
    load.add_argument(
        "--shape",
        choices=SHAPES,
        metavar="SHAPE",
        help="one of the above (default steps, or users if Locust's --users, --spawn-rate or --run-time is given)",
    )
    load.add_argument(
        "--model",
        choices=("open", "closed"),
        default="open",
        help="open: requests are sent when they are due, however slow the server is, as if from many independent "
        "users; RATE is in requests/s. closed: each user waits for its answer and thinks before asking again, so a "
        "slow server gets fewer requests; RATE is a number of users. Only open finds a capacity (default open)",
    )
    _add(
        load, "--rate", "RATE", 2, "first rate of steps, final rate of ramp, base rate of spike, rate of soak"
    )
    _add(load, "--peak", "RATE", 20, "rate of spike's burst")
    _add(load, "--most", "RATE", 1000, "highest rate that steps tries")
    _add(
        load,
        "--seconds",
        "S",
        20,
        "duration of each step, of the ramp, of each part of the spike, of the soak",
    )
    _add(load, "--warm", "S", 5, "warm-up at the beginning of a step or run, which is not judged")
    _add(
        load, "--tail", "S", 5, "how long a step's load continues, so that its last requests finish under it"
    )
    _add(load, "--growth", "FACTOR", 1.5, "from one step to the next, until one misses an objective")
    _add(
        load,
        "--precision",
        "FACTOR",
        0.1,
        "steps ends when the rate that failed is this share above the one that was sustained",
    )
    _add(
        load,
        "--unit",
        "RATE",
        0.1,
        "rate of one Locust user with --model open; use 1 for hundreds of requests/s",
    )
    _add(load, "--think", "S", 1, "mean time between an answer and the next question with --model closed")


def _visits(visits: Any) -> None:
    visits.add_argument(
        "--mix",
        type=mix,
        default=mix(MIX),
        metavar="KIND=WEIGHT,…",
        help=f"relative frequencies of the kinds (default {MIX})",
    )


def _questions(what: Any) -> None:
    what.add_argument(
        "--images",
        choices=("scenes", "photos"),
        default="scenes",
        help="scenes: drawn scenes with known answers, for the model that comes with Patchbay. photos: noise with the "
        "statistics of photographs, in the sizes of cameras and screens, for any model (default scenes)",
    )
    what.add_argument(
        "--answers",
        choices=("alone", "world", "none"),
        default="alone",
        help="alone: each question is first asked without load, and the answer under load must be the same. world: the "
        "answer must say what the scene shows. none: any complete answer (text, finish_reason, usage), for other "
        "models (default alone)",
    )
    what.add_argument(
        "--server",
        choices=SERVERS,
        default="patchbay",
        help="other: any server with OpenAI's API; its usage need not count image tokens, and it may refuse a broken "
        "image with any 4xx. --answers none implies the same (default patchbay)",
    )
    _add(what, "--count", "N", 24, "different images of each kind, all generated before the load begins")
    _add(what, "--seed", "SEED", 1, "seed of images and questions; the same seed gives the same requests")
    _add(what, "--max-tokens", "N", 48, "maximum tokens in an answer")
    _add(what, "--timeout", "S", 60, "time after which a request counts as failed")
    what.add_argument(
        "--api-key",
        default=os.environ.get("LOADTEST_API_KEY", ""),
        metavar="KEY",
        help="bearer key for the service (default: the environment variable LOADTEST_API_KEY)",
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
        "95th percentile of the time to the first token, from when the request was due",
    )
    _add(
        promise, "--slo-inter-token-p95", "MS", gap, "95th percentile of the time between events of a stream"
    )
    _add(promise, "--slo-total-p95", "MS", total, "95th percentile of the time to the complete answer")
    _add(
        promise,
        "--slo-errors",
        "SHARE",
        usual.errors,
        "maximum share of failed requests; refusals with Retry-After do not count as failures",
    )
    _add(
        promise,
        "--slo-refused",
        "SHARE",
        usual.refused,
        "maximum share of refused requests (429, 503); does not apply to a spike's burst and recovery",
    )
    _add(promise, "--slo-right", "SHARE", usual.right, "minimum share of right answers")
    _add(
        promise,
        "--slo-late-p99",
        "MS",
        late,
        "how late the load generator itself may be; if it is later, it is what is being measured",
    )
    _add(promise, "--min-capacity", "LEAST", 0, "steps: the minimum rate that must be sustained")


def _places(out: Any) -> None:
    out.add_argument(
        "--metrics-url",
        default="",
        metavar="URL",
        help="Patchbay's /metrics, if it is on an admin port (default --url + /metrics)",
    )
    out.add_argument(
        "--report-dir",
        default="load-report",
        metavar="FOLDER",
        help="folder for report.html and summary.json (default load-report)",
    )


def from_namespace(parsed: argparse.Namespace) -> Options:
    """The parsed options as an object. Raises ValueError for combinations that cannot work."""
    fields = {name: getattr(parsed, name) for name in Options.__slots__ if name != "objectives"}
    fields["shape"] = parsed.shape or ("users" if _asks_locust(parsed) else "steps")
    limits = {name: getattr(parsed, f"slo_{name}") for name in Objectives.__slots__}
    return Options(**fields, objectives=Objectives(**limits))


def _asks_locust(parsed: argparse.Namespace) -> bool:
    """Whether the load was given in Locust's own words, which a shape of ours would not hear."""
    return any(getattr(parsed, name, None) is not None for name in ("num_users", "spawn_rate", "run_time"))


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
"""Placeholder in the help → how the value is parsed."""


def _listed(names: Mapping[str, str]) -> str:
    return "\n".join(f"{name:<14}{meaning}" for name, meaning in names.items())


def _add(group: Any, flag: str, value: str, default: float | None, words: str) -> None:
    shown = "none" if default is None else f"{default:g}"
    group.add_argument(
        flag, type=TYPES[value], metavar=value, default=default, help=f"{words} (default {shown})"
    )
