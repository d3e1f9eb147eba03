"""Log lines on standard error, as text for people or as JSON, one object per line.

A record's `fields` (a mapping, in `extra`) are written beside its message.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from typing import Literal

LONGEST_CHAIN = 8
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """`time` (UTC, RFC 3339), `level`, `logger`, `message`, then the record's own fields and its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Every logger of the process writes to standard error in this format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def where(error: BaseException) -> str:
    """An error's type and traceback on one line, without its message, which may quote a request."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < LONGEST_CHAIN:
        frames = traceback.extract_tb(cause.__traceback__)
        way = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        lines.append(f"{type(cause).__name__} at {way or 'unknown'}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return ", from ".join(lines)
