"""What all tests share.

Property tests have no time limit: how fast a machine is says nothing about whether the code is right.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

import pytest
from hypothesis import HealthCheck, settings

from tests.service.families import figures

settings.register_profile("patchbay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patchbay")

# processes that test side by side share the cores; read when torch is imported
workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
if workers:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(workers))))


@runtime_checkable
class Warns(Protocol):
    """A server under test. A protocol, because what servers need is not installed where kernels alone are tested."""

    log: Path

    def warnings(self) -> str: ...


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure, what the servers that the test used had to warn of: why an engine ended, say."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for server in servers_among(item.funcargs.values()):
            report.sections.append((f"last warnings of {server.log}", server.warnings()))
    return report


def servers_among(values: Iterable[object]) -> Iterator[Warns]:
    for value in values:
        if isinstance(value, Warns):
            yield value
        elif isinstance(value, tuple):
            yield from servers_among(value)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of one test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if workers else own


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> figures.Tell:
    """For what is measured in a family: see `tests.service.families.figures`."""
    return figures.teller(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Keeps what was measured in families where `FAMILIES_PAGE` says so."""
    found = figures.gathered(terminalreporter.stats.get("passed", ()))
    if found and "FAMILIES_PAGE" in os.environ:
        figures.keep(found)
        terminalreporter.line(
            f"{figures.FILE.name} has what was measured in {len(found)} families: run `make docs`"
        )


def open_streams() -> int:
    """Sockets and pipes of this process."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        # another thread may close it meanwhile
        with suppress(FileNotFoundError):
            found += os.readlink(descriptor).startswith(("socket:", "pipe:"))
    return found


@pytest.fixture(autouse=True)
def leftovers() -> Iterator[None]:
    """A socket that a test leaves open fails that test, and not the one during which it would be collected."""
    before = open_streams()
    yield
    if open_streams() > before:
        gc.collect()
