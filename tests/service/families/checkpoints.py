"""Checkpoints' files, written and changed by tests of every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from service.families.loading import choose_tower, load_tower
from service.families.towers import Tower


def write_files(folder: Path, contents: dict[str, Any]) -> Path:
    """`contents` by name without `.json`: values, JSON as text, or None for a file that is not there."""
    for name, content in contents.items():
        file = folder / f"{name}.json"
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def edit_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replaces, adds or (None) removes tensors, named with `__` for a dot."""
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        own = name.replace("__", ".")
        if tensor is None:
            del tensors[own]
        else:
            tensors[own] = tensor
    save_file(tensors, folder / "model.safetensors")


def tower_of(folder: Path, *, device: str = "cpu", dtype: str, **options: Any) -> Tower:
    """Chosen with further options of `choose_tower` and loaded, as the service does at its start."""
    return load_tower(folder, choose_tower(folder, device=device, dtype=dtype, **options))
