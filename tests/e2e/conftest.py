from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.adapters import RANK, write_adapter
from tests.e2e.comparison import both_ways
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


@pytest.fixture(scope="module")
def servers(checkpoint: Path) -> Iterator[tuple[Server, Server]]:
    """A Patchbay that encodes images and one that passes them on, on the checkpoint that a family's tests have made."""
    with both_ways(checkpoint.parent, checkpoint) as servers:
        yield servers
