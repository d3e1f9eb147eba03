"""Whether an answer is right: the reply, what was expected, and a verdict with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadtests.figures import FAILED, REFUSED, RIGHT, WRONG

FINISHED = ("stop", "length")
ONE_PIECE = 1.0
"""An answer whose tokens arrive within so many milliseconds came in one piece; its rate measures only the client."""


@dataclass(slots=True)
class Reply:
    """One answer as a client sees it; times in milliseconds from when the request was due."""

    status: int = 0
    """0: no answer; `failure` says why."""
    retry_after: str | None = None
    code: str = ""
    """The code in OpenAI's error object, including one within a stream."""
    failure: str = ""
    """A failure below HTTP: connection, timeout, a stream that ends early."""
    text: str = ""
    finish: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    done: bool = False
    """The stream ended with [DONE]."""
    first: float | None = None
    last: float | None = None
    gaps: list[float] = field(default_factory=list)
    total: float = 0.0

    @property
    def made(self) -> int:
        """Number of tokens in the answer."""
        return int(self.usage.get("completion_tokens") or 0)

    @property
    def tokens_per_second(self) -> float | None:
        """Rate of the tokens after the first; None if there are none or the answer came in one piece."""
        if self.made < 2 or self.first is None or self.last is None or self.last - self.first <= ONE_PIECE:
            return None
        return 1000 * (self.made - 1) / (self.last - self.first)


@dataclass(frozen=True, slots=True)
class Expected:
    """What counts as right. `codes`: a refusal with status 400 and one of these, for broken images; `any_code`: any
    4xx, from another server. `alone`: the answer without load; `truth`: what the picture shows; both None if unknown.
    `image_tokens`: whether usage must count them."""

    codes: tuple[str, ...] = ()
    any_code: bool = False
    alone: str | None = None
    truth: str | None = None
    image_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`end` is one of `figures.ENDS`; `truthful` is None if the truth is unknown."""

    end: str
    reason: str = ""
    truthful: bool | None = None


def same(said: str, expected: str) -> bool:
    """Whether the words are the same, ignoring case and a final full stop."""
    return _plain(said) == _plain(expected)


def check(reply: Reply, expected: Expected, judged_by: str) -> Verdict:
    """`judged_by`: alone, world or none, as in the option --answers."""
    if reply.status in (429, 503) and reply.retry_after is not None:
        return Verdict(REFUSED, f"{reply.status} {reply.code}")
    if reply.failure:
        return Verdict(FAILED, reply.failure)
    if expected.codes:
        return _refusal(reply, expected)
    if reply.status != 200 or reply.code:
        return Verdict(FAILED, f"{reply.status} {reply.code}".strip())
    if missing := _missing(reply, expected):
        return Verdict(FAILED, missing)
    truthful = None if expected.truth is None else same(reply.text, expected.truth)
    wanted = {"alone": expected.alone, "world": expected.truth, "none": None}[judged_by]
    if wanted is None or same(reply.text, wanted):
        return Verdict(RIGHT, truthful=truthful)
    return Verdict(WRONG, f"said {reply.text[:60]!r}, expected {wanted[:60]!r}", truthful)


def _refusal(reply: Reply, expected: Expected) -> Verdict:
    if expected.any_code:
        good = 400 <= reply.status < 500 and reply.status not in (401, 403, 404, 408, 429)
    else:
        good = reply.status == 400 and reply.code in expected.codes
    if good:
        return Verdict(RIGHT)
    got = f"{reply.status} {reply.code}".strip()
    return Verdict(FAILED, f"a broken image was answered {got}, not 400 {' or '.join(expected.codes)}")


def _missing(reply: Reply, expected: Expected) -> str:
    if not reply.done:
        return "the stream ended without [DONE]"
    if reply.first is None:
        return "the answer is empty"
    if reply.finish not in FINISHED:
        return f"finish_reason is {reply.finish!r}"
    if not reply.usage.get("prompt_tokens") or not reply.usage.get("completion_tokens"):
        return "usage counts no tokens"
    if expected.image_tokens and not (reply.usage.get("prompt_tokens_details") or {}).get("image_tokens"):
        return "usage counts no image tokens"
    return ""


def _plain(text: str) -> str:
    return text.strip().rstrip(".").lower()
