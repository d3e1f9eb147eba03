import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from service.telemetry.logs import JsonFormatter, configure, where


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = before
    root.setLevel(level)


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("some.where").makeRecord(
        "some.where", logging.WARNING, "f.py", 1, message, args, None, extra=extra
    )


def test_a_line_is_one_object_with_the_records_own_fields() -> None:
    made = record("%s\nand %d", "é", 3, fields={"status": 200, "stages_ms": {"fetch": 1.5}})
    made.created, made.msecs = 1753443000.25, 250.0
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2025-07-25T11:30:00.250Z",
        "level": "warning",
        "logger": "some.where",
        "message": "é\nand 3",
        "status": 200,
        "stages_ms": {"fetch": 1.5},
    }


def test_a_traceback_is_in_the_same_line() -> None:
    made = record("failed")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        made.exc_info = sys.exc_info()
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "ZeroDivisionError: by zero" in json.loads(line)["exception"]


def test_where_tells_the_kind_and_the_way_and_no_words() -> None:
    def deep() -> None:
        raise KeyError("secret")

    try:
        try:
            deep()
        except KeyError as error:
            raise ValueError("another secret") from error
    except ValueError as error:
        told = where(error)
    assert "secret" not in told
    assert told.startswith("ValueError at ") and ", from KeyError at " in told
    assert told.endswith(" deep")


def test_a_chain_that_bites_its_tail_ends() -> None:
    error = ValueError()
    error.__cause__ = error
    assert where(error).count("ValueError") == 8


@pytest.mark.parametrize("form", ["text", "json"])
def test_every_logger_takes_the_form(
    form: str, root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure("warning", form)  # type: ignore[arg-type]
    logging.getLogger("some.library").warning("careful")
    logging.getLogger("patchbay").info("not shown")
    (line,) = written.getvalue().splitlines()
    assert line.endswith("WARNING some.library: careful") if form == "text" else json.loads(line)
