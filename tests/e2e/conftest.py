from collections.abc import Iterator

import pytest

from tests.e2e.server import Server, serving


@pytest.fixture(scope="session")
def patchbay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Patchbay on the embedded model, with URLs on loopback allowed."""
    log = tmp_path_factory.mktemp("patchbay") / "log"
    with serving(log, "--allow-private-urls") as server:
        yield server
