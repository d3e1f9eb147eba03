"""The options of a load test, as one object that refuses combinations that cannot work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.slo import Objectives

URL = "http://127.0.0.1:8000"
"""Where `make serve` listens."""
KINDS = {
    "chat": "one new image and a question",
    "conversation": "three questions, one after another, about one image",
    "gallery": "four new images in one request",
    "text": "no image",
    "repeated": "an image that everyone sends: answered from the cache",
    "huge": "an image of 24 megapixels",
    "broken": "an image that must be refused with the right 4xx",
}
SERVERS = ("patchbay", "other")
SHAPES = {
    "steps": "rates grow until an objective is missed; finds the capacity",
    "ramp": "from zero to --rate in --seconds",
    "spike": "--rate, then --peak for a while, then --rate again: does it recover?",
    "soak": "--rate for --seconds: does performance stay the same?",
    "users": "as set by Locust's own --users, --spawn-rate and --run-time, or on its web page",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. Rates in requests/s (users, with `model` closed), times in seconds.

    Raises ValueError for combinations that cannot work.
    """

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
    server: str
    count: int
    seed: int
    max_tokens: int
    timeout: float
    api_key: str
    metrics_url: str
    report_dir: str
    objectives: Objectives

    def __post_init__(self) -> None:
        if self.images == "photos" and self.answers == "world":
            raise ValueError(
                "--answers world needs --images scenes: there is no right answer about a photograph of noise"
            )
        if self.shape == "steps" and self.model == "closed":
            raise ValueError(
                "--shape steps needs --model open: closed users send a slow server fewer requests and hide its limit"
            )
        if self.shape == "spike" and self.peak < self.rate:
            raise ValueError(f"--peak {self.peak:g} is below --rate {self.rate:g}")
        if self.shape == "steps" and self.most < self.rate:
            raise ValueError(f"--most {self.most:g} is below --rate {self.rate:g}")
        if self.growth <= 1:
            raise ValueError(f"--growth is {self.growth:g}; it must be more than 1")
