"""The Triton kernel: on a GPU where there is one, else in the interpreter (see test_interpreter.py)."""

from __future__ import annotations

import pytest
import torch

from kernels.add_norm import BackendUnavailable, add_norm
from kernels.measure import relative_error
from tests.kernels.add_norm.cases import CASES, ROUNDING, Case, drawn, exact

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
pytestmark = [pytest.mark.gpu] if GPU else []
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if GPU else [])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_sum_is_kept_and_its_norm_returned(case: Case, dtype: torch.dtype) -> None:
    hidden, update, parameters = drawn(case, dtype, DEVICE)
    before, (total, wanted) = update.clone(), exact(hidden, update, parameters)
    normed = add_norm(hidden, update, *parameters, backend="triton")
    assert (normed.shape, normed.dtype) == (hidden.shape, dtype)
    assert relative_error(hidden.cpu(), total) < ROUNDING[dtype]
    assert relative_error(normed.cpu(), wanted) < ROUNDING[dtype]
    assert torch.equal(update, before)


def test_strides_are_followed_and_nothing_is_written_beside_them() -> None:
    hidden, update, parameters = drawn(Case(5, 40, "rms", True), device=DEVICE)
    total, wanted = exact(hidden, update, parameters)
    around = torch.full((9, 64), float("nan"), device=DEVICE)
    inner = around[2:7, 5:45].copy_(hidden)
    apart = torch.full((5, 96), 99.0, device=DEVICE)[:, 3:43].copy_(update)
    normed = add_norm(inner, apart, *parameters, backend="triton")
    assert relative_error(inner.cpu(), total) < ROUNDING[torch.float32]
    assert relative_error(normed.cpu(), wanted) < ROUNDING[torch.float32]
    inner.fill_(float("nan"))
    assert around.isnan().all()


def test_tokens_may_lie_gigabytes_apart() -> None:
    """Address arithmetic in 32 bits would wrap at the third token and read (or crash) elsewhere."""
    distance = 2**30 + 16
    hidden, update, parameters = drawn(Case(3, 24, "layer", True), torch.float16, DEVICE)
    memory = torch.empty(2 * distance + 24, dtype=torch.float16, device=DEVICE)
    apart = memory.as_strided((3, 24), (distance, 1)).copy_(hidden)
    total, wanted = exact(hidden, update, parameters)
    normed = add_norm(apart, update, *parameters, backend="triton")
    assert relative_error(apart.cpu(), total) < ROUNDING[torch.float16]
    assert relative_error(normed.cpu(), wanted) < ROUNDING[torch.float16]


def test_no_tokens_are_none() -> None:
    hidden, update, parameters = drawn(CASES[-1], device=DEVICE)
    assert add_norm(hidden[:0], update[:0], *parameters, backend="triton").shape == (0, 1664)


@pytest.mark.skipif(GPU, reason="the interpreter only")
def test_bf16_is_refused_where_it_would_be_wrong() -> None:
    hidden, update, parameters = drawn(CASES[0], torch.bfloat16)
    with pytest.raises(BackendUnavailable, match="the interpreter gets bf16 wrong"):
        add_norm(hidden, update, *parameters, backend="triton")


@pytest.mark.skipif(not GPU, reason="bf16 needs a GPU")
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_bf16_is_at_most_as_far_off_as_torchs(kind: str) -> None:
    case = Case(4096, 1280, "layer" if kind == "layer" else "rms", False)
    hidden, update, parameters = drawn(case, torch.bfloat16, DEVICE)
    total, wanted = exact(hidden, update, parameters)
    cpu = (parameters[0].cpu(), None, *parameters[2:])
    theirs = relative_error(add_norm(hidden.cpu(), update.cpu(), *cpu, backend="cpu"), wanted)
    normed = add_norm(hidden, update, *parameters, backend="triton")
    assert relative_error(normed.cpu(), wanted) <= 1.001 * theirs
    assert relative_error(hidden.cpu(), total) <= 1.001 * relative_error(total.bfloat16(), total)
