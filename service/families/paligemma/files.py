"""PaliGemma's geometry from a checkpoint's files, checked against each other. Standard library only.

Every image is squeezed to one square, as by transformers' SiglipImageProcessor. A prompt is the image's soft tokens,
`<bos>`, the text and a newline, as transformers' PaliGemmaProcessor and the authors have it. The released checkpoints
have no chat template; the one that is given to them writes nothing for an image. A `<bos>` that it writes joins with
the layout's own, and the newline is added where it writes none. Papers: Beyer et al. 2024, arXiv:2407.07726, and
Steiner et al. 2024, arXiv:2412.03555.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from service.checkpoint.files import (
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
from service.families.gemma3.files import read_square
from service.families.square import SquareGeometry

TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma": {
        "hidden_size": 3072,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "vocab_size": 256000,
    },
    "gemma2": {
        "hidden_size": 2304,
        "num_attention_heads": 8,
        "num_hidden_layers": 26,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "tie_word_embeddings": True,
        "vocab_size": 256000,
    },
}
"""What config.json may leave out of the language model's part: the defaults of transformers' classes."""
_TOKENS = {"image_token": "<image>", "bos_token": "<bos>", "newline": "\n"}


def read_geometry(path: str | Path) -> SquareGeometry:
    """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

    Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
    """
    folder = Path(path)
    config = read_json(folder / "config.json")
    processor, file = read_image_processor(folder)
    must_process_as_we_do(processor, file)
    vision = read_object(config, "vision_config", folder / "config.json")
    tile, patches = read_square(processor, vision, file)
    if (said := processor.get("image_seq_length", patches)) != patches:
        raise ConfigurationError(
            f"model: {file} has image_seq_length {said!r}, and the tower makes {patches} soft tokens; needed are the "
            "same"
        )
    names, ids = read_tokens(folder, _TOKENS, _TOKENS)
    must_name_image_token(folder, config, names["image_token"], ids["image_token"])
    bos = ids["bos_token"]
    digest = hashlib.sha256(
        json.dumps(["paligemma", processor, vision, bos], sort_keys=True).encode()
    ).hexdigest()
    return SquareGeometry(
        facts=FamilyFacts(
            family="paligemma",
            architecture=(config.get("architectures") or ["PaliGemmaForConditionalGeneration"])[0],
            placeholders=(names["image_token"],),
            fingerprint=f"paligemma-{digest}",
            bidirectional_images=True,
            max_images=1,
        ),
        tile=tile,
        patches=patches,
        layout=SoftLayout(
            target=(),
            runs=(Run(ids["image_token"], patches, embeds=True), Run(bos, 1, embeds=False)),
            joins=((bos, bos, bos),),
            ending=ids["newline"],
        ),
        filter=Filter.BICUBIC,
    )
