"""Model families: what differs between vision-language checkpoints, behind one protocol.

A family is a folder: its geometry (standard library only) and its tower (torch). This module knows which families
there are and nothing about any of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from service.errors import ConfigurationError
from service.families.base import Geometry
from service.families.internvl.geometry import InternVLGeometry
from service.families.qwen_vl.geometry import QwenVLGeometry

__all__ = ["Geometry", "load_geometry"]

_FAMILIES: dict[str, Callable[[Path], Geometry]] = {
    "internvl": InternVLGeometry.from_checkpoint,
    "qwen2_5_vl": QwenVLGeometry.from_checkpoint,
}


def load_geometry(path: str | Path, max_image_tokens: int | None = None) -> Geometry:
    """The geometry of the checkpoint in folder `path`, by the `model_type` of its config.json.

    `max_image_tokens` is the operator's bound on the soft tokens of one image. Raises ConfigurationError: no such file,
    a family that is not supported, files that contradict each other, or a bound that the smallest images pass.
    """
    folder = Path(path)
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        raise ConfigurationError(
            f"model: {folder / 'config.json'} is missing or holds no JSON object"
        ) from None
    family = _FAMILIES.get(str(model_type))
    if family is None:
        raise ConfigurationError(
            f"model: {folder} has model_type {model_type!r}; supported are {', '.join(sorted(_FAMILIES))}"
        )
    geometry = family(folder)
    return geometry if max_image_tokens is None else geometry.limited(max_image_tokens)
