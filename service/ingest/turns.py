"""Turns of callers at something of which one may not take all: connections to other servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `each` at once for each caller; those beyond wait in the order in which they came.

    A caller is the name of an API key, of which there are as many as the operator made. The empty name stands for
    everybody where no keys are required: there is nobody to leave anything to.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._of: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        if not caller:
            yield
            return
        async with self._of.setdefault(caller, asyncio.Semaphore(self._each)):
            yield
