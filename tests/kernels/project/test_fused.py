"""The Triton kernels: on a GPU where there is one, else in the interpreter (see test_interpreter.py)."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from kernels.measure import relative_error
from kernels.project import (
    BackendUnavailable,
    FoldedProjector,
    choose_provider,
    configs,
    project,
    scatter_index,
    scatter_spans,
)
from kernels.project.configs import Choice, Config
from kernels.project.fold import Product
from tests.kernels.bounds import SPLIT_K

if TYPE_CHECKING:
    from tests.kernels.project.conftest import Case

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
pytestmark = [pytest.mark.gpu] if GPU else []

ROUNDING = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if GPU else [])]
FUSED: dict[str, Any] = {"backend": "triton", "provider": "fused"}


@pytest.fixture(params=["many", "few"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every committed block shape that this device would use, whatever the size of the case."""

    def only(choice: Choice) -> Choice:
        config: Config = getattr(choice, request.param)
        return replace(choice, many=config, few=config)

    table = {capability: only(choice) for capability, choice in configs.TENSOR_CORES.items()}
    monkeypatch.setattr(configs, "TENSOR_CORES", table)
    monkeypatch.setattr(configs, "EXACT", only(configs.EXACT))


def fold(case: Case, dtype: torch.dtype) -> FoldedProjector:
    """With every folded tensor at a guard page where there is no GPU."""
    folded = case.layer().fold(dtype, "triton", DEVICE, weight_dtype=dtype)
    products = (Product(*(placed(getattr(p, f.name)) for f in fields(Product))) for p in folded.products)
    return replace(folded, products=tuple(products))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_row_is_written_and_right(case: Case, dtype: torch.dtype) -> None:
    states = case.states().to(dtype)
    out = case.poisoned(dtype, DEVICE)
    assert project(placed(states), fold(case, dtype), out=out, **FUSED) is out
    assert relative_error(out.cpu(), case.layer().exact(states)) < ROUNDING[dtype]


def test_many_tiles(many: Case) -> None:
    states = many.states()
    rows = project(states.to(DEVICE), fold(many, torch.float32), **FUSED)
    assert relative_error(rows.cpu(), many.layer().exact(states)) < ROUNDING[torch.float32]


@pytest.mark.parametrize("how", ["crop", "every second tile", "transposed"])
def test_tiles_and_tokens_may_lie_at_any_stride(plain: Case, how: str) -> None:
    tiles, tokens, hidden = plain.states().shape
    if how == "crop":
        view = torch.zeros(tiles, tokens + 3, hidden + 5, device=DEVICE)[:, 2 : 2 + tokens, 1 : 1 + hidden]
    elif how == "every second tile":
        view = torch.zeros(2 * tiles, tokens, hidden, device=DEVICE)[::2]
    else:
        view = torch.zeros(tokens, tiles, hidden, device=DEVICE).transpose(0, 1)
    rows = project(view.copy_(plain.states()), fold(plain, torch.float32), **FUSED)
    assert relative_error(rows.cpu(), plain.layer().exact(plain.states())) < ROUNDING[torch.float32]


def test_each_row_goes_to_its_place_and_nothing_else_is_touched(case: Case) -> None:
    states = case.states()
    order = torch.randperm(2 * case.rows, generator=torch.Generator().manual_seed(3))[: case.rows]
    pool = torch.full((2 * case.rows + 1, case.widths[-1] + 3), float("nan"), device=DEVICE)
    scatter = scatter_index(order, device=DEVICE)
    project(states.to(DEVICE), fold(case, torch.float32), out=pool[:, 1:-2], scatter=scatter, **FUSED)
    rows = pool.cpu()
    assert relative_error(rows[order, 1:-2], case.layer().exact(states)) < ROUNDING[torch.float32]
    rows[order, 1:-2] = float("nan")
    assert rows.isnan().all()


def test_images_go_to_spans_of_any_lengths(plain: Case) -> None:
    case = replace(plain, tiles=6)
    states = case.states()
    pool = torch.full((40, 24), float("nan"), device=DEVICE)
    scatter = scatter_spans([20, 0, 30], [4, 12, 8], device=DEVICE)
    project(states.to(DEVICE), fold(case, torch.float32), out=pool, scatter=scatter, **FUSED)
    rows = torch.cat([pool[20:24], pool[:12], pool[30:38]]).cpu()
    assert relative_error(rows, case.layer().exact(states)) < ROUNDING[torch.float32]
    assert int(pool.isnan().all(1).sum()) == 16


def test_no_tiles_are_no_rows(plain: Case) -> None:
    assert project(plain.states()[:0].to(DEVICE), fold(plain, torch.float32), **FUSED).shape == (0, 24)


def test_a_norm_far_off_the_centre_keeps_its_precision(plain: Case) -> None:
    """Statistics in two passes and rounded weights' own sums: a mean of 30 standard deviations costs little."""
    states = plain.states() + 30
    rows = project(states.to(DEVICE), fold(plain, torch.float32), **FUSED)
    assert relative_error(rows.cpu(), plain.layer().exact(states)) < 2e-5


def test_tiles_may_lie_gigabytes_apart(plain: Case) -> None:
    """Address arithmetic in 32 bits would wrap at the third tile and read (or crash) elsewhere."""
    distance = 2**30 + 16
    case = replace(plain, tiles=3)
    memory = torch.empty(2 * distance + 17 * 32, dtype=torch.float16, device=DEVICE)
    states = memory.as_strided((3, 17, 32), (distance, 32, 1)).copy_(case.states())
    rows = project(states, fold(case, torch.float16), **FUSED)
    assert relative_error(rows.cpu(), case.layer().exact(case.states())) < ROUNDING[torch.float16]


def test_places_may_lie_gigabytes_apart(plain: Case) -> None:
    memory = torch.empty(2**31 + 2**20, dtype=torch.float16, device=DEVICE)
    reach = len(memory) // 128
    out = memory.as_strided((reach, 24), (128, 1))
    rows = [*range(4), *range(reach - 4, reach)]
    states = plain.states().half().to(DEVICE)
    project(states, fold(plain, torch.float16), out=out, scatter=scatter_index(rows, device=DEVICE), **FUSED)
    exact = plain.layer().exact(plain.states())
    assert relative_error(out[rows].cpu(), exact) < ROUNDING[torch.float16]


def test_patches_too_far_apart_are_refused(plain: Case) -> None:
    memory = torch.empty(17 * 2**28, dtype=torch.float16, device="meta")
    states = memory.as_strided((1, 17, 32), (0, 2**28, 1))
    folded = plain.layer().fold(torch.float16, "triton", "meta")
    from kernels.project import fused

    with pytest.raises(ValueError, match="a row's patches lie too far apart"):
        fused.project(states, folded, torch.empty(4, 24, device="meta"), None)


@pytest.mark.skipif(GPU, reason="the interpreter only")
def test_bf16_is_refused_where_it_would_be_wrong(plain: Case) -> None:
    folded = plain.layer().fold(torch.bfloat16, "triton", weight_dtype=torch.float32)
    with pytest.raises(BackendUnavailable, match="the interpreter gets bf16 wrong"):
        project(plain.states().bfloat16(), folded, backend="triton")


@pytest.mark.skipif(GPU, reason="the interpreter only")
def test_the_interpreter_takes_the_fused_kernel(plain: Case) -> None:
    assert choose_provider(fold(plain, torch.float32), 10**6) == "fused"


@pytest.mark.skipif(not GPU, reason="the table is for GPUs")
def test_the_table_says_who_runs(plain: Case) -> None:
    folded = fold(plain, torch.bfloat16)
    limit = configs.entry(90, tensor_cores=True).fused_rows
    assert [choose_provider(folded, rows) for rows in (limit, limit + 1)] == ["fused", "cublas"]


@pytest.mark.parametrize("provider", ["fused", "cublas"])
@pytest.mark.skipif(not GPU, reason="bf16 needs a GPU")
def test_bf16_is_at_most_as_far_off_as_the_chain_in_bf16(large: Case, provider: Any) -> None:
    layer, states = large.layer(), large.states()
    exact = layer.exact(states)
    folded = layer.fold(torch.bfloat16, "triton", DEVICE)
    rows = project(states.bfloat16().to(DEVICE), folded, backend="triton", provider=provider)
    chain = relative_error(layer.to(torch.bfloat16).chain(states.bfloat16()), exact)
    # without an intermediate rounding less the two differ by chance, or by how cuBLAS cuts the product
    fewer = 1.0 if len(large.widths) == 2 else 1.02
    assert relative_error(rows.cpu(), exact) <= chain * (fewer if provider == "fused" else SPLIT_K)


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
