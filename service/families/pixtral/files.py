"""What a checkpoint's files say about Pixtral's geometry, checked against each other. Standard library only.

Mistral 3 merges patches, and a LLaVA with this tower (Pixtral 12B) does not. How many, how large a patch is, and how
the tokens between lines are called is in processor_config.json, beside the image processor's own file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.checkpoint.files import (
    is_count,
    must_name_image_token,
    must_process_as_we_do,
    read_image_processor,
    read_json,
    read_object,
    read_tokens,
)
from service.errors import ConfigurationError
from service.families.base import FamilyFacts

LOW_EDGE = 512
"""Pixels; OpenAI's `low` looks at an image of 512 × 512."""
MAX_RATIO = 200
"""Of an image's longer side to its shorter one, as in other families. The processor has no bound, but fails where it
would bring a side to less than a pixel: where the ratio passes its edge."""
_TOKEN_NAMES = {
    "image_token": "[IMG]",
    "image_break_token": "[IMG_BREAK]",
    "image_end_token": "[IMG_END]",
}
_SIZE = {"longest_edge": 1024}
_PATCH = 16
_MERGE = {"mistral3": 2}
"""Patches on a side of a cell where config.json does not say, by its model_type; elsewhere they are not merged."""


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of PixtralGeometry. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    must_process_as_we_do(processor, file, ignored=("do_pad",))  # it pads to the largest image of a batch
    vision = read_object(config, "vision_config", folder / "config.json")
    patch, merge = _shape(folder, config, vision)
    edge = _edge(processor, file)
    names, ids = _read_tokens(folder)
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    model_type = config.get("model_type")
    return {
        "facts": FamilyFacts(
            family="pixtral",
            architecture=(config.get("architectures") or ["Mistral3ForConditionalGeneration"])[0],
            placeholders=tuple(names.values()),
            fingerprint=_fingerprint(
                model_type, merge, config.get("vision_feature_layer"), processor, vision
            ),
            max_ratio=min(MAX_RATIO, edge),
            independent_tiles=False,  # a cell's patches attend to the whole image's
        ),
        "patch": patch,
        "merge": merge,
        "edge": edge,
        "own_edge": edge,
        # vLLM's LLaVA asks the tower's configuration, and not the processor
        "fixed_edge": vision.get("image_size", 1024) if model_type == "llava" else None,
        "image_token": ids["image_token"],
        "break_token": ids["image_break_token"],
        "end_token": ids["image_end_token"],
    }


def _whole_processor(folder: Path) -> dict[str, Any]:
    """processor_config.json, which older checkpoints lack."""
    file = folder / "processor_config.json"
    return read_json(file) if file.is_file() else {}


def _shape(folder: Path, config: Mapping[str, Any], vision: Mapping[str, Any]) -> tuple[int, int]:
    """Pixels on a side of a patch, patches on a side of a cell."""
    whole = _whole_processor(folder)
    merge = config.get("spatial_merge_size", _MERGE.get(str(config.get("model_type")), 1))
    found = []
    for name, cut, seen in (
        ("patch_size", whole.get("patch_size", _PATCH), vision.get("patch_size", _PATCH)),
        ("spatial_merge_size", whole.get("spatial_merge_size", 1), merge),
    ):
        if cut != seen or not is_count(cut):
            raise ConfigurationError(
                f"model: {folder / 'processor_config.json'} has {name} {cut!r} and config.json has {seen!r}; needed is "
                "one whole number above 0 in both"
            )
        found.append(cut)
    return found[0], found[1]


def _edge(processor: Mapping[str, Any], file: Path) -> int:
    """The longest edge of a resized image in pixels."""
    size: Any = _SIZE if processor.get("size") is None else processor["size"]
    edge = size.get("longest_edge") if isinstance(size, dict) else None
    if not is_count(edge):
        raise ConfigurationError(f"model: {file} has size {size!r}; needed is a longest_edge in pixels")
    return edge


def _read_tokens(folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Texts and ids; the texts are the tokenizer's, or else the processor's."""
    whole = _whole_processor(folder)
    given = {name: whole.get(name, default) for name, default in _TOKEN_NAMES.items()}
    return read_tokens(folder, given, tuple(given))


def _fingerprint(*decisive: Any) -> str:
    facts = ["pixtral", *decisive]
    return "pixtral-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
