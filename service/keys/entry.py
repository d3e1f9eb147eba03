"""The file of API keys: a TOML table for each key, which holds the key's SHA-256 and never the key itself.

[[keys]]
name = "search"                # in logs, traces and metrics
sha256 = "9f86d0…"             # of the key: `patchbay key search` makes both
models = ["InternVL3-8B"]      # all that follows is optional
priority = "batch"             # or "interactive", which is the default
weight = 2.0
max_requests = 32
max_bodies = 64
max_visual_tokens = 20000
requests_per_minute = 600
cache = "search-and-ads"       # keys with the same word share cached text and images
"""

from __future__ import annotations

import hashlib
import tomllib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.domain import Caller, Priority
from service.errors import ConfigurationError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PURPOSE = b"patchbay tenant salt"
MOST_BYTES = 4 * 1024**2


class KeyEntry(BaseModel):
    """One key and what it allows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME)
    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$")
    models: tuple[str, ...] | None = Field(None, min_length=1)
    priority: Priority = Priority.INTERACTIVE
    weight: float = Field(1.0, ge=0.01, le=100)
    max_requests: int | None = Field(None, ge=1)
    max_bodies: int | None = Field(None, ge=1)
    max_visual_tokens: int | None = Field(None, ge=1)
    requests_per_minute: int | None = Field(None, ge=1)
    cache: str | None = Field(None, pattern=NAME)

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.sha256)

    def caller(self) -> Caller:
        shared = self.cache is not None
        salted = b"shared by " + (self.cache or "").encode() if shared else self.digest
        return Caller(
            name=self.name,
            tenant=hashlib.sha256(PURPOSE + salted).hexdigest(),
            models=None if self.models is None else frozenset(self.models),
            priority=self.priority,
            weight=self.weight,
            max_requests=self.max_requests,
            max_bodies=self.max_bodies,
            max_visual_tokens=self.max_visual_tokens,
            requests_per_minute=self.requests_per_minute,
        )


def of_key(key: str, name: str) -> KeyEntry:
    """An entry without limits for a key that is known in clear."""
    sha256 = hashlib.sha256(key.encode()).hexdigest()
    return KeyEntry.model_validate({"name": name, "sha256": sha256})


def read_entries(text: str) -> list[KeyEntry]:
    """Raises ConfigurationError, which names the entry and the field."""
    try:
        file = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"it is not valid TOML: {error}") from None
    if set(file) != {"keys"} or not isinstance(file["keys"], list):
        raise ConfigurationError("it should consist of [[keys]] tables and nothing else")
    return [_entry(number, table) for number, table in enumerate(file["keys"], 1)]


def _entry(number: int, table: Any) -> KeyEntry:
    try:
        return KeyEntry.model_validate(table)
    except ValidationError as error:
        which = table.get("name", number) if isinstance(table, dict) else number
        # never what was given: it may be a key
        faults = [f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}" for item in error.errors()]
        raise ConfigurationError(f"key {which}: {'; '.join(faults)}") from None
