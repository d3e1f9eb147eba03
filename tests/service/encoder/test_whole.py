"""The encoder with nothing faked: sandboxed decoding, a tower in InternVL's layout, the arena's file."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import InternVLForConditionalGeneration

from service.arena import ArenaReader, ArenaSpec, ArenaStore
from service.decode import DecodePool
from service.decode.tiling import cut
from service.domain import ImageBytes, ImageFormat, ImageJob, View
from service.encoder.cached import CachedEncoder
from service.encoder.local import LocalEncoder
from service.errors import InvalidImage
from service.telemetry.timeline import StageTimings
from tests.service.fakes import image_plan
from tests.service.families.checkpoints import tower_of
from tests.service.tiny_internvl import SIDE, soft_tokens, write_checkpoint

pytestmark = pytest.mark.anyio

SINGLE = image_plan(View(SIDE, SIDE, SIDE, SIDE), tokens=4, patches=16)
TILED = image_plan(View(2 * SIDE, SIDE, SIDE, SIDE), View(SIDE, SIDE, SIDE, SIDE), tokens=12, patches=48)


def noise(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (70 + seed, 130, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(image: Image.Image) -> ImageBytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return ImageBytes(data.getvalue(), ImageFormat.PNG, image.width, image.height, "data")


async def test_pictures_become_the_soft_tokens_of_transformers(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path)
    decode = DecodePool(1, max_tile_bytes=3 * SIDE * 3 * SIDE)
    try:
        await equal(tmp_path, model, decode, "float32", 1e-4)
        await equal(tmp_path, model, decode, "bfloat16", 0.01)
    finally:
        decode.close()


async def equal(
    folder: Path, model: InternVLForConditionalGeneration, decode: DecodePool, dtype: str, tolerance: float
) -> None:
    tower = tower_of(folder, device="cpu", dtype=dtype)
    spec = ArenaSpec.for_budget(2**20, tower.width, dtype, max_rows=12, page_rows=4)
    arena = ArenaStore(str(folder / "arena"), spec)
    local = LocalEncoder(tower, decode, budget=64)
    encoder = CachedEncoder(local, arena)
    await local.warm_up(64)
    plans = [SINGLE, TILED, SINGLE, TILED]
    jobs = [
        ImageJob(f"{seed:064x}", png(noise(seed)), plan, "messages[0]") for seed, plan in enumerate(plans)
    ]
    broken = ImageBytes(jobs[0].image.data[:200], ImageFormat.PNG, 130, 70, "data")
    timings = StageTimings()
    *leases, refused = await asyncio.gather(
        *(encoder.encode(job, timings) for job in jobs),
        encoder.encode(ImageJob("f" * 64, broken, SINGLE, "messages[1]"), StageTimings()),
        return_exceptions=True,
    )
    assert isinstance(refused, InvalidImage)
    assert refused.param == "messages[1]"
    assert {span.stage for span in timings.spans} == {"decode", "encode_queue", "encode", "transfer"}
    reader = ArenaReader(arena.path, width=tower.width)
    for seed, (job, lease) in enumerate(zip(jobs, leases, strict=True)):
        assert not isinstance(lease, BaseException)
        entry = reader.find(job.key)
        assert entry is not None
        assert entry.rows == lease.rows == job.plan.tokens
        rows = torch.from_numpy(reader.read(entry)).view(local.dtype).float()
        expected = soft_tokens(model, torch.cat(cut(torch.from_numpy(np.array(noise(seed))), job.plan.views)))
        assert (rows - expected).norm() < tolerance * expected.norm()
    await encoder.close()
    arena.close()
