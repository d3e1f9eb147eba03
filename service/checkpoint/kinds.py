"""What kind of folder a checkpoint's folder is: some look like one and are none. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path

from service.checkpoint.files import read_json
from service.errors import ConfigurationError

LAYOUT = "name a checkpoint in Hugging Face's layout (config.json, tokenizer.json, *.safetensors)"


def must_be_a_model(folder: Path) -> None:
    """Raises ConfigurationError for a folder without config.json, and says what it is instead and what is near."""
    if (folder / "config.json").is_file():
        return
    if (folder / "adapter_config.json").is_file():
        raise ConfigurationError(
            f"model: {folder} is an adapter, not a model: serve {_base(folder)}, and give the adapter to vLLM "
            f"with -- --enable-lora --lora-modules NAME={folder}"
        )
    if any(folder.glob("*.gguf")):
        raise ConfigurationError(
            f"model: {folder} has GGUF files alone, which are not served: {LAYOUT}, such as the one that they were "
            "made of"
        )
    if (folder / "params.json").is_file():
        raise ConfigurationError(f"model: {folder} is in Mistral's own layout (params.json): {LAYOUT}")
    if (folder / "model_index.json").is_file():
        raise ConfigurationError(
            f"model: {folder} is a pipeline of diffusers, which makes images and answers no chat requests"
        )
    raise ConfigurationError(f"model: {folder} has no config.json: {LAYOUT}")


def embeds_texts(folder: Path) -> bool:
    """Whether it is a model of sentence-transformers that ends in a pooling layer; vLLM then offers no chat."""
    file = folder / "modules.json"
    try:
        modules = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        raise ConfigurationError(f"model: {file} is not JSON") from None
    kinds = (
        [entry.get("type") for entry in modules if isinstance(entry, dict)]
        if isinstance(modules, list)
        else []
    )
    return any(str(kind).endswith(".Pooling") for kind in kinds)


def _base(folder: Path) -> str:
    base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    return base if isinstance(base, str) and base else "the model that it was trained on"
