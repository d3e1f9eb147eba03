"""The chain against the projectors of transformers, in fp64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from kernels.measure import relative_error
from kernels.project import Linear, Merge, Norm, project, reference

if TYPE_CHECKING:
    from tests.kernels.project.conftest import Case


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    random = torch.Generator().manual_seed(1)
    for parameter in module.double().eval().parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=random)
    return module


def linear(module: torch.nn.Linear) -> Linear:
    return Linear(module.weight.detach(), module.bias.detach())


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh", "quick_gelu", "silu", "relu"])
def test_internvls(activation: str) -> None:
    from transformers.models.internvl.modeling_internvl import InternVLModel, InternVLMultiModalProjector

    config = SimpleNamespace(
        vision_config=SimpleNamespace(hidden_size=12),
        text_config=SimpleNamespace(hidden_size=20),
        downsample_ratio=0.5,
        projector_hidden_act=activation,
    )
    module = drawn(InternVLMultiModalProjector(config))
    states = torch.randn(3, 17, 12, dtype=torch.float64)
    with torch.no_grad():
        grid = InternVLModel.pixel_shuffle(SimpleNamespace(), states[:, 1:].reshape(3, 4, 4, 12), 0.5)
        theirs = module(grid.flatten(1, 2)).flatten(0, 1)
    norm = Norm("layer", "row", module.layer_norm.weight.detach(), module.layer_norm.bias.detach(), 1e-5)
    linears = (linear(module.linear_1), linear(module.linear_2))
    ours = reference.unfused(states, linears, activation, norm, Merge(2), 1)
    assert relative_error(ours, theirs) < 1e-12


def test_llavas() -> None:
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    config = SimpleNamespace(
        vision_config=SimpleNamespace(hidden_size=12),
        text_config=SimpleNamespace(hidden_size=20),
        vision_feature_layer=-2,
        multimodal_projector_bias=True,
        projector_hidden_act="gelu",
    )
    module = drawn(LlavaMultiModalProjector(config))
    states = torch.randn(2, 10, 12, dtype=torch.float64)
    with torch.no_grad():
        theirs = module(states[:, 1:]).flatten(0, 1)
    linears = (linear(module.linear_1), linear(module.linear_2))
    ours = reference.unfused(states, linears, "gelu", None, Merge(), 1)
    assert relative_error(ours, theirs) < 1e-12


def test_qwens() -> None:
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLPatchMerger

    module = drawn(Qwen2_5_VLPatchMerger(20, 12))
    states = torch.randn(24, 12, dtype=torch.float64)
    with torch.no_grad():
        theirs = module(states)
    norm = Norm("rms", "patch", module.ln_q.weight.detach(), None, 1e-6)
    linears = (linear(module.mlp[0]), linear(module.mlp[2]))
    ours = reference.unfused(states[None], linears, "gelu", norm, Merge(2, "given"), 0)
    assert relative_error(ours, theirs) < 1e-6  # their norm computes in fp32


def test_the_reference_backend_takes_any_fold_and_writes_the_dtype_asked_for(case: Case) -> None:
    layer, states = case.layer(), case.states()
    folded = layer.fold(torch.bfloat16, "cpu", weight_dtype=torch.float32)
    out = case.poisoned(torch.bfloat16)
    assert project(states.bfloat16(), folded, backend="reference", out=out) is out
    assert torch.equal(out, reference.project(states, folded).bfloat16())
    assert relative_error(reference.project(states, folded), layer.exact(states)) < 1e-6
