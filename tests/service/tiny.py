"""What the tiny checkpoints of several families have in common: random weights, the hub's names, a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.service.tiny_qwen_vl import FIRST_SPECIAL, WORDS

MEAN = [0.48, 0.46, 0.41]
STD = [0.27, 0.26, 0.28]
LENGTH = 4096
"""Of prompt and answer together, in tokens."""


def token_ids(texts: Sequence[str]) -> dict[str, int]:
    """The ids that `write_tokenizer` gives to them."""
    return {text: FIRST_SPECIAL + number for number, text in enumerate(texts)}


@torch.no_grad()
def randomise(model: torch.nn.Module) -> None:
    """Every parameter random, so that none can be left out, and norms about one, so that all layers count."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        scale = 0.1 if parameter.ndim == 4 else 0.2  # each patch is a sum over 588 bytes
        centre = 1.0 if "norm" in name and "Gemma" not in type(_owner(model, name)).__name__ else 0.0
        parameter.copy_(torch.randn_like(parameter) * scale + centre)


def _owner(model: torch.nn.Module, parameter: str) -> torch.nn.Module:
    return model.get_submodule(parameter.rpartition(".")[0])


@torch.no_grad()
def speak_up(embeddings: torch.Tensor, last_norm: torch.Tensor) -> None:
    """A model whose table of words is also its output repeats its last word, unless the table is small; then its last
    norm makes up for it. For Gemma, whose norms multiply with one more than their weight."""
    embeddings.mul_(0.25)
    last_norm.add_(7.0)


def name_as_the_hub_does(file: Path) -> None:
    """transformers 5 leaves `vision_model` out of the names in a `vision_tower`."""
    tensors = load_file(file)
    named = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        if name.startswith("vision_tower.") and ".vision_model." not in name
        else name: tensor
        for name, tensor in tensors.items()
    }
    save_file(named, file, {"format": "pt"})


def write_tokenizer(
    folder: Path, texts: Sequence[str], template: str | None, *, plain: Sequence[str] = (), **settings: Any
) -> None:
    """The embedded model's words and a family's tokens; those in `plain` are words and no special tokens."""
    words = json.loads(WORDS.read_text(encoding="utf-8"))
    looks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    words["added_tokens"] = [
        {"id": number, "content": text, **looks, "special": text not in plain}
        for text, number in token_ids(texts).items()
    ]
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    given = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": LENGTH,
        **settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(given))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)


def write_json(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content))


def pictures(sizes: Sequence[tuple[int, int]], *, seed: int = 0) -> list[Image.Image]:
    """Noise, so that no two pixels or patches are alike."""
    generator = np.random.default_rng(seed)
    return [
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]
