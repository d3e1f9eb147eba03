"""The CPU path and the way by cuBLAS (plain torch operations, so that it runs here) against the exact chain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from kernels.measure import relative_error
from kernels.project import (
    BackendUnavailable,
    FoldedProjector,
    ScatterIndex,
    cublas,
    project,
    scatter_index,
    scatter_spans,
)
from kernels.project import cpu as cpu_path

if TYPE_CHECKING:
    from tests.kernels.project.conftest import Case

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
ROUNDING = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""Four units in the last place of the result; the sharper bound for bf16 is a test of its own."""
PATHS = ["cpu", "cublas"]


def run(
    path: str,
    hidden: torch.Tensor,
    folded: FoldedProjector,
    out: torch.Tensor,
    scatter: ScatterIndex | None = None,
) -> torch.Tensor:
    if path == "cpu":
        return project(hidden, folded, backend="cpu", out=out, scatter=scatter)
    cublas.project(hidden, folded, out, scatter)
    return out


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("path", PATHS)
def test_every_row_is_written_and_right(case: Case, path: str, dtype: torch.dtype) -> None:
    layer, states = case.layer(), case.states()
    out = case.poisoned(dtype)
    assert run(path, states.to(dtype), layer.fold(dtype, "cpu"), out) is out
    assert relative_error(out, layer.exact(states.to(dtype))) < ROUNDING[dtype]


def test_every_row_is_right_without_onednn(case: Case) -> None:
    layer, states = case.layer(), case.states()
    folded = replace(layer.fold(torch.float32, "cpu"), packed=())
    rows = project(states, folded, backend="cpu")
    assert relative_error(rows, layer.exact(states)) < ROUNDING[torch.float32]


@pytest.mark.parametrize("path", PATHS)
def test_many_tiles(many: Case, path: str) -> None:
    layer, states = many.layer(), many.states()
    rows = run(path, states, layer.fold(torch.float32, "cpu"), many.poisoned(torch.float32))
    assert relative_error(rows, layer.exact(states)) < ROUNDING[torch.float32]


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bf16_is_at_most_as_far_off_as_the_chain_in_bf16(large: Case, weight_dtype: torch.dtype) -> None:
    layer, states = large.layer(), large.states()
    exact = layer.exact(states)
    folded = layer.fold(torch.bfloat16, "cpu", weight_dtype=weight_dtype)
    rows = project(states.bfloat16(), folded, backend="cpu")
    chain = relative_error(layer.to(torch.bfloat16).chain(states.bfloat16()), exact)
    # one linear layer alone rounds as the chain does, and the two differ by chance alone
    assert relative_error(rows, exact) <= chain * (1 if len(large.widths) == 2 else 1.02)


@pytest.mark.parametrize("how", ["crop", "every second tile", "transposed"])
@pytest.mark.parametrize("path", PATHS)
def test_tiles_and_tokens_may_lie_at_any_stride(case: Case, path: str, how: str) -> None:
    layer, states = case.layer(), case.states()
    folded = layer.fold(torch.float32, "cpu")
    expected = run(path, states, folded, case.poisoned(torch.float32))
    got = run(path, strided(states, how), folded, case.poisoned(torch.float32))
    assert relative_error(got, expected) < ROUNDING[torch.float32]


def strided(states: torch.Tensor, how: str) -> torch.Tensor:
    """The same numbers at other scatter in memory."""
    tiles, tokens, hidden = states.shape
    if how == "crop":
        view = torch.zeros(tiles, tokens + 3, hidden + 5)[:, 2 : 2 + tokens, 1 : 1 + hidden]
    elif how == "every second tile":
        view = torch.zeros(2 * tiles, tokens, hidden)[::2]
    else:
        view = torch.zeros(tokens, tiles, hidden).transpose(0, 1)
    return view.copy_(states)


@pytest.mark.parametrize("path", PATHS)
def test_each_row_goes_to_its_place_and_nothing_else_is_touched(case: Case, path: str) -> None:
    folded, states = case.layer().fold(torch.float32, "cpu"), case.states()
    expected = run(path, states, folded, case.poisoned(torch.float32))
    order = torch.randperm(2 * case.rows, generator=torch.Generator().manual_seed(3))[: case.rows]
    pool = torch.full((2 * case.rows + 1, case.widths[-1] + 3), float("nan"))
    run(path, states, folded, pool[:, 1:-2], scatter_index(order, device="cpu"))
    assert relative_error(pool[order, 1:-2], expected) < ROUNDING[torch.float32]
    pool[order, 1:-2] = float("nan")
    assert pool.isnan().all()


@pytest.mark.parametrize("path", PATHS)
def test_images_of_several_tiles_go_to_spans_of_any_lengths(plain: Case, path: str) -> None:
    case = replace(plain, tiles=6)
    folded, states = case.layer().fold(torch.float32, "cpu"), case.states()
    expected = run(path, states, folded, case.poisoned(torch.float32))  # 4 rows of each tile
    pool = torch.full((40, 24), float("nan"))
    scatter = scatter_spans([20, 0, 30], [4, 12, 8], device="cpu")
    run(path, states, folded, pool, scatter)
    assert relative_error(torch.cat([pool[20:24], pool[:12], pool[30:38]]), expected) < 1e-6
    assert pool[12:20].isnan().all() and pool[24:30].isnan().all() and pool[38:].isnan().all()


def test_slabs_are_the_whole(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, states = case.layer(), case.states()
    monkeypatch.setattr(cpu_path, "SLAB", 3)
    out = project(states, layer.fold(torch.float32, "cpu"), backend="cpu", out=case.poisoned(torch.float32))
    assert relative_error(out, layer.exact(states)) < ROUNDING[torch.float32]


def test_slabs_bound_the_rows_that_go_through_together(plain: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_path, "SLAB", 8)
    folded = plain.layer().fold(torch.float32, "cpu")
    assert [len(slab) for slab in cpu_path.slabs(torch.zeros(5, 17, 32), folded)] == [2, 2, 1]
    flat = replace(folded, merge=replace(folded.merge, order="given"), skip=0)
    assert [slab.shape[1] for slab in cpu_path.slabs(torch.zeros(1, 100, 32), flat)] == [32, 32, 32, 4]


def test_no_tiles_are_no_rows(case: Case) -> None:
    folded = case.layer().fold(torch.float32, "cpu")
    assert project(case.states()[:0], folded, backend="cpu").shape == (0, case.widths[-1])


STATES = torch.zeros(2, 17, 32)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (
            STATES.half(),
            r"hidden: got torch.float16 \[2, 17, 32\], must be torch.float32 \[tiles, 1 \+ patches, 32\]",
        ),
        (STATES[0], r"hidden: got torch.float32 \[17, 32\]"),
        (torch.zeros(2, 17, 31), r"hidden: got torch.float32 \[2, 17, 31\]"),
        (torch.zeros(2, 32, 17).transpose(1, 2), "the last must be 1"),
        (STATES[:, :1], "hidden: got 1 tokens in a tile, must be more than the 1 to skip"),
        (STATES[:, :16], "got 15 patches in a tile, must be a square grid"),
        (STATES.to("meta"), "hidden: got a tensor on meta, the folded projector is on cpu"),
    ],
)
def test_hidden_states_that_do_not_fit_are_named(plain: Case, hidden: torch.Tensor, message: str) -> None:
    folded = plain.layer().fold(torch.float32, "reference")
    with pytest.raises(ValueError, match=message):
        project(hidden, folded, backend="reference")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (torch.zeros(7, 24), r"out: got torch.float32 \[7, 24\].*must be torch.float32 \[8, 24\]"),
        (torch.zeros(8, 25), r"out: got torch.float32 \[8, 25\]"),
        (torch.zeros(8), r"out: got torch.float32 \[8\]"),
        (torch.zeros(8, 24).half(), "out: got torch.float16"),
        (torch.zeros(24, 8).T, "rows of 24 elements must be contiguous and apart"),
        (torch.zeros(1, 24).expand(8, 24), r"strides \[0, 1\]"),
    ],
)
def test_an_output_that_does_not_fit_is_named(plain: Case, out: torch.Tensor, message: str) -> None:
    folded = plain.layer().fold(torch.float32, "cpu")
    with pytest.raises(ValueError, match=message):
        project(STATES, folded, backend="cpu", out=out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scatter": scatter_index(range(8), device="cpu")}, "out: got none with scatter"),
        (
            {"scatter": scatter_index(range(7), device="cpu"), "out": torch.zeros(9, 24)},
            "scatter: got 7 on cpu, must be 8 on cpu",
        ),
        (
            {"scatter": scatter_index(range(2, 10), device="cpu"), "out": torch.zeros(9, 24)},
            r"must be torch.float32 \[at least 10, 24\]",
        ),
        ({"backend": "triton"}, "runs on CUDA devices only"),
        ({"provider": "cublas"}, "provider: got 'cublas' for backend 'cpu'"),
    ],
)
def test_options_that_do_not_fit_are_named(
    plain: Case, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    folded = plain.layer().fold(torch.float32, "cpu")
    with pytest.raises((ValueError, BackendUnavailable), match=message):
        project(STATES, folded, **{"backend": "cpu", **options})


def test_a_fold_for_another_backend_is_refused(plain: Case) -> None:
    folded = plain.layer().fold(torch.float32, "triton")
    with pytest.raises(
        ValueError, match="got 'cpu', the projector was folded for 'triton': fold it for 'cpu'"
    ):
        project(STATES, folded, backend="cpu")
