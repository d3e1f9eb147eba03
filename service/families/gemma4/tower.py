"""Gemma 4's vision encoder: cells of images of any sizes to soft tokens, as transformers'
`Gemma4Model.get_image_features` makes them.

Two learned tables of positions, for columns and for rows, are added to the patches; every patch sees its whole image.
A cell's nine patches are averaged, scaled, in some checkpoints standardised, normed and projected. The blocks are
transformers' own modules, with four norms each, and linears that some checkpoints clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Gemma4Config
from transformers.models.gemma4.modeling_gemma4 import (
    Gemma4VisionEncoderLayer,
    Gemma4VisionModel,
    Gemma4VisionRotaryEmbedding,
)

from kernels.blocks import Body
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed
from kernels.project import Linear, Norm, ScatterIndex, fold_projector, project
from kernels.varlen import PackedSequence
from service.checkpoint.files import read_image_processor
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.gemma4.names import own_name
from service.families.native.steps import Back, ModuleBlocks, Step, SteppedLayers, straight
from service.families.native.tower import NativeTower, choose_packed_body
from service.families.tile_tower import read_model_config
from service.families.towers import TowerChoice, in_precision

_LAYERS = "vision_tower.encoder.layers"
_EMBEDDER = "vision_tower.patch_embedder"


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    with torch.device("meta"):
        layer = Gemma4VisionEncoderLayer(_config(folder).vision_config, 0)
    return choose_packed_body(layer, device, requested)


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = _config(folder)
    vision, width = config.vision_config, config.text_config.hidden_size
    tensors = TowerTensors(folder, own_name)
    front = _front(tensors, vision, folder, choice)
    layers = SteppedLayers(
        _before(tensors, vision, choice),
        straight(_blocks(tensors, vision, choice), _back(tensors, vision, width, choice)),
        vision.pooling_kernel_size,
        choice.device,
    )
    tensors.refuse_rest()
    return NativeTower(front, layers, choice, width=width, merge=vision.pooling_kernel_size)


def _config(folder: Path) -> Any:
    """config.json as transformers' class has it. Raises ConfigurationError."""
    config = read_model_config(folder, Gemma4Config, "Gemma 4's")
    vision = config.vision_config
    if (kind := vision.rope_parameters["rope_type"]) != "axial":
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has a vision_config of rope_type {kind!r}; needed is 'axial'"
        )
    if vision.head_dim % 4:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has head_dim {vision.head_dim} in its vision_config; each head needs a "
            "multiple of four"
        )
    return config


def _front(tensors: TowerTensors, vision: Any, folder: Path, choice: TowerChoice) -> FoldedPatchEmbed:
    side, hidden = vision.patch_size, vision.hidden_size
    weight = tensors.take(f"{_EMBEDDER}.input_proj.weight", (hidden, 3 * side**2))
    weight = weight.view(hidden, side, side, 3).permute(0, 3, 1, 2)  # [hidden, colours, rows, columns]
    mean, std = _normalisation(folder)
    return fold_patch_embed(weight, None, mean, std, None, None, dtype=choice.dtype, device=choice.device)


def _normalisation(folder: Path) -> tuple[list[float], list[float]]:
    """Of pixels from 0 to 1: what the processor does, which is mostly nothing, and then the model's own 2 · (x - ½)."""
    processor, _ = read_image_processor(folder)
    applied = processor.get("do_normalize")
    mean = processor.get("image_mean", [0.0] * 3) if applied else [0.0] * 3
    std = processor.get("image_std", [1.0] * 3) if applied else [1.0] * 3
    return [m + s / 2 for m, s in zip(mean, std, strict=True)], [s / 2 for s in std]


def _before(tensors: TowerTensors, vision: Any, choice: TowerChoice) -> Step:
    shape = 2, vision.position_embedding_size, vision.hidden_size
    table = tensors.take(f"{_EMBEDDER}.position_embedding_table", shape).to(choice.device, choice.dtype)
    columns, rows = table.unbind()

    def before(hidden: torch.Tensor, sequence: PackedSequence) -> torch.Tensor:
        row, column = sequence.positions.unbind(1)
        return hidden.add_(columns[column] + rows[row])

    return before


def _blocks(tensors: TowerTensors, vision: Any, choice: TowerChoice) -> Step:
    with torch.device("meta"):
        model: Any = Gemma4VisionModel._from_config(vision, attn_implementation="sdpa")
    layers = model.encoder.layers
    tensors.fill(layers, _LAYERS, choice.device, choice.dtype)
    in_precision(layers, choice)
    # its frequencies are computed, not loaded, and on the meta device they were not
    turn = Gemma4VisionRotaryEmbedding(vision).to(choice.device)

    def rotary(hidden: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cos, sin = turn(hidden[None], positions.flip(1)[None])  # of (column, row)
        return cos[0], sin[0]

    def run(image: torch.Tensor, rotations: tuple[torch.Tensor, ...]) -> torch.Tensor:
        made, around = image[None], tuple(each[None] for each in rotations)
        # of the positions only their number of dimensions is looked at
        dimensions = torch.empty(1, len(image), 2, device="meta")
        for layer in layers:
            made = layer(made, position_embeddings=around, attention_mask=None, position_ids=dimensions)
        return made[0]

    return ModuleBlocks(rotary, run)


def _back(tensors: TowerTensors, vision: Any, width: int, choice: TowerChoice) -> Back:
    hidden, parts = vision.hidden_size, vision.pooling_kernel_size**2
    bias = scale = None
    if vision.standardize:
        bias, scale = (
            tensors.take(f"vision_tower.std_{name}", (hidden,)).to(choice.device, torch.float32)
            for name in ("bias", "scale")
        )
    matrix = tensors.take("embed_vision.embedding_projection.weight", (width, hidden))
    folded = fold_projector(
        (Linear(matrix),),
        norm=Norm("rms", "row", torch.ones(hidden), None, eps=vision.rms_norm_eps),
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )

    def back(patches: torch.Tensor, scatter: ScatterIndex) -> torch.Tensor:
        cells = patches.view(-1, parts, hidden).mean(1, dtype=torch.float32).to(patches.dtype)
        pooled = cells.float() * hidden**0.5
        if bias is not None and scale is not None:
            pooled = (pooled - bias) * scale
        rows = patches.new_empty(len(pooled), width)
        return project(
            pooled.to(patches.dtype)[None], folded, backend=choice.backend, out=rows, scatter=scatter
        )

    return back
