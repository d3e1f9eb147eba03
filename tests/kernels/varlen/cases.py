"""Towers that are made in a moment, and images of awkward sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5VisionConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5VisionModel
from transformers.models.qwen3_5_moe.configuration_qwen3_5_moe import Qwen3_5MoeVisionConfig
from transformers.models.qwen3_5_moe.modeling_qwen3_5_moe import Qwen3_5MoeVisionModel
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel
from transformers.models.qwen3_vl_moe.configuration_qwen3_vl_moe import Qwen3VLMoeVisionConfig
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeVisionModel

from kernels.varlen import Grid

WINDOW = 4
"""Cells on a side: 112 pixels of patches of 14, two on a side of a cell."""
GRIDS = {
    "one cell": [Grid(1, 1)],
    "one window": [Grid(4, 4)],
    "edges": [Grid(5, 7)],
    "narrow": [Grid(1, 9), Grid(13, 1)],
    "equal": [Grid(3, 6)] * 3,
    "mixed": [Grid(5, 7), Grid(8, 8), Grid(2, 3), Grid(7, 5), Grid(8, 8), Grid(1, 1)],
    "one large among small": [Grid(1, 2), Grid(20, 22), Grid(2, 2)],
}


def tower(dtype: torch.dtype = torch.float64, depth: int = 4) -> Qwen2_5_VisionTransformerPretrainedModel:
    """Random in every parameter, and representable in bf16, as a bf16 checkpoint is."""
    config = Qwen2_5_VLVisionConfig(
        depth=depth,
        hidden_size=48,
        num_heads=3,
        intermediate_size=70,
        out_hidden_size=20,
        fullatt_block_indexes=[1],
    )
    made = Qwen2_5_VisionTransformerPretrainedModel._from_config(config, attn_implementation="sdpa")
    return randomised(made, dtype)


def whole_image_tower(kind: str, dtype: torch.dtype = torch.float64, **fields: Any) -> Any:
    """One of transformers' towers whose layers all see the whole image, by the name of its module."""
    given = {"depth": 3, "num_heads": 3, **fields}
    if kind == "qwen2_vl":
        config: Any = Qwen2VLVisionConfig(embed_dim=48, hidden_size=20, mlp_ratio=2, **given)
        return randomised(Qwen2VisionTransformerPretrainedModel._from_config(config), dtype)
    sizes = {"hidden_size": 48, "intermediate_size": 70, "out_hidden_size": 20, "num_position_embeddings": 49}
    model, config = {
        "qwen3_vl": (Qwen3VLVisionModel, Qwen3VLVisionConfig),
        "qwen3_vl_moe": (Qwen3VLMoeVisionModel, Qwen3VLMoeVisionConfig),
        "qwen3_5": (Qwen3_5VisionModel, Qwen3_5VisionConfig),
        "qwen3_5_moe": (Qwen3_5MoeVisionModel, Qwen3_5MoeVisionConfig),
    }[kind]
    levels = {"deepstack_visual_indexes": [1]} if "vl" in kind else {}
    return randomised(model._from_config(config(**sizes, **levels, **given)), dtype)


def randomised(model: nn.Module, dtype: torch.dtype) -> Any:
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[1] ** -0.5 if parameter.ndim == 2 else 0.2
            mean = 1.0 if parameter.ndim == 1 and bool((parameter == 1).all()) else 0.0
            # not the buffers: frequencies stay fp32, as in a checkpoint that is loaded
            parameter.data = (mean + scale * torch.randn_like(parameter)).bfloat16().to(dtype)
    return model.eval().requires_grad_(False)


def hidden_states(grids: list[Grid]) -> torch.Tensor:
    """fp32 [tokens, 48], representable in bf16, cell by cell as they are given."""
    cells = sum(rows * columns for rows, columns in grids)
    random = torch.Generator().manual_seed(cells)
    return torch.randn(4 * cells, 48, generator=random).bfloat16().float()


class Given(torch.nn.Module):
    """Stands where a patch embedding was."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def through_transformers(
    model: Qwen2_5_VisionTransformerPretrainedModel, hidden: torch.Tensor, grids: list[Grid]
) -> torch.Tensor:
    """The last hidden states in the order of `hidden`."""
    from transformers.vision_utils import get_vision_window_index

    model.patch_embed = Given()
    sizes = torch.tensor([[1, 2 * rows, 2 * columns] for rows, columns in grids])
    windows, _ = get_vision_window_index(sizes, spatial_merge_size=2, window_size=112, patch_size=14)
    with torch.inference_mode():
        made = model(hidden, sizes).last_hidden_state
    cells = made.view(len(windows), 4, -1)[windows.argsort()]
    return cells.flatten(0, 1)
