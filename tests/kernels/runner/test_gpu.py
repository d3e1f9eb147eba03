"""The runner on a GPU: streams, pinned memory and captured graphs as CUDA has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks.encoders.models import Model
from kernels.patch_embed import fold_patch_embed, patch_embed
from kernels.project import Linear, fold_projector, project
from kernels.runner import Cuda, Forward, Runner, TileShape, attend
from kernels.towers.towers import VIT_B, internvl

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
COUNTS = (1, 5, 2, 13, 3, 64, 1, 257, 4)
FORM = TileShape(56, 56, 16, 96, torch.bfloat16)


def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


def random_tiles(count: int, side: int = 56) -> torch.Tensor:
    random = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=random)


@pytest.fixture
def forward() -> Forward:
    """Both kernels with nothing between: 16 patches of 14, 64 wide, to 96 wide rows."""
    torch.manual_seed(0)
    half, bf16 = (0.5, 0.5, 0.5), torch.bfloat16
    front = fold_patch_embed(
        0.1 * torch.randn(64, 3, 14, 14),
        None,
        half,
        half,
        torch.randn(16, 64),
        None,
        dtype=bf16,
        device=device(),
    )
    back = fold_projector((Linear(torch.randn(96, 64) / 8),), dtype=bf16, device=device(), backend="triton")

    def run(pixels: torch.Tensor, out: torch.Tensor) -> None:
        hidden = patch_embed(pixels, front, backend="triton")
        project(hidden, back, backend="triton", provider="fused", out=out)

    return run


def directly(forward: Forward, pixels: torch.Tensor) -> torch.Tensor:
    out = torch.full(
        (len(pixels) * FORM.rows, FORM.row_width), float("nan"), dtype=FORM.dtype, device=device()
    )
    forward(pixels.to(device()), out)
    return out.cpu()


@pytest.mark.parametrize("graph_sizes", [(), (1, 2, 3, 4, 6, 8), (1, 2)])
@pytest.mark.parametrize("slots", [1, 3])
def test_batches_in_a_row_are_what_the_forward_makes(
    forward: Forward, graph_sizes: tuple[int, ...], slots: int
) -> None:
    runner = Runner(forward, FORM, Cuda(device()), most=8, graph_sizes=graph_sizes, slots=slots)
    kept = [(count, runner.run([random_tiles(count)])) for count in COUNTS]
    for count, landed in kept:
        assert landed.rows.is_pinned() and landed.finite.all()
        # other blocks for another size may add in another order
        torch.testing.assert_close(landed.rows, directly(forward, random_tiles(count)), rtol=0.02, atol=0.02)


def test_a_row_that_is_not_finite_is_seen(forward: Forward) -> None:
    def spoilt(pixels: torch.Tensor, out: torch.Tensor) -> None:
        forward(pixels, out)
        out.view(len(pixels), -1)[:, 0] /= pixels[:, 0, 0, 0]  # infinite, or NaN, where that is 0

    pixels = random_tiles(20)
    pixels[:, 0, 0, 0] = 1
    pixels[[3, 17], 0, 0, 0] = 0
    runner = Runner(spoilt, FORM, Cuda(device()), most=8, graph_sizes=(1, 2, 8))
    assert runner.run([pixels]).finite.tolist() == [tile not in (3, 17) for tile in range(20)]


def test_nothing_grows_from_call_to_call(forward: Forward) -> None:
    runner = Runner(forward, FORM, Cuda(device()), most=8, graph_sizes=(1, 2, 4, 8))
    for count in COUNTS:
        runner.run([random_tiles(count)])
    torch.cuda.synchronize()
    taken = torch.cuda.memory_reserved(device())
    for count in COUNTS * 3:
        runner.run([random_tiles(count)])
    torch.cuda.synchronize()
    assert torch.cuda.memory_reserved(device()) == taken


@pytest.mark.parametrize("attention", ["auto", "flash", "efficient", "math"])
def test_a_tower_in_graphs_is_the_tower(attention: str) -> None:
    """Transformers' layers with SDPA, captured; padded to other sizes, so equal but for the order of sums."""
    encoder = internvl("internvl/14-56", 56, 64, 2, 4, 96, 24)
    model = Model(encoder, device(), torch.bfloat16)
    whole: Callable[[torch.Tensor], torch.Tensor] = model.ours("triton")

    def forward(pixels: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(whole(pixels).flatten(0, -2))

    runner = Runner(
        forward, TileShape(56, 56, 4, 24, torch.bfloat16), Cuda(device()), most=8, graph_sizes=(1, 2, 4, 8)
    )
    with attend(attention), torch.inference_mode():  # type: ignore[arg-type]
        for count in (1, 3, 8, 21):
            pixels = random_tiles(count)
            rows = runner.run([pixels]).rows.float()
            plain = whole(pixels.to(device())).flatten(0, -2).float().cpu()
            assert (rows - plain).norm() < 0.01 * plain.norm()


def test_a_full_size_tower_from_host_to_host() -> None:
    model = Model(VIT_B, device(), torch.bfloat16)
    whole = model.ours("triton")

    def forward(pixels: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(whole(pixels).flatten(0, -2))

    shape = TileShape(224, 224, 197, 768, torch.bfloat16)
    runner = Runner(forward, shape, Cuda(device()), most=16, graph_sizes=(1, 2, 3, 4, 6, 8, 12, 16))
    with torch.inference_mode():
        for count in (1, 7, 64):
            pixels = random_tiles(count, 224)
            rows = runner.run([pixels]).rows.float()
            plain = whole(pixels.to(device())).flatten(0, -2).float().cpu()
            assert (rows - plain).norm() < 0.01 * plain.norm()
