from collections.abc import Iterator

import pytest

from tests.e2e.adapters import RANK, write_adapter
from tests.e2e.server import Server, serving

ADAPTER = "patchbay-demo-adapted"


@pytest.fixture(scope="session")
def patchbay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Patchbay on the embedded model, with URLs on loopback allowed and a LoRA adapter beside it."""
    folder = tmp_path_factory.mktemp("patchbay")
    adapter = write_adapter(folder / "adapter")
    flags = ("--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"{ADAPTER}={adapter}")
    assert RANK <= 8
    with serving(folder / "log", "--allow-private-urls", "--", *flags) as server:
        yield server
