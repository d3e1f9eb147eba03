"""What every family's vision tower offers, and which families have one. Imports torch; the gateway never comes here."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from transformers.image_processing_base import ImageProcessingMixin
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from kernels.backend import Backend, BackendUnavailable, choose_backend
from kernels.blocks import Body, UnsupportedLayer
from kernels.runner import Form
from service.domain import TilePlan
from service.errors import ConfigurationError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_FAMILIES = {
    "internvl": ("service.families.internvl.tower", "InternVLTower"),
    "qwen2_5_vl": ("service.families.qwen_vl.tower", "QwenVLTower"),
}


@dataclass(frozen=True, slots=True, eq=False)
class TiledImage:
    """An image's pixels, cut as its plan says."""

    plan: TilePlan
    views: Sequence[torch.Tensor]
    """Per view of the plan, uint8 [tiles, tile_height, tile_width, 3], row by row."""

    @property
    def tiles(self) -> int:
        return sum(map(len, self.views))


class Tower(Protocol):
    """Vision encoder and projector of a checkpoint: pixels to soft tokens. Used by one thread."""

    @property
    def width(self) -> int:
        """Numbers in a soft-token row."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def backend(self) -> Backend:
        """The kernels' implementation that runs."""
        ...

    @property
    def body(self) -> Body:
        """Who runs the transformer blocks."""
        ...

    def encode(self, images: Sequence[TiledImage]) -> list[torch.Tensor]:
        """All tiles of all images in one packed forward.

        Returns per image [rows, width] in `dtype` on `device`, contiguous, in the order of its views and tiles.
        """
        ...

    def bucket(self, plan: TilePlan) -> Hashable:
        """Images whose plans have equal buckets can share one `encode`."""
        ...

    def blank(self, patches: int) -> TiledImage:
        """A grey image that costs as near to `patches` as tiles allow without passing it, one at least."""
        ...


@runtime_checkable
class TileTower(Tower, Protocol):
    """A tower that computes each tile by itself, so that its batches can be staged in chunks and captured.

    Of the families whose `Geometry.tiles_apart` is true.
    """

    @property
    def form(self) -> Form: ...

    def forward(self, tiles: torch.Tensor, out: torch.Tensor) -> None:
        """uint8 tiles on `device` into their rows [tiles · rows of a tile, width], each tile by itself.

        Asks the host for nothing, so that it can be captured.
        """
        ...


class TowerClass(Protocol):
    @classmethod
    def from_checkpoint(
        cls, folder: Path, *, device: torch.device, dtype: torch.dtype, backend: Backend, body: str
    ) -> Tower:
        """Raises ConfigurationError."""
        ...

    @classmethod
    def choose_body(cls, folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
        """Without reading weights. Raises ConfigurationError."""
        ...


def load_tower(
    path: str | Path, *, device: str, dtype: str, backend: str = "auto", body: str = "auto"
) -> Tower:
    """Builds the tower of the checkpoint in folder `path`, reading only the tower's own weights.

    `device` as torch names it; `dtype` one of float32, bfloat16, float16; `backend` of the kernels: auto, triton, cpu
    or reference; `body`: auto, transformers, fused or compiled. Raises ConfigurationError: a family without a tower,
    files that are missing or contradict each other, a device, backend or body that this machine lacks.
    """
    folder, where = Path(path), _device(device)
    return _tower_class(folder).from_checkpoint(
        folder, device=where, dtype=_dtype(dtype), backend=_backend(where, backend), body=body
    )


def choose_parts(
    path: str | Path, *, device: str, dtype: str, backend: str = "auto", body: str = "auto"
) -> tuple[Backend, Body]:
    """What `load_tower` would take with these arguments, without reading weights. Raises ConfigurationError."""
    folder, where = Path(path), torch.device(device)
    chosen = _tower_class(folder).choose_body(folder, device=where, dtype=_dtype(dtype), requested=body)
    return _backend(where, backend), chosen


def resolve_body(
    layer: torch.nn.Module,
    read: Callable[[torch.nn.Module], object],
    choose: Callable[[str | None], Body],
) -> Body:
    """Who runs a tower of layers like `layer`, which may lie on the meta device.

    `read` raises UnsupportedLayer where we cannot; `choose` is told that obstacle, or None, and raises
    BackendUnavailable or ValueError. Raises ConfigurationError.
    """
    obstacle = None
    try:
        read(layer)
    except UnsupportedLayer as error:
        obstacle = f"the tower's layer is another: {error}"
    try:
        return choose(obstacle)
    except (BackendUnavailable, ValueError) as error:
        raise ConfigurationError(f"encoder_body: {error}") from None


def read_normalisation(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of each colour, for pixels of 0 to 1, as transformers' image processor takes them.

    Raises ConfigurationError when there is no file that says anything of it.
    """
    try:
        processor, _ = ImageProcessingMixin.get_image_processor_dict(folder, local_files_only=True)
    except OSError:
        raise ConfigurationError(
            f"model: {folder} has no preprocessor_config.json that can be read"
        ) from None
    # both families' processors have CLIP's by default
    return processor.get("image_mean", OPENAI_CLIP_MEAN), processor.get("image_std", OPENAI_CLIP_STD)


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ConfigurationError(f"dtype: got {name!r}, allowed are {', '.join(DTYPES)}")
    return DTYPES[name]


def _backend(device: torch.device, requested: str) -> Backend:
    try:
        return choose_backend(device, requested)
    except (BackendUnavailable, ValueError) as error:
        raise ConfigurationError(f"kernels: {error}") from None


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"device: got {name!r}, allowed are cpu, cuda and cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            f"device: {name} was asked for and this PyTorch sees no CUDA GPU; choose cpu"
        )
    return device


def _tower_class(folder: Path) -> TowerClass:
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        raise ConfigurationError(
            f"model: {folder / 'config.json'} is missing or holds no JSON object"
        ) from None
    if model_type not in _FAMILIES:
        raise ConfigurationError(
            f"model: {folder} has model_type {model_type!r}; supported are {', '.join(sorted(_FAMILIES))}"
        )
    module, name = _FAMILIES[model_type]
    return cast(TowerClass, getattr(importlib.import_module(module), name))
