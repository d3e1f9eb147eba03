"""The table of families: one line each. A family is a folder whose face is a `FAMILY`.

Adding one touches its folder and one line here. No torch: towers are imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.checkpoint.files import read_json
from service.errors import ConfigurationError
from service.families.base import Geometry

if TYPE_CHECKING:
    from service.families.towers import TowerLoader

FOLDERS = {
    "blip-2": "blip2",
    "cohere2_vision": "cohere2_vision",
    "gemma3": "gemma3",
    "gemma4": "gemma4",
    "glm4v": "glm4v",
    "glm4v_moe": "glm4v",
    "idefics2": "idefics2",
    "idefics3": "idefics3",
    "internvl": "internvl",
    "lighton_ocr": "lighton_ocr",
    "llava": "llava",
    "llava+pixtral": "pixtral",
    "llava_next": "llava_next",
    "llava_onevision": "llava_onevision",
    "mistral3": "pixtral",
    "mistral3+qwen3": "lighton_ocr",
    "paddleocr_vl": "paddleocr_vl",
    "paligemma": "paligemma",
    "qwen2_5_vl": "qwen_vl",
    "qwen2_vl": "qwen2_vl",
    "qwen3_5": "qwen3_5",
    "qwen3_5_moe": "qwen3_5",
    "qwen3_vl": "qwen3_vl",
    "qwen3_vl_moe": "qwen3_vl",
    "smolvlm": "idefics3",
}
"""`model_type` of config.json, followed by that of its vision_config or text_config where that makes another family of
it: folder."""


@dataclass(frozen=True, slots=True)
class Family:
    geometry: Callable[[Path], Geometry]
    """Reads the folder of a checkpoint. Raises ConfigurationError naming what is missing, contradictory or not
    supported."""
    tower: Callable[[], TowerLoader]
    """Imports torch."""
    owns: Callable[[str], bool]
    """Whether a stored tensor of that name belongs to tower or projector."""
    text_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What config.json may leave out of the language model's part, by that part's model_type."""
    vision_sizes: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    """A vision_config with the tower's sizes under the names that most have: hidden_size, depth, intermediate_size."""


def family_of(folder: Path) -> Family:
    """The family of the checkpoint in `folder`, by the `model_type` of its config.json. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    model_type = config.get("model_type")
    parts = [part for name in ("vision_config", "text_config") if isinstance(part := config.get(name), dict)]
    names = [*(f"{model_type}+{part.get('model_type')}" for part in parts), str(model_type)]
    name = next((FOLDERS[known] for known in names if known in FOLDERS), None)
    if name is None:
        raise ConfigurationError(
            f"model: {folder} has model_type {model_type!r}; supported are {', '.join(sorted(FOLDERS))}"
        )
    family: Family = import_module(f"service.families.{name}").FAMILY
    return family
