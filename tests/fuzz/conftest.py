from collections.abc import Iterator

import pytest

from tests.e2e.server import Server, serving


@pytest.fixture(scope="module")
def patchbay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that only storms are sent to."""
    with serving(tmp_path_factory.mktemp("fuzz") / "log") as server:
        yield server
