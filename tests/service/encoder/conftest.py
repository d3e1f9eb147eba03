"""An encoder around the fakes, with a real arena."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.arena import ArenaSpec, ArenaStore
from service.encoder.cached import CachedEncoder
from service.encoder.local import LocalEncoder
from tests.service.encoder.fakes import BUDGET, WIDTH, FakeDecode, FakeTower


@pytest.fixture
def decode() -> FakeDecode:
    return FakeDecode()


@pytest.fixture
def tower() -> FakeTower:
    return FakeTower()


@pytest.fixture
async def arena(tmp_path: Path) -> AsyncIterator[ArenaStore]:
    spec = ArenaSpec(WIDTH, "float32", page_rows=4, pages=4, slots=4, max_pages=2)
    arena = ArenaStore(str(tmp_path / "arena"), spec)
    yield arena
    arena.close()


@pytest.fixture
async def local(decode: FakeDecode, tower: FakeTower) -> AsyncIterator[LocalEncoder]:
    encoder = LocalEncoder(tower, decode, budget=BUDGET)
    yield encoder
    decode.open.set()
    tower.release()
    await encoder.close()


@pytest.fixture
async def encoder(
    local: LocalEncoder, decode: FakeDecode, tower: FakeTower, arena: ArenaStore
) -> AsyncIterator[CachedEncoder]:
    encoder = CachedEncoder(local, arena)
    yield encoder
    decode.open.set()
    tower.release()
    await encoder.close()
