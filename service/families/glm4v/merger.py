"""From GLM-4.1V's hidden states to soft tokens: a norm, a convolution that joins a cell's patches, a gated MLP.

The convolution and the merger's first layer follow each other without anything in between: they are one product here,
which saves a third of the way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN

from kernels.backend import Backend
from kernels.project import FoldedProjector, Linear, Merge, Norm, ScatterIndex, fold_projector, project
from service.checkpoint.tensors import TowerTensors
from service.families.towers import TowerChoice


@dataclass(frozen=True, slots=True, eq=False)
class Glm4vMerger:
    join: FoldedProjector
    """RMSNorm of each patch, a cell's patches in one row, one product: [patches, hidden] → [cells, width]."""
    norm: nn.LayerNorm
    gate_and_up: torch.Tensor
    """[2 · inner, width]"""
    activation: nn.Module
    down: FoldedProjector
    backend: Backend

    @property
    def width(self) -> int:
        return self.down.width

    def __call__(self, hidden: torch.Tensor, scatter: ScatterIndex) -> torch.Tensor:
        cells = F.gelu(self.norm(project(hidden[None], self.join, backend=self.backend)))
        gate, up = F.linear(cells, self.gate_and_up).chunk(2, -1)
        inner = self.activation(gate).mul_(up)
        rows = hidden.new_empty(len(inner), self.width)
        return project(inner[None], self.down, backend=self.backend, out=rows, scatter=scatter)


def load_merger(tensors: TowerTensors, config: Any, choice: TowerChoice) -> Glm4vMerger:
    """Raises ConfigurationError."""
    merge, hidden, width = (
        Merge(config.spatial_merge_size, "given"),
        config.hidden_size,
        config.out_hidden_size,
    )
    inner = config.intermediate_size

    def exact(name: str, *shape: int) -> torch.Tensor:
        return tensors.take(name, shape).to(choice.device, torch.float32)

    def fold(linear: Linear, norm: Norm | None = None, merge: Merge | None = None) -> FoldedProjector:
        return fold_projector(
            (linear,),
            norm=norm,
            merge=merge,
            dtype=choice.dtype,
            device=choice.device,
            backend=choice.backend,
        )

    first = exact("merger.proj.weight", width, width)
    # [width, hidden, rows, columns] → [width, patches of a cell · hidden]
    convolution = exact("downsample.weight", width, hidden, merge.factor, merge.factor)
    convolution = convolution.permute(0, 2, 3, 1).flatten(1)
    bias = first @ exact("downsample.bias", width)
    per_patch = Norm(
        "rms", "patch", tensors.take("post_layernorm.weight", (hidden,)), None, eps=config.rms_norm_eps
    )
    norm = nn.LayerNorm(width, device="meta")
    tensors.fill(norm, "merger.post_projection_norm", choice.device, choice.dtype)
    gate, up = (tensors.take(f"merger.{name}.weight", (inner, width)) for name in ("gate_proj", "up_proj"))
    down = tensors.take("merger.down_proj.weight", (width, inner))
    return Glm4vMerger(
        join=fold(Linear(first @ convolution, bias), per_patch, merge),
        norm=norm,
        gate_and_up=torch.cat([gate, up]).to(choice.device, choice.dtype),
        activation=ACT2FN[config.hidden_act],
        down=fold(Linear(down)),
        backend=choice.backend,
    )
