"""From Pixtral's hidden states to soft tokens: Mistral 3's merger of patches, and the MLP of both families."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kernels.backend import Backend
from kernels.project import (
    ACTIVATIONS,
    FoldedProjector,
    Linear,
    Merge,
    Norm,
    ScatterIndex,
    fold_projector,
    project,
)
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.towers import TowerChoice

_PREFIX = "multi_modal_projector"


@dataclass(frozen=True, slots=True, eq=False)
class PixtralProjector:
    merger: FoldedProjector | None
    """RMSNorm of each patch, a cell's patches in one row, one product: [patches, hidden] → [cells, hidden]."""
    mlp: FoldedProjector
    backend: Backend

    @property
    def width(self) -> int:
        return self.mlp.width

    def __call__(self, hidden: torch.Tensor, scatter: ScatterIndex) -> torch.Tensor:
        if self.merger is not None:
            hidden = project(hidden[None], self.merger, backend=self.backend)
        rows = hidden.new_empty(len(hidden), self.width)
        return project(hidden[None], self.mlp, backend=self.backend, out=rows, scatter=scatter)


def load_projector(tensors: TowerTensors, config: Any, folder: Path, choice: TowerChoice) -> PixtralProjector:
    """`config` is all of config.json. Raises ConfigurationError."""
    merger = _merger(tensors, config, choice) if config.model_type == "mistral3" else None
    return PixtralProjector(merger, _mlp(tensors, config, folder, choice), choice.backend)


def _merger(tensors: TowerTensors, config: Any, choice: TowerChoice) -> FoldedProjector:
    merge, hidden = Merge(config.spatial_merge_size, "given"), config.vision_config.hidden_size
    norm = tensors.take(f"{_PREFIX}.norm.weight", (hidden,))
    # its inputs are channel by channel, and in each channel patch by patch; ours are patch by patch
    weight = tensors.take(f"{_PREFIX}.patch_merger.merging_layer.weight", (hidden, hidden * merge.parts))
    weight = weight.view(hidden, hidden, merge.parts).transpose(1, 2).flatten(1)
    return fold_projector(
        (Linear(weight),),
        norm=Norm("rms", "patch", norm, None, eps=config.text_config.rms_norm_eps),
        merge=merge,
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )


def _mlp(tensors: TowerTensors, config: Any, folder: Path, choice: TowerChoice) -> FoldedProjector:
    activation, width = config.projector_hidden_act, config.text_config.hidden_size
    if activation not in ACTIVATIONS:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has projector_hidden_act {activation!r}; "
            f"supported are {', '.join(ACTIVATIONS)}"
        )

    def linear(name: str, inputs: int) -> Linear:
        weight = tensors.take(f"{_PREFIX}.{name}.weight", (width, inputs))
        biased = config.multimodal_projector_bias
        return Linear(weight, tensors.take(f"{_PREFIX}.{name}.bias", (width,)) if biased else None)

    return fold_projector(
        (linear("linear_1", config.vision_config.hidden_size), linear("linear_2", width)),
        activation=activation,
        dtype=choice.dtype,
        device=choice.device,
        backend=choice.backend,
    )
