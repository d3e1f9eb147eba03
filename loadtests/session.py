"""One process's part in a load: its scripts, its client, its figures, and single visits.

A visit plays a script: its turns, one after another, each checked and counted. The figures contain every request from
the moment it was due.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtests import figures as f
from loadtests.bodies import body, data_urls
from loadtests.checks import Reply, Verdict, check
from loadtests.client import Client
from loadtests.figures import Figures
from loadtests.library import Library, Script, expected
from loadtests.options import Options

Answers = dict[str, list[str]]
"""Script name → the answer to each of its turns without load."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One finished request."""

    kind: str
    reply: Reply
    verdict: Verdict


class Session:
    def __init__(
        self, options: Options, library: Library, client: Client, model: str, told: Callable[[Asked], None]
    ) -> None:
        """`told` is called with every finished request, in addition to the figures."""
        self.options = options
        self.library = library
        self.figures = Figures()
        self.answers: Answers = {}
        self._client = client
        self._model = model
        self._told = told
        self._random = random.Random(f"{options.seed} {os.getpid()}")

    def visit(self, kind: str, due: float) -> Reply | None:
        """Plays one script of a kind; `due` by `time.perf_counter`. Returns the last reply, if any."""
        script = self._random.choice(self.library[kind])
        urls = data_urls(script, os.urandom(12).hex().encode())
        said: list[str] = []
        reply = None
        for _ in script.turns:
            reply, verdict = self._turn(kind, script, urls, said, due)
            if verdict.end not in (f.RIGHT, f.WRONG):
                break
            said.append(reply.text)
            due = time.perf_counter()
        return reply

    def calibrate(self) -> Answers:
        """Asks every script without load, one after another, and returns the answers. Counts nothing.

        Raises OSError if one is refused, fails, or is incomplete.
        """
        found: Answers = {}
        for scripts in self.library.values():
            for script in scripts:
                if not script.codes:
                    found[script.name] = self._alone(script)
        return found

    def _alone(self, script: Script) -> list[str]:
        urls = data_urls(script, os.urandom(12).hex().encode())
        said: list[str] = []
        for turn in range(len(script.turns)):
            reply = self._send(script, urls, said, time.perf_counter(), lambda ms: None)
            verdict = check(reply, expected(script, turn, None, self.options), "none")
            if verdict.end != f.RIGHT:
                raise OSError(f"{script.name}, asked before any load: {verdict.reason}")
            said.append(reply.text)
        return said

    def _turn(
        self, kind: str, script: Script, urls: list[bytes], said: list[str], due: float
    ) -> tuple[Reply, Verdict]:
        late = time.perf_counter() - due
        at = time.time() - late
        turn = len(said)
        self.figures.count(at, kind, f.STARTED)
        self.figures.value(at, kind, f.LATE, 1000 * late)
        if not script.codes:
            self.figures.count(at, kind, f.AWAITED)
        reply = self._send(
            script, urls, said, due, lambda ms: self.figures.value(at, kind, f.FIRST_TOKEN, ms)
        )
        alone = self.answers.get(script.name)
        wanted = expected(script, turn, alone[turn] if alone else None, self.options)
        verdict = check(reply, wanted, self.options.answers)
        self._count(at, kind, script, reply, verdict)
        self._told(Asked(kind, reply, verdict))
        return reply, verdict

    def _send(
        self,
        script: Script,
        urls: list[bytes],
        said: list[str],
        due: float,
        on_first: Callable[[float], None],
    ) -> Reply:
        request = body(script, urls, said, model=self._model, max_tokens=self.options.max_tokens)
        return self._client.ask(request, due, on_first)

    def _count(self, at: float, kind: str, script: Script, reply: Reply, verdict: Verdict) -> None:
        count, value = self.figures.count, self.figures.value
        count(at, kind, verdict.end)
        count(time.time(), kind, f.LEFT)
        if verdict.reason:
            count(at, kind, f.REASON + verdict.reason)
        if verdict.truthful is not None:
            count(at, kind, f.TRUE if verdict.truthful else f.UNTRUE)
        if not script.codes and reply.first is None:
            count(at, kind, f.TOKENLESS)
        if verdict.end not in (f.RIGHT, f.WRONG) or script.codes:
            return
        value(at, kind, f.TOTAL, reply.total)
        for gap in reply.gaps:
            value(at, kind, f.INTER_TOKEN, gap)
        self._tokens(at, kind, reply)

    def _tokens(self, at: float, kind: str, reply: Reply) -> None:
        details = reply.usage.get("prompt_tokens_details") or {}
        self.figures.count(at, kind, f.PROMPT_TOKENS, int(reply.usage.get("prompt_tokens") or 0))
        self.figures.count(at, kind, f.COMPLETION_TOKENS, reply.made)
        self.figures.count(at, kind, f.IMAGE_TOKENS, int(details.get("image_tokens") or 0))
        if (rate := reply.tokens_per_second) is not None:
            self.figures.value(at, kind, f.TOKENS_PER_SECOND, rate)
