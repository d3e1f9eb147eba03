"""Locust's users, one class per kind of visit.

With `--model open` a user is a source: its visits are due at random moments (with exponential gaps, so that all users
together are a Poisson process) and independent of each other; a slow answer delays no other request. With `closed` it
behaves like a person: asks, waits for the answer, thinks, asks again.
"""

from __future__ import annotations

import random
import time

import gevent
from locust import User, task

from loadtests.library import requests_per_visit
from loadtests.session import Session

LONGEST_RETRY = 30.0


class Visitor(User):
    abstract = True
    kind = ""
    session: Session | None = None
    """Of this process; set once its scripts have been made."""

    def on_start(self) -> None:
        self._random = random.Random()
        self._due = time.perf_counter()
        self._begun = False
        self._retry_after = 0.0

    def wait_time(self) -> float:
        """Seconds until the next visit."""
        assert self.session is not None
        options = self.session.options
        if options.model == "closed":
            return self._retry_after or self._random.expovariate(1 / options.think)
        self._due += self._random.expovariate(options.unit / requests_per_visit(self.kind))
        return max(0.0, self._due - time.perf_counter())

    @task
    def visit(self) -> None:
        # Locust runs the first task before the first wait: all sources would send at once
        if not self._begun:
            self._begun = True
            return
        assert self.session is not None
        if self.session.options.model == "open":
            gevent.spawn(self.session.visit, self.kind, self._due)
            return
        reply = self.session.visit(self.kind, time.perf_counter())
        self._retry_after = 0.0
        if reply is not None and reply.retry_after is not None and reply.retry_after.isdecimal():
            self._retry_after = min(float(reply.retry_after), LONGEST_RETRY)


class Chat(Visitor):
    kind = "chat"


class Conversation(Visitor):
    kind = "conversation"


class Gallery(Visitor):
    kind = "gallery"


class Text(Visitor):
    kind = "text"


class Repeated(Visitor):
    kind = "repeated"


class Huge(Visitor):
    kind = "huge"


class Broken(Visitor):
    kind = "broken"


VISITORS: tuple[type[Visitor], ...] = (Chat, Conversation, Gallery, Text, Repeated, Huge, Broken)
