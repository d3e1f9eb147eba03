"""The keys that are accepted now, and their file, which is read again when it has changed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from service.domain import ANYBODY, Caller
from service.errors import ConfigurationError, Unauthorized
from service.keys.entry import MOST_BYTES, KeyEntry, of_key, read_entries

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two looks at the file. Kubernetes itself takes up to a minute to bring a changed Secret to a pod."""


class KeyStore:
    """`keys` in clear, which allow everything, and a file of entries with limits. With neither, everybody may call."""

    def __init__(self, keys: Sequence[str] = (), file: Path | None = None) -> None:
        """Raises ConfigurationError for keys that no header can carry, and for a file that cannot be used."""
        for number, key in enumerate(keys, 1):
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise ConfigurationError(
                    f"API key number {number} is empty or contains something other than printable ASCII without spaces."
                )
        self.reload_failed = False
        """Whether the file has changed into one that cannot be used; the keys read before stay in force."""
        self._open = not keys and file is None
        self._fixed = [of_key(key, f"key-{number}") for number, key in enumerate(dict.fromkeys(keys), 1)]
        self._file = file
        self._seen: bytes | None = None
        self._callers = self._accepted([])
        if file is not None:
            self._seen = _read(file)
            self._callers = self._accepted(_entries(file, self._seen))

    def __len__(self) -> int:
        return len(self._callers)

    def caller(self, authorization: str | None) -> Caller:
        """Of a request with this Authorization header. Raises Unauthorized."""
        if self._open:
            return ANYBODY
        scheme, _, key = (authorization or "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Unauthorized(
                "This server requires an API key. Send it in the header `Authorization: Bearer <key>` or `x-api-key: "
                "<key>`, as OpenAI's and Anthropic's clients do when api_key is set."
            )
        # how long it takes to find a hash says nothing about the key
        caller = self._callers.get(hashlib.sha256(key.encode(errors="surrogateescape")).digest())
        if caller is None:
            raise Unauthorized("This server does not accept the API key that was sent.")
        return caller

    async def watch(self, every: float = EVERY) -> None:
        """Takes over every change of the file, until cancelled. Requests in progress keep what they began with."""
        while self._file is not None:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.reload, self._file)

    def reload(self, file: Path) -> None:
        """Reads the file again; one that cannot be used is told in the log and changes nothing."""
        before, self._seen = self._seen, None
        try:
            read = self._seen = _read(file)
            if read == before:
                return
            self._callers = self._accepted(_entries(file, read))
        except ConfigurationError as error:
            if not self.reload_failed:
                log.error("%s; the keys read before stay in force", error.message)
            self.reload_failed = True
            return
        self.reload_failed = False
        log.info("%s was read again: %d API keys are accepted", file, len(self))

    def _accepted(self, entries: Sequence[KeyEntry]) -> dict[bytes, Caller]:
        callers: dict[bytes, Caller] = {}
        names: set[str] = set()
        for entry in (*self._fixed, *entries):
            if entry.name in names:
                raise ConfigurationError(f"{self._file}: the name {entry.name} is given to more than one key")
            if entry.digest in callers:
                raise ConfigurationError(
                    f"{self._file}: {entry.name} is the same key as {callers[entry.digest].name}"
                )
            names.add(entry.name)
            callers[entry.digest] = entry.caller()
        return callers


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            read = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"api_keys_file {file} cannot be read: {error.strerror}") from None
    if len(read) > MOST_BYTES:
        raise ConfigurationError(f"api_keys_file {file} has more than {MOST_BYTES} bytes")
    return read


def _entries(file: Path, read: bytes) -> list[KeyEntry]:
    try:
        return read_entries(read.decode())
    except UnicodeDecodeError:
        raise ConfigurationError(f"api_keys_file {file}: it is not UTF-8") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"api_keys_file {file}: {error.message}") from None
