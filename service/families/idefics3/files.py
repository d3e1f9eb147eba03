"""What a checkpoint's files say about Idefics3's geometry, checked against each other. Standard library only.

SmolVLM has the same files; some of its tokens may be named by the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.checkpoint.files import (
    LANCZOS,
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

_TOKENS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
}
_NEWLINES = {"newline": "\n", "bytes of a newline": "Ċ", "newlines": "\n\n", "bytes of newlines": "ĊĊ"}
"""One and two, as themselves or in the alphabet of byte-level tokenizers."""
_MOST_TILES = 10
"""In a row or column; the words of released tokenizers end with row 6 and column 6."""
_LONGEST = 4096
"""The processor shrinks what is longer once more."""
_CLASSES = {"idefics3": "Idefics3ForConditionalGeneration", "smolvlm": "SmolVLMForConditionalGeneration"}


def read_facts(folder: Path) -> dict[str, Any]:
    """The fields of Idefics3Geometry. Raises ConfigurationError."""
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    must_process_as_we_do(processor, file, resamples=(LANCZOS,), ignored=("do_pad",))
    if not processor.get("do_image_splitting", True):
        raise ConfigurationError(f"model: {file} has do_image_splitting = False; only True is supported")
    vision = read_object(config, "vision_config", folder / "config.json")
    tile, most = _sizes(processor, vision, file)
    patches, tokens = _per_tile(config, vision, tile, folder)
    words = {f"row {r} column {c}": f"<row_{r}_col_{c}>" for r, c in _grid(most)}
    names, ids = read_tokens(folder, _TOKENS | _NEWLINES | words, (*_TOKENS, *words))
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    family = str(config.get("model_type"))
    decisive = [family, processor, vision, config.get("scale_factor")]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return {
        "facts": FamilyFacts(
            family=family,
            architecture=(config.get("architectures") or [_CLASSES[family]])[0],
            placeholders=tuple(names[name] for name in (*_TOKENS, *words)),
            fingerprint=f"{family}-{digest}",
        ),
        "tile": tile,
        "most": most,
        "patches": patches,
        "tokens": tokens,
        "image_token": ids["image_token"],
        "fake_token": ids["fake_image_token"],
        "global_token": ids["global_image_token"],
        "newline": _newline(ids, folder),
        "newlines": ids.get("newlines", ids.get("bytes of newlines")),
        "words": tuple(tuple(ids[f"row {r} column {c}"] for c in _sides(most)) for r in _sides(most)),
    }


def _sides(most: int) -> range:
    return range(1, most + 1)


def _grid(most: int) -> list[tuple[int, int]]:
    return [(row, column) for row in _sides(most) for column in _sides(most)]


def _newline(ids: Mapping[str, int], folder: Path) -> int:
    found = ids.get("newline", ids.get("bytes of a newline"))
    if found is None:
        raise ConfigurationError(f"model: {folder / 'tokenizer.json'} has no token for a newline")
    return found


def _sizes(processor: Mapping[str, Any], vision: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """Pixels on a side of a tile, and the most tiles on a side of an image."""
    longest, tile = (_longest_edge(processor, *named) for named in (("size", 1456), ("max_image_size", 364)))
    side = vision.get("image_size", 224)
    if not is_count(tile) or tile != side or tile % 2:
        raise ConfigurationError(
            f"model: {file} has max_image_size {processor.get('max_image_size')!r} and the tower takes images of "
            f"{side!r} pixels; needed is that as longest_edge, an even number"
        )
    if not is_count(longest) or longest % tile or longest > min(_LONGEST, _MOST_TILES * tile):
        raise ConfigurationError(
            f"model: {file} has size {processor.get('size')!r}; needed is a longest_edge in whole tiles of {tile} "
            f"pixels, at most {_MOST_TILES} and {_LONGEST} pixels"
        )
    return tile, longest // tile


def _longest_edge(processor: Mapping[str, Any], name: str, default: int) -> Any:
    size = processor.get(name, {"longest_edge": default})
    return size.get("longest_edge") if isinstance(size, dict) else None


def _per_tile(
    config: Mapping[str, Any], vision: Mapping[str, Any], tile: int, folder: Path
) -> tuple[int, int]:
    """(patches through the tower, soft tokens) of one tile."""
    patch, scale = vision.get("patch_size", 32), config.get("scale_factor", 2)
    grid = tile // patch if is_count(patch) else 0
    if not grid or not is_count(scale) or grid % scale:
        raise ConfigurationError(
            f"model: {folder / 'config.json'} gives tiles of {tile} pixels, patch_size {patch!r} and scale_factor "
            f"{scale!r}, which do not divide evenly"
        )
    tokens = (grid // scale) ** 2
    file = folder / "processor_config.json"
    said = read_json(file).get("image_seq_len", 169) if file.is_file() else 169
    if said != tokens:
        raise ConfigurationError(f"model: {file} gives image_seq_len {said!r}; the tower makes {tokens}")
    return grid * grid, tokens
