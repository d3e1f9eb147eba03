"""Every knob of the load test, once: for `python -m loadtests`, for Locust's own command line and for its web page.

Knows nothing of what the knobs do beyond what their help says.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtests.slo import Objectives

KINDS = {
    "chat": "one new image and a question",
    "conversation": "three questions, one after another, about one image",
    "gallery": "four new images in one request",
    "text": "no image",
    "repeated": "an image that everybody sends: answered from the cache",
    "huge": "an image of 24 megapixels",
    "broken": "an image that must be refused with the right 4xx",
}
MIX = "chat=8,conversation=3,gallery=2,text=3,repeated=2,huge=1,broken=1"
SHAPES = {
    "steps": "rates grow until an objective breaks; finds the capacity",
    "ramp": "from nothing to --rate in --seconds",
    "spike": "--rate, then --peak for a while, then --rate again: does it recover?",
    "soak": "--rate for --seconds: does it stay as it was?",
    "users": "Locust's own --users, --spawn-rate and --run-time, or its web page",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for, checked. Rates in requests/s (users, with `model` closed), times in seconds."""

    shape: str
    model: str
    rate: float
    peak: float
    most: float
    seconds: float
    warm: float
    tail: float
    growth: float
    precision: float
    min_capacity: float
    unit: float
    think: float
    mix: Mapping[str, int]
    images: str
    answers: str
    count: int
    seed: int
    max_tokens: int
    timeout: float
    api_key: str
    metrics_url: str
    report_dir: str
    objectives: Objectives


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def not_negative(text: str) -> float:
    return 0.0 if text == "0" else positive(text)


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
    """Enters every option, in groups."""
    load = parser.add_argument_group("what load")
    load.add_argument("--shape", choices=SHAPES, default="steps", help=_list(SHAPES))
    load.add_argument(
        "--model",
        choices=("open", "closed"),
        default="open",
        help="open: requests come when they are due, however slow the server is, as from many people who know nothing "
        "of each other; levels are requests/s. closed: each user waits for its answer and thinks before it asks again, "
        "so that a slow server is asked less; levels are users. Only open finds a capacity (default open)",
    )
    _number(
        load, "--rate", 2, "first level of steps, top of ramp, level of spike and soak: requests/s, or users"
    )
    _number(load, "--peak", 20, "top of spike")
    _number(load, "--most", 1000, "steps try nothing above it")
    _number(
        load, "--seconds", 20, "length of one step, of the ramp, of each part of the spike, or of the soak"
    )
    _number(load, "--warm", 5, "seconds at the beginning of a step or run that are not judged")
    _number(
        load,
        "--tail",
        5,
        "seconds for which a step goes on so that its last requests can end under its own load",
    )
    _number(load, "--growth", 1.5, "factor from one step to the next, until one breaks")
    _number(
        load, "--precision", 0.1, "steps end when the rate that broke is this share above the one that held"
    )
    _number(
        load,
        "--unit",
        0.1,
        "requests/s of one Locust user with --model open; 1 for rates in the hundreds",
    )
    _number(load, "--think", 1, "mean seconds between answer and next question with --model closed")
    load.add_argument(
        "--mix",
        type=mix,
        default=mix(MIX),
        metavar="KIND=WEIGHT,…",
        help=f"share of each kind in the requests. {_list(KINDS)} (default {MIX})",
    )
    what = parser.add_argument_group("what is asked, and when an answer is right")
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
    _number(what, "--count", 24, "different images of each kind, all made before the load begins", int)
    _number(what, "--seed", 1, "of images and questions: the same seed asks the same", int)
    _number(what, "--max-tokens", 48, "most tokens of an answer", int)
    _number(what, "--timeout", 60, "seconds after which an answer counts as failed")
    what.add_argument(
        "--api-key",
        default=os.environ.get("LOADTEST_API_KEY", ""),
        help="bearer key of the service (default: the variable LOADTEST_API_KEY)",
    )
    promise = parser.add_argument_group("objectives; exit status 1 when one is not kept")
    _limit(
        promise,
        "--slo-first-token-p95",
        "1000",
        "95 of 100 first tokens come within this, from when they were due",
    )
    _limit(promise, "--slo-inter-token-p95", "none", "95 of 100 gaps between two events of a stream")
    _limit(promise, "--slo-total-p95", "none", "95 of 100 answers are whole within this")
    _share(promise, "--slo-errors", 0, "most failed requests; refusals with Retry-After are not failures")
    _share(
        promise,
        "--slo-refused",
        0,
        "most requests refused by admission (429, 503); not asked of a spike's peak",
    )
    _share(promise, "--slo-right", 0.99, "least answers that are right")
    _limit(
        promise,
        "--slo-late-p99",
        "250",
        "how late the load generator itself may be; beyond it figures are its own",
    )
    _number(promise, "--min-capacity", 0, "steps: least rate that must hold", not_negative)
    out = parser.add_argument_group("where to look")
    out.add_argument(
        "--metrics-url",
        default="",
        help="Patchbay's /metrics, where it has an admin port (default --url + /metrics)",
    )
    out.add_argument(
        "--report-dir", default="load-report", help="gets report.html and summary.json (default load-report)"
    )


def from_namespace(parsed: argparse.Namespace) -> Options:
    """Raises ValueError for combinations that cannot work."""
    fields = {name: getattr(parsed, name) for name in Options.__slots__ if name != "objectives"}
    fields["mix"] = fields["mix"] if isinstance(fields["mix"], Mapping) else mix(str(fields["mix"]))
    objectives = Objectives(
        **{name: getattr(parsed, f"slo_{name}") for name in Objectives.__slots__},
    )
    found = Options(**fields, objectives=objectives)
    if found.images == "photos" and found.answers == "world":
        raise ValueError("--answers world needs --images scenes: nobody knows what a noise photograph shows")
    if found.shape == "steps" and found.model == "closed":
        raise ValueError(
            "--shape steps needs --model open: closed users ask a slow server less, and hide its limit"
        )
    if found.shape == "spike" and found.peak < found.rate:
        raise ValueError(f"--peak {found.peak:g} is below --rate {found.rate:g}")
    if found.shape == "steps" and found.most < found.rate:
        raise ValueError(f"--most {found.most:g} is below --rate {found.rate:g}")
    if found.growth <= 1:
        raise ValueError(f"--growth is {found.growth:g}; rates must grow")
    return found


def _list(names: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {meaning}" for name, meaning in names.items())


def _number(
    group: Any, flag: str, default: float, words: str, kind: Callable[[str], float] = positive
) -> None:
    group.add_argument(flag, type=kind, default=default, help=f"{words} (default {default:g})")


def _share(group: Any, flag: str, default: float, words: str) -> None:
    group.add_argument(
        flag, type=share, default=default, help=f"{words}, as a share of 1 (default {default:g})"
    )


def _limit(group: Any, flag: str, default: str, words: str) -> None:
    group.add_argument(
        flag,
        type=limit,
        default=limit(default),
        metavar="MS",
        help=f"{words}, in ms or none (default {default})",
    )
