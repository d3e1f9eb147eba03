from collections.abc import Iterator

import pytest

from tests.e2e.server import Server, serving

KEYS = ("sk-greedy", "sk-polite")


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that gives up waiting for its engine early, so that clients meet what happens then."""
    with serving(tmp_path_factory.mktemp("faults") / "log", "--engine-restart-wait", "1") as server:
        yield server


@pytest.fixture(scope="package")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with two keys and few places."""
    flags = ("--api-keys", ",".join(KEYS), "--max-inflight", "16", "--max-bodies", "16")
    with serving(tmp_path_factory.mktemp("keyed") / "log", *flags) as server:
        yield server
