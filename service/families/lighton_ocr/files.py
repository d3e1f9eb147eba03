"""What a checkpoint's files say about LightOnOCR's geometry, checked against each other. Standard library only.

Sides are rounded up to whole cells, as in vLLM, with which the released models were evaluated (see their model cards).
Transformers' processor rounds them to the image processor's `patch_size`, and where that is a patch's and not a cell's,
leaves odd lines of patches out of the soft tokens.
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
from service.domain import LanguageModel
from service.errors import ConfigurationError
from service.families.base import FamilyFacts
from service.families.lighton_ocr.names import TEXT_PREFIX
from service.families.pixtral.files import MAX_RATIO

ARCHITECTURES = {
    "lighton_ocr": "LightOnOcrForConditionalGeneration",
    "mistral3": "LightOnOCRForConditionalGeneration",
}
"""By model_type: of what transformers saves, which vLLM has no class for, and of the released files, which vLLM serves
and transformers reads if it is told its class."""
TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen3": {
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "num_hidden_layers": 32,
        "max_position_embeddings": 32768,
        "vocab_size": 151936,
    }
}
"""What config.json may leave out of the language model's part: the defaults of transformers' Qwen3Config."""
PATCH, MERGE, EDGE, EPS = 16, 2, 1024, 1e-6
"""What files may leave out: of PixtralVisionConfig, LightOnOcrConfig, PixtralImageProcessor and Qwen3Config."""
PROCESSORS = {
    "lighton_ocr": {"patch_size": 14, "spatial_merge_size": MERGE},
    "mistral3": {"patch_size": 16, "spatial_merge_size": 1},
}
"""The same of LightOnOcrProcessor, and of PixtralProcessor, which vLLM takes."""
_TOKENS = {
    "image_token": "<|image_pad|>",
    "image_break_token": "<|vision_pad|>",
    "image_end_token": "<|vision_end|>",
}
FIXED = {"projector_hidden_act": "gelu", "multimodal_projector_bias": False, "vision_feature_layer": -1}
"""What the model's class has, and the released config.json repeats."""


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of LightOnOcrGeometry. Raises ConfigurationError."""
    file = folder / "config.json"
    config = read_json(file)
    processor, image_file = read_image_processor(folder)
    # it pads to the largest image of a batch
    must_process_as_we_do(processor, image_file, ignored=("do_pad",))
    vision = read_object(config, "vision_config", file)
    architecture = _must_be_its_model(config, file)
    released, whole = config["model_type"] == "mistral3", _read_whole(folder)
    patch, merge = _shape(config, vision, whole, folder)
    edge = _edge(processor, image_file)
    names, ids = read_tokens(
        folder, {name: whole.get(name, text) for name, text in _TOKENS.items()}, tuple(_TOKENS)
    )
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    return {
        "facts": FamilyFacts(
            family="lighton_ocr",
            architecture=architecture,
            placeholders=tuple(names.values()),
            fingerprint=_fingerprint(config, processor, vision, merge),
            max_ratio=min(MAX_RATIO, edge),
            independent_tiles=False,  # a cell's patches attend to the whole image's
            language=None
            if released
            else LanguageModel("Qwen3ForCausalLM", TEXT_PREFIX, names["image_token"]),
        ),
        "patch": patch,
        "merge": merge,
        "edge": edge,
        "own_edge": edge,
        # vLLM's class asks the tower's configuration, and not the processor
        "fixed_edge": vision.get("image_size", EDGE) if released else None,
        "image_token": ids["image_token"],
        "break_token": ids["image_break_token"],
        "end_token": ids["image_end_token"],
    }


def _must_be_its_model(config: Mapping[str, Any], file: Path) -> str:
    """Its architecture."""
    architecture = ARCHITECTURES[config["model_type"]]
    text = read_object(config, "text_config", file).get("model_type", "qwen3")
    for name, value, needed in (
        ("architectures", (config.get("architectures") or [architecture])[0], architecture),
        ("a text_config of model_type", text, "qwen3"),
        *((name, config.get(name, needed), needed) for name, needed in FIXED.items()),
    ):
        if value != needed:
            raise ConfigurationError(f"model: {file} has {name} {value!r}; LightOnOCR's is {needed!r}")
    return architecture


def _read_whole(folder: Path) -> dict[str, Any]:
    """processor_config.json, beside the image processor's own file or around it."""
    file = folder / "processor_config.json"
    return read_json(file) if file.is_file() else {}


def _shape(
    config: Mapping[str, Any], vision: Mapping[str, Any], whole: Mapping[str, Any], folder: Path
) -> tuple[int, int]:
    """Pixels on a side of a patch, patches on a side of a cell."""
    of_model = {
        "patch_size": vision.get("patch_size", PATCH),
        "spatial_merge_size": config.get("spatial_merge_size", MERGE),
    }
    for name, seen in of_model.items():
        cut = whole.get(name, PROCESSORS[config["model_type"]][name])
        if cut != seen or not is_count(cut):
            raise ConfigurationError(
                f"model: {folder} cuts with {name} {cut!r} (processor_config.json) and sees {seen!r} (config.json); "
                "needed is one whole number above 0 in both"
            )
    return of_model["patch_size"], of_model["spatial_merge_size"]


def _edge(processor: Mapping[str, Any], file: Path) -> int:
    """Pixels of a resized image's longer side at most."""
    size = processor.get("size") or {"longest_edge": EDGE}
    if not isinstance(size, dict) or not is_count(edge := size.get("longest_edge")):
        raise ConfigurationError(f"model: {file} has size {size!r}; needed is a longest_edge in pixels")
    return edge


def _fingerprint(
    config: Mapping[str, Any], processor: Mapping[str, Any], vision: Mapping[str, Any], merge: int
) -> str:
    eps = config["text_config"].get("rms_norm_eps", EPS)  # of the norm in front of the merger too
    facts = json.dumps(["lighton_ocr", merge, eps, processor, vision], sort_keys=True)
    return "lighton_ocr-" + hashlib.sha256(facts.encode()).hexdigest()
