"""Gemma 3's geometry from a checkpoint's files, checked against each other. Standard library only.

Every image is squeezed to one square, as by transformers' Gemma3ImageProcessor without pan-and-scan (which is off in
the released checkpoints, and as vLLM has it). In the prompt it is `\\n\\n<start_of_image>`, the soft tokens,
`<end_of_image>\\n\\n` in the place of the one `<start_of_image>` that the chat template writes. The tokenizer has a
token for each number of newlines, so the layout's own join with those beside it. Paper: Gemma Team 2025,
arXiv:2503.19786.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

from service.checkpoint.files import (
    BILINEAR,
    is_count,
    must_name_image_token,
    must_process_as_we_do,
    read_image_processor,
    read_json,
    read_object,
    read_tokens,
)
from service.domain import Filter, Run, SoftLayout
from service.errors import ConfigurationError
from service.families.base import FamilyFacts
from service.families.square import SquareGeometry

TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "hidden_size": 2304,
        "num_attention_heads": 8,
        "num_hidden_layers": 26,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "tie_word_embeddings": True,
        "vocab_size": 262208,
    }
}
"""What config.json may leave out of the language model's part: the defaults of transformers' class."""
_TOKENS = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
_MOST_NEWLINES = 32
"""Gemma's tokenizer has tokens of up to 31."""


def read_geometry(path: str | Path) -> SquareGeometry:
    """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

    Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
    """
    folder = Path(path)
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    must_process_as_we_do(processor, file, resamples=(BILINEAR,))
    if processor.get("do_pan_and_scan"):
        raise ConfigurationError(f"model: {file} has do_pan_and_scan = True; only False is supported")
    vision = read_object(config, "vision_config", folder / "config.json")
    tile, patches = read_square(processor, vision, file)
    tokens = _tokens(config, isqrt(patches), folder)
    newlines = {f"newlines {count}": "\n" * count for count in range(1, _MOST_NEWLINES + 1)}
    names, ids = read_tokens(folder, _TOKENS | newlines, (*_TOKENS, "newlines 2"))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    decisive = ["gemma3", processor, vision, config.get("mm_tokens_per_image")]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return SquareGeometry(
        facts=FamilyFacts(
            family="gemma3",
            architecture=(config.get("architectures") or ["Gemma3ForConditionalGeneration"])[0],
            placeholders=tuple(names[name] for name in _TOKENS),
            fingerprint=f"gemma3-{digest}",
            bidirectional_images=True,
        ),
        tile=tile,
        patches=patches,
        layout=_layout(ids, tokens),
        filter=Filter.BILINEAR,
    )


def read_square(processor: Mapping[str, Any], vision: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """(pixels on a side, patches) of the one tile. Raises ConfigurationError."""
    size, side, patch = processor.get("size"), vision.get("image_size", 224), vision.get("patch_size", 16)
    if not (is_count(side) and is_count(patch)) or side % patch or size != {"height": side, "width": side}:
        raise ConfigurationError(
            f"model: {file} has size {size!r}, and the tower image_size {side!r} and patch_size {patch!r}; needed is "
            "a square of the tower's size, in whole patches"
        )
    return side, (side // patch) ** 2


def _tokens(config: Mapping[str, Any], grid: int, folder: Path) -> int:
    """Soft tokens of an image, of `grid` × `grid` patches."""
    tokens = config.get("mm_tokens_per_image", 256)
    side = isqrt(tokens) if is_count(tokens) else 0
    if not side or side * side != tokens or grid % side:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has mm_tokens_per_image {tokens!r}; needed is the square of a divisor of "
            f"{grid}, the patches on a side of the image"
        )
    file = folder / "processor_config.json"
    said = read_json(file).get("image_seq_length", 256) if file.is_file() else 256
    if said != tokens:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} has mm_tokens_per_image {tokens} and the processor image_seq_length "
            f"{said!r}; needed are the same"
        )
    return int(tokens)


def _layout(ids: Mapping[str, int], tokens: int) -> SoftLayout:
    two = ids["newlines 2"]
    joins: dict[tuple[int, int], int] = {}
    for count in range(1, _MOST_NEWLINES - 1):
        one, longer = ids.get(f"newlines {count}"), ids.get(f"newlines {count + 2}")
        if one is not None and longer is not None:
            joins[one, two] = joins[two, one] = longer
    runs = (
        Run(two, 1, embeds=False),
        Run(ids["boi_token"], 1, embeds=False),
        Run(ids["image_token"], tokens, embeds=True),
        Run(ids["eoi_token"], 1, embeds=False),
        Run(two, 1, embeds=False),
    )
    return SoftLayout((ids["boi_token"],), runs, joins=tuple((*met, joined) for met, joined in joins.items()))
