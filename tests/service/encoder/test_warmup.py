"""Every block shape and every provider that any batch may take is compiled by those of the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import pytest

from kernels.patch_embed import configs as front
from kernels.project import configs as back
from service.encoder.warmup import warm_up_batches
from service.planning.plan import make_plan
from service.planning.resources import Need, Overrides
from tests.service.planning.test_plan import DEMO, H200, LAPTOP, LLAVA_7B

QWEN = dataclasses.replace(
    LLAVA_7B,
    tile_patches=4,
    max_patches=65_536,
    independent_tiles=False,
    tile_pixel_bytes=3 * 28**2,
    tile_rows=1,
)
Taken = tuple[Hashable, ...]
GPUS = [(80, 108), (89, 142), (90, 132), (90, 78), (100, 148)]
"""Compute capability without its dot, and multiprocessors."""


def test_a_gpu_gets_the_largest_batch_and_smaller_ones_down_to_a_tile() -> None:
    batches = warm_up_batches(make_plan(H200, LLAVA_7B, Overrides()))
    assert batches == [577 * tiles for tiles in (64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)]
    assert sum(batches) < 4 * batches[0]
    largest, *_, last = warm_up_batches(make_plan(H200, QWEN, Overrides()))
    assert (largest, last) == (65_536, 4)


def test_a_cpu_gets_one_small_batch() -> None:
    assert warm_up_batches(make_plan(LAPTOP, DEMO, Overrides())) == [2048]


@pytest.mark.parametrize(("capability", "processors"), GPUS)
@pytest.mark.parametrize("largest", [1, 3, 29, 64, 145])
def test_tiles_meet_nothing_new(capability: int, processors: int, largest: int) -> None:
    """CLIP ViT-L/14-336 with LLaVA's projector, and InternViT-300M with InternVL-1B's."""
    for tokens, patches, rows, widths in ((577, 577, 576, (4096, 4096)), (1025, 1024, 256, (896, 896))):

        def taken(
            tiles: int, tokens: int = tokens, rows: int = rows, widths: tuple[int, ...] = widths
        ) -> Taken:
            embed = front.choose(capability, processors, tiles, tokens, 1024, tensor_cores=True)
            return embed, *products(capability, processors, tiles * rows, widths)

        need = dataclasses.replace(LLAVA_7B, tile_patches=patches, max_patches=patches)
        assert missed(need, largest, taken) == set()


@pytest.mark.parametrize(("capability", "processors"), GPUS)
@pytest.mark.parametrize("largest", [3, 500, 1_030, 2_100, 4_616])
def test_images_of_any_size_meet_nothing_new(capability: int, processors: int, largest: int) -> None:
    """Qwen2.5-VL's tower and merger; a cell is four patches and one row."""

    def taken(cells: int) -> Taken:
        embed = front.choose(capability, processors, 1, 4 * cells, 1280, tensor_cores=True)
        return embed, *products(capability, processors, cells, (5120, 3584))

    assert missed(dataclasses.replace(QWEN, max_patches=4), largest, taken) == set()


def missed(need: Need, largest: int, taken: Callable[[int], Taken]) -> set[Hashable]:
    """What batches of 1 to `largest` tiles take, one by one, that those of the start do not."""
    override = Overrides(encoder_batch_patches=largest * need.tile_patches)
    batches = warm_up_batches(make_plan(H200, need, override))
    met = {one for patches in batches for one in taken(patches // need.tile_patches)}
    return {one for tiles in range(1, largest + 1) for one in taken(tiles)} - met


def products(capability: int, processors: int, rows: int, widths: Sequence[int]) -> tuple[Hashable, ...]:
    """What `kernels.project` does with so many rows, for each of its products: they are compiled one by one."""
    table = back.entry(capability, tensor_cores=True)
    if rows > table.fused_rows:
        return ("cublas",)
    return tuple((layer, back.choose(table, processors, rows, width)) for layer, width in enumerate(widths))
