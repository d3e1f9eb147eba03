"""The arithmetic of the fold, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from kernels.measure import relative_error
from kernels.project import Linear, Merge, Norm, fold_projector
from kernels.project.fold import ALIGNMENT, FoldedProjector
from kernels.project.reference import activate, gather

if TYPE_CHECKING:
    from tests.kernels.project.conftest import Case


def folded_arithmetic(states: torch.Tensor, folded: FoldedProjector) -> torch.Tensor:
    """What the fused kernel does with the folded tensors, in fp64."""
    rows = gather(states.double(), folded.merge, folded.skip)
    parts, groups = folded.merge.parts, folded.groups
    first, *rest = folded.products
    weight = first.weight.double().unflatten(1, (parts, -1))[..., : folded.hidden].flatten(1)
    by_group = rows.unflatten(1, (groups, -1))  # [rows, groups, K / groups]
    products = torch.einsum("rgk,wgk->rgw", by_group, weight.unflatten(1, (groups, -1)))
    if folded.norm is not None:
        mean = (
            by_group.mean(2, keepdim=True) if folded.norm.kind == "layer" else torch.zeros(1, 1, 1).double()
        )
        scale = torch.rsqrt((by_group - mean).square().mean(2, keepdim=True) + folded.norm.eps)
        products = (products - mean * first.sums.double()) * scale
    rows = products.sum(1) + first.bias.double()
    for product in rest:
        assert not product.weight[:, rows.shape[1] :].any()
        rows = (
            activate(rows, folded.activation) @ product.weight[:, : rows.shape[1]].double().T + product.bias
        )
    return rows


def test_folding_the_norm_changes_nothing(case: Case) -> None:
    layer, states = case.layer(), case.states()
    folded = layer.fold(torch.float32, "triton")
    assert relative_error(folded_arithmetic(states, folded), layer.exact(states)) < 1e-6


def test_rounded_weights_keep_a_constant_at_nothing(plain: Case) -> None:
    """A row whose numbers are all alike is only β to a LayerNorm; sums of unrounded weights would leave a rest."""
    layer = plain.layer()
    states = torch.full((1, 17, 32), 1000.0)
    folded = layer.fold(torch.bfloat16, "triton", weight_dtype=torch.bfloat16)
    expected = folded_arithmetic(torch.zeros_like(states), folded)
    assert relative_error(folded_arithmetic(states, folded), expected) < 1e-3


def test_every_part_is_padded_to_whole_blocks(plain: Case) -> None:
    first, second = plain.layer().fold(torch.float32, "triton").products
    assert first.weight.shape == (48, 4 * ALIGNMENT)
    assert second.weight.shape == (24, ALIGNMENT)
    assert not first.weight.view(48, 4, ALIGNMENT)[..., 32:].any()


def test_only_what_a_backend_needs_is_prepared(plain: Case) -> None:
    layer = plain.layer()
    assert layer.fold(torch.float32, "cpu").products == ()
    assert layer.fold(torch.float32, "reference").packed == ()
    assert len(layer.fold(torch.float32, "cpu").packed) == 2 * torch.backends.mkldnn.is_available()


def test_the_fold_keeps_neither_graph_nor_the_callers_memory() -> None:
    weight = torch.nn.Parameter(torch.randn(8, 6))
    folded = fold_projector([Linear(weight)], dtype=torch.float32, device="cpu", backend="cpu")
    kept = folded.linears[0].weight
    assert not kept.requires_grad
    assert kept.data_ptr() != weight.data_ptr()


def broken(**changes: Any) -> Callable[[], object]:
    good: dict[str, Any] = {
        "linears": [Linear(torch.zeros(8, 24), torch.zeros(8)), Linear(torch.zeros(5, 8))],
        "norm": Norm("layer", "row", torch.ones(24), torch.zeros(24), 1e-5),
        "merge": Merge(2),
        "activation": "gelu",
        "skip": 1,
        "dtype": torch.float32,
        "device": "cpu",
        "backend": "cpu",
    }
    return lambda: fold_projector(**{**good, **changes})


def norm(kind: Any = "layer", per: Any = "row", size: int = 24, bias: int = 24, eps: float = 1e-5) -> Norm:
    return Norm(kind, per, torch.ones(size), torch.zeros(bias), eps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (broken(linears=[]), "linears: got 0, allowed are one or two"),
        (
            broken(linears=[Linear(torch.zeros(24))]),
            r"linears\[0\].weight: got shape \[24\], must be \[out, in\]",
        ),
        (broken(linears=[Linear(torch.zeros(0, 24))]), r"linears\[0\].weight: got shape \[0, 24\]"),
        (
            broken(linears=[Linear(torch.zeros(8, 24), torch.zeros(9))]),
            r"bias: got shape \[9\], must be \[8\]",
        ),
        (broken(linears=[Linear(torch.zeros(8, 23))]), "its second dimension must be a multiple of 4"),
        (
            broken(linears=[Linear(torch.zeros(8, 24)), Linear(torch.zeros(5, 9))]),
            r"linears\[1\].weight: got shape \[5, 9\], its second dimension must be 8",
        ),
        (broken(norm=norm(kind="batch")), "norm.kind: got 'batch', allowed are 'layer', 'rms'"),
        (broken(norm=norm(per="tile")), "norm.per: got 'tile', allowed are 'row', 'patch'"),
        (broken(norm=norm(eps=0.0)), "norm.eps: got 0.0, must be above 0"),
        (broken(norm=norm(size=6)), r"norm.weight: got shape \[6\], must be \[24\] per row"),
        (broken(norm=norm(per="patch", size=6)), r"norm.bias: got shape \[24\], must be \[6\] per patch"),
        (broken(activation="tanh"), "activation: got 'tanh', allowed are 'gelu', 'gelu_pytorch_tanh'"),
        (broken(skip=-1), "skip: got -1, must be 0 or more"),
        (broken(dtype=torch.float64), "dtype: got torch.float64, allowed are torch.bfloat16"),
        (broken(weight_dtype=torch.int8), "weight_dtype: got torch.int8"),
        (broken(backend="auto"), "backend: got 'auto', allowed are 'triton', 'cpu', 'reference'"),
    ],
)
def test_what_cannot_be_folded_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_fold_accepts_what_the_others_were_changed_from() -> None:
    broken()()
