"""Soft tokens that are not simply the tower's rows in their order."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
import torch

from service.arena import ArenaStore
from service.domain import ImageJob, TokenMap
from service.encoder.cached import CachedEncoder
from service.errors import EncoderFailed
from service.telemetry.timeline import StageTimings
from tests.service.encoder.fakes import WIDTH, FakeTower, job, rows_of, stored
from tests.service.fakes import image_plan

pytestmark = pytest.mark.anyio


def mapped(rows: int, *index: int) -> ImageJob:
    """Two tiles, whose four rows are taken as `index` says."""
    plain = job("a", tiles=2)
    plan = image_plan(*plain.plan.views, tokens=len(index), patches=plain.plan.patches)
    return replace(plain, plan=replace(plan, token_map=TokenMap(rows, array("q", index))))


async def test_tokens_are_taken_from_rows_and_constants(
    encoder: CachedEncoder, tower: FakeTower, arena: ArenaStore
) -> None:
    tower.constants = torch.full((2, WIDTH), -1.0) * torch.tensor([[1.0], [2.0]])
    asked = mapped(4, 3, 4, 0, 0, 5)
    lease = await encoder.encode(asked, StageTimings())
    rows = torch.cat([rows_of("a", tiles=2), tower.constants])
    assert lease.rows == 5
    assert torch.equal(stored(arena, asked), rows[[3, 4, 0, 0, 5]])  # type: ignore[arg-type]


async def test_a_tower_that_makes_another_number_of_rows_is_found_out(encoder: CachedEncoder) -> None:
    with pytest.raises(
        EncoderFailed, match=r"made torch.float32 \[4, 3\] of an image that needs .* \[5, 3\]"
    ):
        await encoder.encode(mapped(5, 0, 1), StageTimings())
