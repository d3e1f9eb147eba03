"""A checkpoint's tensors by name, of which only the tower's are read. Knows no family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from service.errors import ConfigurationError

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


class TowerTensors:
    """The tensors that `own_name` wants from the safetensors files in `folder`, each to be taken once.

    `own_name` maps a stored name to the name in the tower, or to None for a tensor of someone else: checkpoints of
    several generations of transformers name the same tensor differently.
    Raises ConfigurationError when a file is missing or cannot be read.
    """

    def __init__(self, folder: Path, own_name: Callable[[str], str | None]) -> None:
        self._folder = folder
        self._tensors: dict[str, torch.Tensor] = {}
        for file, stored in _files(folder).items():
            if stored is not None and not any(map(own_name, stored)):
                continue
            try:
                with safe_open(str(file), framework="pt") as opened:
                    names: list[str] = opened.keys()
                    self._tensors |= {
                        own: opened.get_tensor(name) for name in names if (own := own_name(name))
                    }
            except (OSError, SafetensorError) as error:
                raise ConfigurationError(f"model: {file} cannot be read as safetensors: {error}") from None

    def take(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor as it is stored. Raises ConfigurationError when it is missing or of another shape."""
        tensor = self._tensors.pop(name, None)
        if tensor is None:
            raise ConfigurationError(f"model: {self._folder} has no tensor {name}")
        if tuple(tensor.shape) != shape:
            raise ConfigurationError(
                f"model: {name} in {self._folder} is {list(tensor.shape)}; its config.json asks for {list(shape)}"
            )
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            raise ConfigurationError(
                f"model: {name} in {self._folder} is {tensor.dtype}; quantised towers are not supported"
            )
        return tensor

    def drop(self, name: str) -> None:
        """Skips a tensor that the tower does not use, if there is one."""
        self._tensors.pop(name, None)

    def fill(
        self, module: torch.nn.Module, prefix: str, device: torch.device, dtype: torch.dtype | None
    ) -> None:
        """Gives `module`, built on the meta device, its weights: own copies, frozen, in evaluation mode.

        Without a `dtype` they keep the one in which they are stored.
        """
        weights = {
            name: self.take(f"{prefix}.{name}", tuple(meant.shape)).to(device, dtype, copy=True)
            for name, meant in module.state_dict().items()
        }
        module.load_state_dict(weights, assign=True)
        module.requires_grad_(False).eval()

    def refuse_rest(self) -> None:
        """Raises ConfigurationError when tensors are left: the tower would compute something else without them."""
        if self._tensors:
            first = ", ".join(sorted(self._tensors)[:3])
            raise ConfigurationError(
                f"model: {self._folder} has {len(self._tensors)} tensors that its config.json does not account "
                f"for: {first}"
            )


def _files(folder: Path) -> dict[Path, list[str] | None]:
    """The safetensors files with the names that each holds; None where only the file itself can tell."""
    if not (index := folder / _INDEX).is_file():
        if not (single := folder / _SINGLE).is_file():
            raise ConfigurationError(
                f"model: {folder} has neither {_SINGLE} nor {_INDEX}; other weight formats are not read"
            )
        return {single: None}
    try:
        file_of: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {
            folder / file: [name for name, its in file_of.items() if its == file]
            for file in sorted(set(file_of.values()))
        }
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ConfigurationError(f"model: {index} has no weight_map from tensor names to files") from None
