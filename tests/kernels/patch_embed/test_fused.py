"""The Triton kernel: on a GPU where there is one, else in the interpreter (see test_interpreter.py)."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import replace

import pytest
import torch

from kernels.measure import relative_error
from kernels.patch_embed import BackendUnavailable, bench, configs, fused, patch_embed
from kernels.patch_embed.configs import Choice, Config
from kernels.towers.towers import clip
from tests.kernels.patch_embed.conftest import Case

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
pytestmark = [pytest.mark.gpu] if GPU else []

ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if GPU else [])]


FLAT = "few, flat"


@pytest.fixture(params=["many", "few", FLAT])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every committed block shape that this device would use, whatever the size of the case."""

    def only(choice: Choice) -> Choice:
        config: Config = choice.many if request.param == "many" else choice.few
        config = replace(config, flat=request.param == FLAT)
        return Choice(config, config)

    table = {capability: only(choice) for capability, choice in configs.TENSOR_CORES.items()}
    monkeypatch.setattr(configs, "TENSOR_CORES", table)
    monkeypatch.setattr(configs, "EXACT", only(configs.EXACT))
    monkeypatch.setattr(fused, "_tuned", lambda *_: None)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_token_is_written_and_right(case: Case, dtype: torch.dtype) -> None:
    layer, tiles = case.layer(), case.pixels()
    folded = layer.fold(dtype, DEVICE, weight_dtype=dtype)
    folded = replace(folded, weight=placed(folded.weight), offset=placed(folded.offset))
    out = case.poisoned(dtype, DEVICE)
    assert patch_embed(placed(tiles), folded, backend="triton", out=out) is out
    assert relative_error(out.cpu(), layer.exact(tiles)) < ROUNDING[dtype]


@pytest.mark.parametrize("config", configs.FLAT[90], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, *DTYPES[2:]], ids=str)
def test_shapes_that_wait_for_a_gpu_are_right(config: Config, dtype: torch.dtype) -> None:
    case = Case(3, 112, 140, 14, 200)
    layer, tiles = case.layer(), case.pixels()
    folded = layer.fold(dtype, DEVICE, weight_dtype=dtype)
    out = case.poisoned(dtype, DEVICE)
    fused.patch_embed(tiles.to(DEVICE), folded, out, config)
    assert relative_error(out.cpu(), layer.exact(tiles)) < ROUNDING[dtype]


@pytest.mark.parametrize("config", configs.FLAT[90], ids=str)
def test_the_benchmark_has_them_with_the_norm_behind(config: Config) -> None:
    case = bench.Case.draw(clip("clip/14-56", 56, 32, 0, 2, 64, 32), 3, torch.float16, torch.device(DEVICE))
    with torch.inference_mode():
        made = bench.ours(case, "triton", config=config)()
        assert relative_error(made, case.in_fp64()) < ROUNDING[torch.float16]


def test_a_class_token_is_written_behind_the_patches_of_every_tile() -> None:
    """More tiles than a block has rows, and a block of patches that begins in one tile and ends in another."""
    case = Case(70, 4, 6, 2, 40)
    layer, tiles = case.layer(), case.pixels()
    out = case.poisoned(torch.float32, DEVICE)
    fused.patch_embed(
        tiles.to(DEVICE), layer.fold(torch.float32, DEVICE), out, Config(32, 32, 64, 4, 1, flat=True)
    )
    assert relative_error(out.cpu(), layer.exact(tiles)) < ROUNDING[torch.float32]
    assert (out[:, 0] == out[0, 0]).all()


def test_what_a_search_found_is_taken(plain: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def found(*layer: object) -> Config:
        asked.append(layer)
        return Config(32, 32, 64, 4, 1)

    monkeypatch.setattr(fused, "_tuned", found)
    monkeypatch.setattr(configs, "choose", None)
    layer, tiles = plain.layer(), plain.pixels()
    folded = layer.fold(torch.float16, DEVICE, weight_dtype=torch.float16)
    tokens = patch_embed(tiles.to(DEVICE), folded, backend="triton")
    assert relative_error(tokens.cpu(), layer.exact(tiles)) < ROUNDING[torch.float16]
    assert asked == [(folded.weight.device, 14, 96, 2 * 5)]


@pytest.mark.parametrize("how", ["crop", "odd crop", "rgba", "every second tile", "transposed"])
@pytest.mark.parametrize("patch", [14, 16])
def test_pixels_may_lie_at_any_stride(how: str, patch: int, plain: Case) -> None:
    case = replace(plain, height=2 * patch, width=3 * patch, patch=patch)
    count, height, width, _ = case.pixels().shape
    if how == "crop":
        view = empty(count, height + 4, width + 8, 3)[:, 2 : 2 + height, 4 : 4 + width]
    elif how == "odd crop":
        view = empty(count, height + 3, width + 5, 3)[:, 2 : 2 + height, 1 : 1 + width]
    elif how == "rgba":
        view = empty(count, height, width, 4)[..., :3]
    elif how == "every second tile":
        view = empty(2 * count, height, width, 3)[::2]
    else:
        view = empty(count, width, height, 3).transpose(1, 2)
    layer, tiles = case.layer(), view.copy_(case.pixels())
    tokens = patch_embed(tiles, layer.fold(torch.float32, DEVICE), backend="triton")
    assert relative_error(tokens.cpu(), layer.exact(case.pixels())) < ROUNDING[torch.float32]


@pytest.mark.usefixtures("blocks")
def test_nothing_is_written_beside_the_output(plain: Case) -> None:
    layer, tiles = plain.layer(), plain.pixels()
    count, tokens, hidden = plain.shape
    pool = torch.full((count + 1, tokens + 2, hidden + 8), float("nan"), device=DEVICE)
    inner = pool[:-1, 1:-1, :hidden]
    patch_embed(tiles.to(DEVICE), layer.fold(torch.float32, DEVICE), backend="triton", out=inner)
    assert relative_error(inner.cpu(), layer.exact(tiles)) < ROUNDING[torch.float32]
    inner.fill_(float("nan"))
    assert pool.isnan().all()


def test_many_tiles(many_tiles: Case) -> None:
    layer, tiles = many_tiles.layer(), many_tiles.pixels()
    tokens = patch_embed(tiles.to(DEVICE), layer.fold(torch.float32, DEVICE), backend="triton")
    assert relative_error(tokens.cpu(), layer.exact(tiles)) < ROUNDING[torch.float32]


def test_no_tiles_are_no_tokens(plain: Case) -> None:
    folded = plain.layer().fold(torch.float32, DEVICE)
    assert patch_embed(empty(0, 28, 28, 3), folded, backend="triton").shape == (0, 5, 96)


def test_packed_patches_are_one_tall_tile(plain: Case) -> None:
    layer = plain.layer()
    folded = type(layer)(layer.weight, layer.bias, None, None).fold(torch.float32, DEVICE)
    packed = torch.randint(0, 256, (70, 14, 14, 3), dtype=torch.uint8)
    tokens = patch_embed(packed.view(1, 70 * 14, 14, 3).to(DEVICE), folded, backend="triton")
    single = patch_embed(packed.to(DEVICE), folded, backend="reference")  # each patch a tile of its own
    assert relative_error(tokens[0], single[:, 0]) < ROUNDING[torch.float32]


@pytest.mark.usefixtures("blocks")
def test_tiles_may_lie_gigabytes_apart(plain: Case) -> None:
    """Address arithmetic in 32 bits would wrap at the third tile and read (or crash) elsewhere."""
    distance = 2**30 + 16
    layer, pixels = plain.layer(), torch.randint(0, 256, (3, 28, 28, 3), dtype=torch.uint8)
    memory = torch.empty(2 * distance + 28 * 28 * 3, dtype=torch.uint8, device=DEVICE)
    tiles = memory.as_strided((3, 28, 28, 3), (distance, 28 * 3, 3, 1)).copy_(pixels)
    tokens = patch_embed(tiles, layer.fold(torch.float32, DEVICE), backend="triton")
    assert relative_error(tokens.cpu(), layer.exact(pixels)) < ROUNDING[torch.float32]


@pytest.mark.usefixtures("blocks")
def test_outputs_may_lie_gigabytes_apart(plain: Case) -> None:
    distance = 2**30 + 16
    layer, pixels = plain.layer(), torch.randint(0, 256, (3, 28, 28, 3), dtype=torch.uint8)
    memory = torch.empty(2 * distance + 5 * 96, dtype=torch.float16, device=DEVICE)
    out = memory.as_strided((3, 5, 96), (distance, 96, 1))
    folded = layer.fold(torch.float16, DEVICE, weight_dtype=torch.float16)
    patch_embed(pixels.to(DEVICE), folded, backend="triton", out=out)
    assert relative_error(out.cpu(), layer.exact(pixels)) < ROUNDING[torch.float16]


def test_a_tile_beyond_32_bits_is_refused(plain: Case) -> None:
    folded = plain.layer().fold(torch.float32, DEVICE)
    memory = torch.empty(28 * 2**27, dtype=torch.uint8, device=DEVICE)  # never touched
    tile = memory.as_strided((1, 28, 28, 3), (0, 2**27, 3, 1))
    with pytest.raises(ValueError, match="28×28 pixels span too much memory for one tile"):
        patch_embed(tile, folded, backend="triton")


@pytest.mark.skipif(GPU, reason="the interpreter only")
def test_bf16_is_refused_where_it_would_be_wrong(plain: Case) -> None:
    folded = plain.layer().fold(torch.bfloat16, weight_dtype=torch.float32)
    with pytest.raises(BackendUnavailable, match="the interpreter gets bf16 wrong"):
        patch_embed(plain.pixels(), folded, backend="triton")


@pytest.mark.usefixtures("blocks")
@pytest.mark.skipif(not GPU, reason="bf16 needs a GPU")
def test_bf16_is_at_most_as_far_off_as_the_chain_in_bf16(case: Case) -> None:
    layer, tiles = case.layer(), case.pixels()
    exact = layer.exact(tiles)
    tokens = patch_embed(tiles.to(DEVICE), layer.fold(torch.bfloat16, DEVICE), backend="triton")
    chain = relative_error(layer.to(torch.bfloat16).chain(tiles), exact)
    # without positions the chain rounds no more often than we do, and the two differ by chance alone
    assert relative_error(tokens.cpu(), exact) <= chain * (1 if case.position else 1.02)


def placed(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the GPU; for the interpreter, one that ends where reading on ends the process.

    The kernel's loop has no masks, so that nothing else would show a read past the end.
    """
    if GPU:
        return tensor.to(DEVICE)
    size = tensor.numel() * tensor.element_size()
    pages = -(-size // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    start = pages * mmap.PAGESIZE - size
    copy = torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel(), offset=start).view(tensor.shape)
    guard = ctypes.c_void_p(copy.data_ptr() + size)
    assert ctypes.CDLL(None).mprotect(guard, mmap.PAGESIZE, 0) == 0
    return copy.copy_(tensor)


def empty(*size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.uint8, device=DEVICE)
