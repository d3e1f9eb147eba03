"""The embedded model on a real engine, for most tests here; `test_qwen_vl` starts another beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.arena import ArenaStore
from service.domain import Run, SoftLayout
from tests.e2e.engine.running import (
    Engine,
    Grid,
    arena_for,
    running_engine,
    special_tokens,
    without_tower,
)

CHECKPOINT = Path(__file__).parents[3] / "demo" / "model"
MAX_ROWS = 160  # nine tiles and a thumbnail, 16 rows each


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that a training that goes on does not change it meanwhile."""
    return Path(shutil.copytree(CHECKPOINT, tmp_path_factory.mktemp("checkpoint") / "model"))


@pytest.fixture(scope="package")
def store(checkpoint: Path) -> Iterator[ArenaStore]:
    with arena_for(checkpoint, MAX_ROWS) as store:
        yield store


@pytest.fixture(scope="package")
def running(checkpoint: Path, store: ArenaStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the engine, which is started once."""
    folder = tmp_path_factory.mktemp("engine")
    towerless = without_tower(checkpoint, folder, "vision_tower", "multi_modal_projector")
    with running_engine(towerless, store, MAX_ROWS, folder / "log") as url:
        yield url


@pytest.fixture
def engine(running: str, store: ArenaStore, checkpoint: Path) -> Iterator[Engine]:
    tokens = special_tokens(checkpoint)
    image = tokens["<IMG_CONTEXT>"]

    def layout(rows: int, grid: Grid | None) -> SoftLayout:
        around = Run(tokens["<img>"], 1, False), Run(tokens["</img>"], 1, False)
        return SoftLayout((image,), (around[0], Run(image, rows, True), around[1]), grid)

    engine = Engine(running, store, layout)
    yield engine
    engine.release()
