"""Pixtral's transformer blocks over one packed sequence, by `kernels.varlen` or by transformers' own modules.

Their rotary positions differ from Qwen-VL's in the columns: of a head's frequencies θ^(-2k/width) rows have the even
ones and columns the odd ones, so that a column turns θ^(-2/width) times as fast as a row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from transformers import PixtralVisionModel

from kernels.varlen import PackedSequence, VarlenBlocks, choose_way, read_layer
from kernels.varlen.reference import THETA
from service.checkpoint.tensors import TowerTensors
from service.families.native.steps import ModuleBlocks, Step
from service.families.towers import TowerChoice, in_precision

_PREFIX = "vision_tower.transformer.layers"


def load_blocks(tensors: TowerTensors, vision: Any, depth: int, choice: TowerChoice) -> Step:
    """The first `depth` layers of a vision_config's tower; tensors of the others are left out.

    Raises ConfigurationError.
    """
    with torch.device("meta"):
        model: Any = PixtralVisionModel._from_config(vision, attn_implementation="sdpa")
    layers, unused = model.transformer.layers[:depth], model.transformer.layers[depth:]
    for number, layer in enumerate(unused, depth):
        for name in layer.state_dict():
            tensors.drop(f"{_PREFIX}.{number}.{name}")
    if choice.ours:
        tensors.fill(layers, _PREFIX, torch.device("cpu"), choice.dtype)  # ours are copies
        return _FusedBlocks(
            VarlenBlocks(
                [read_layer(layer) for layer in layers],
                range(depth),
                choice.dtype,
                choice.device,
                way=choose_way(choice.body, choice.one_call),
                precision=choice.precision,
            ),
            vision.hidden_size // vision.num_attention_heads,
            choice.device,
        )
    tensors.fill(layers, _PREFIX, choice.device, choice.dtype)
    in_precision(layers, choice)
    # its frequencies are computed, not loaded, and on the meta device they were not
    rotary = type(model.patch_positional_embedding)(vision).to(choice.device)

    def run(image: torch.Tensor, rotations: tuple[torch.Tensor, ...]) -> torch.Tensor:
        # no mask: transformers' own forward has one of all patches by all patches
        made = image[None]
        for layer in layers:
            made = layer(made, None, position_embeddings=rotations)
        return made[0]

    return ModuleBlocks(rotary, run)


class _FusedBlocks:
    """`width`: of a head."""

    def __init__(self, blocks: VarlenBlocks, width: int, device: torch.device) -> None:
        self._blocks = blocks
        self._speeds = torch.tensor([1.0, THETA ** (-2 / width)], dtype=torch.float64, device=device)

    def __call__(self, hidden: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
        return self._blocks(hidden, replace(sequence, positions=sequence.positions * self._speeds))
