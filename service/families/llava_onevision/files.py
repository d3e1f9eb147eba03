"""What a checkpoint's files say about LLaVA-OneVision's geometry, checked against each other. Standard library only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from service.checkpoint.files import read_json, read_tokens
from service.errors import ConfigurationError
from service.families.llava.files import Defaults
from service.families.llava_next.files import read_facts

PINPOINTS = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
"""(height, width) of the canvases where the files say nothing; of transformers' LlavaOnevisionConfig."""
DEFAULTS = Defaults("siglip_vision_model", 224, 16, "full")
MOST = "anyres_max_9"
"""The only `vision_aspect_ratio` that vLLM knows, and the one of every released checkpoint."""
TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen2": {
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "vocab_size": 151936,
    }
}
"""What config.json may leave out of the language model's part: the defaults of transformers' class."""


def read_onevision(folder: Path) -> dict[str, Any]:
    """The fields of LlavaOnevisionGeometry. Raises ConfigurationError."""
    for file in (folder / "config.json", folder / "processor_config.json"):
        said = read_json(file).get("vision_aspect_ratio", MOST) if file.is_file() else MOST
        if said != MOST:
            raise ConfigurationError(
                f"model: {file} has vision_aspect_ratio {said!r}; only {MOST!r} is supported, here and by vLLM"
            )
    facts = read_facts(
        folder,
        "llava_onevision",
        "LlavaOnevisionForConditionalGeneration",
        defaults=DEFAULTS,
        pinpoints=PINPOINTS,
    )
    names, ids = read_tokens(folder, {"video_token": "<video>"}, ())
    own = facts["facts"]
    placeholders = (*own.placeholders, *(names[name] for name in ids))
    return facts | {"facts": replace(own, placeholders=placeholders)}
