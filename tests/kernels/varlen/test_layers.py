"""Blocks of each class that is read, against transformers' own towers in fp64: norms, activations, gates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Glm4vMoeVisionConfig, Glm4vVisionConfig, PixtralVisionConfig
from transformers.models.glm4v.modeling_glm4v import Glm4vVisionBlock, Glm4vVisionRotaryEmbedding
from transformers.models.glm4v_moe.modeling_glm4v_moe import (
    Glm4vMoeVisionBlock,
    Glm4vMoeVisionRotaryEmbedding,
)
from transformers.models.pixtral.modeling_pixtral import PixtralAttentionLayer, PixtralVisionRotaryEmbedding

from kernels.activation import Activation
from kernels.measure import relative_error
from kernels.varlen import VarlenBlocks, pack, read_layer, reference, resample
from kernels.varlen.layers import MLPS, PIXTRAL
from kernels.varlen.together import Way
from tests.kernels.varlen.cases import GRIDS, Given, hidden_states, randomised, tower, whole_image_tower

KINDS = ("qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
GRID = GRIDS["mixed"]


@pytest.fixture(params=["packed", "plain", "kernels"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way | None:
    """How weights are folded and blocks are run: as on a CPU, as on a GPU, and with our kernels between products."""
    if request.param == "plain":
        monkeypatch.setattr("kernels.varlen.fold.obstacle_to_packing", lambda *_: "no oneDNN")
    return Way("reference") if request.param == "kernels" else None


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_see_whole_images_are_transformers(kind: str, way: Way | None) -> None:
    model = whole_image_tower(kind)
    blocks = VarlenBlocks(
        [read_layer(layer) for layer in model.blocks], range(3), torch.float32, "cpu", way=way
    )
    sequence = pack(GRID)
    hidden = torch.unflatten(hidden_states(GRID), 0, (-1, 4))[sequence.order].flatten(0, 1)
    if hasattr(model, "pos_embed"):
        hidden += resample(model.pos_embed.weight.float(), sequence)
    made = blocks(hidden, sequence).view(-1, 4, 48)[sequence.order.argsort()].flatten(0, 1)
    model.patch_embed = Given()
    sizes = torch.tensor([[1, 2 * rows, 2 * columns] for rows, columns in GRID])
    assert relative_error(made, model(hidden_states(GRID).double(), sizes).last_hidden_state) < 2e-6


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "quick_gelu"])
@pytest.mark.parametrize("gated", [True, False], ids=["gated", "ungated"])
def test_every_mlp_is_the_reference(activation: Activation, gated: bool, way: Way | None) -> None:
    block = replace(read_layer(tower().blocks[0]), activation=activation)
    if not gated:
        block = replace(block, gate=None)
    sequence = pack([GRIDS["edges"][0]])
    hidden = hidden_states(GRIDS["edges"])
    mask = torch.ones(len(hidden), len(hidden), dtype=torch.bool)
    exact = reference.block(hidden.double(), block, mask, reference.angles(sequence.positions, 16))
    made = VarlenBlocks([block], (0,), torch.float32, "cpu", way=way)(hidden, sequence)
    assert relative_error(made, exact) < 2e-6


def other_blocks() -> dict[str, tuple[nn.Module, Any]]:
    """Of towers that do more than Qwen-VL's before or after their blocks: one block, and their rotary positions."""
    sizes = {"hidden_size": 48, "intermediate_size": 70, "_attn_implementation": "sdpa"}
    glm = Glm4vVisionConfig(out_hidden_size=20, num_heads=3, **sizes)
    moe = Glm4vMoeVisionConfig(out_hidden_size=20, num_heads=3, **sizes)
    pixtral = PixtralVisionConfig(num_attention_heads=3, hidden_act="silu", **sizes)
    made = (
        (Glm4vVisionBlock(glm), Glm4vVisionRotaryEmbedding(glm)),
        (Glm4vMoeVisionBlock(moe), Glm4vMoeVisionRotaryEmbedding(moe)),
        (PixtralAttentionLayer(pixtral), PixtralVisionRotaryEmbedding(pixtral)),
    )
    return {type(block).__name__: (randomised(block, torch.float64), rotary) for block, rotary in made}


@pytest.mark.parametrize("kind", other_blocks())
def test_blocks_of_other_lines_are_transformers(kind: str) -> None:
    layer, rotary = other_blocks()[kind]
    positions = pack(GRIDS["edges"]).positions
    hidden = hidden_states(GRIDS["edges"]).double()
    rotations = rotary(hidden, positions)
    if kind == PIXTRAL:
        expected = layer(hidden[None], None, position_embeddings=rotations)[0]
        positions = positions * torch.tensor([1, reference.THETA ** (-2 / 16)], dtype=torch.float64)
    else:
        ends = torch.tensor([0, len(hidden)], dtype=torch.int32)
        expected = layer(hidden, cu_seqlens=ends, position_embeddings=rotations)
    mask = torch.ones(len(hidden), len(hidden), dtype=torch.bool)
    made = reference.block(hidden, read_layer(layer), mask, reference.angles(positions, 16))
    assert relative_error(made, expected) < 2e-6


def test_each_class_is_read_of_a_real_tower() -> None:
    read = {type(whole_image_tower(kind).blocks[0]).__name__ for kind in KINDS} | other_blocks().keys()
    assert read | {type(tower().blocks[0]).__name__} == {*MLPS, PIXTRAL}
