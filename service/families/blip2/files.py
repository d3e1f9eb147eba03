"""BLIP-2's geometry from a checkpoint's files, checked against each other. Standard library only.

Every image is squeezed to one square, as by transformers' BlipImageProcessor, and becomes as many soft tokens as the
Q-Former has queries. They stand in front of the whole prompt, also of its first word, as transformers' Blip2Processor
has it; no template writes anything for them. Paper: Li et al. 2023, arXiv:2301.12597.
"""

from __future__ import annotations

import hashlib
import json
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
from service.domain import Filter, Run, SoftLayout
from service.errors import ConfigurationError, ServedNowhere
from service.families.base import FamilyFacts
from service.families.gemma3.files import read_square
from service.families.square import SquareGeometry

TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "opt": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "max_position_embeddings": 2048,
        "vocab_size": 50272,
    }
}
VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 1408,
    "image_size": 224,
    "intermediate_size": 6144,
    "num_attention_heads": 16,
    "num_hidden_layers": 39,
    "patch_size": 14,
}
"""What config.json may leave out of each part: the defaults of transformers' classes."""
QUERIES = 32


def read_geometry(path: str | Path) -> SquareGeometry:
    """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

    Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
    """
    folder = Path(path)
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    must_process_as_we_do(processor, file)
    text = read_object(config, "text_config", folder / "config.json").get("model_type", "opt")
    if text not in TEXT_DEFAULTS:
        raise ServedNowhere(
            f"model: {folder / 'config.json'} has a text_config of model_type {text!r}; only 'opt' is supported, here "
            "and by vLLM: near it is a BLIP-2 with OPT, such as Salesforce/blip2-opt-2.7b"
        )
    vision = {**VISION_DEFAULTS, **read_object(config, "vision_config", folder / "config.json")}
    tile, patches = read_square(processor, vision, file)
    queries = _queries(config, folder)
    names, ids = read_tokens(folder, {"image_token": "<image>"}, ("image_token",))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    decisive = ["blip2", processor, vision, config.get("qformer_config"), queries]
    return SquareGeometry(
        facts=FamilyFacts(
            family="blip2",
            architecture=(config.get("architectures") or ["Blip2ForConditionalGeneration"])[0],
            placeholders=(names["image_token"],),
            fingerprint="blip2-" + hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
            max_images=1,
        ),
        tile=tile,
        patches=patches,
        layout=SoftLayout((), (Run(ids["image_token"], queries, embeds=True),)),
        filter=Filter.BICUBIC,
    )


def _queries(config: dict[str, Any], folder: Path) -> int:
    """Soft tokens of an image."""
    queries, file = config.get("num_query_tokens", QUERIES), folder / "processor_config.json"
    said = read_json(file).get("num_query_tokens") if file.is_file() else None
    if not is_count(queries) or said not in (None, queries):
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has num_query_tokens {queries!r} and the processor {said!r}; needed are "
            "the same"
        )
    return queries
