"""What a checkpoint's files say before anything is loaded: sizes, width, context, number format.

Standard library only, except for hub ids, which huggingface_hub resolves to a folder. Knows no family: geometry and
towers read their own parts.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.checkpoint.files import read_json
from service.checkpoint.kinds import must_be_a_model
from service.checkpoint.layers import attention_layers, has_gated_delta, state_bytes
from service.errors import ConfigurationError

SMALL_FILES = ["*.json", "*.jinja", "*.txt"]
"""Everything about a checkpoint except its weights."""
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    path: Path
    name: str
    """Its default model name: the hub id, or the folder's name."""
    architecture: str
    dtype: str
    """`float32`, `bfloat16` or `float16`, as config.json says; `auto` where it says nothing that is expected."""
    hidden_size: int
    """Width of a soft-token row in the language model."""
    vision_hidden: int
    """Width inside the vision tower; 0 where there is none."""
    context: int
    """Maximum length of prompt and answer together, in tokens."""
    vision_bytes: int
    """Bytes of tower and projector."""
    text_bytes: int
    kv_bytes_per_token: int
    state_bytes: int
    """What recurrent layers hold of one sequence, however long it is; 0 where every layer has keys and values."""
    gated_delta: bool
    """Whether some of the language model's layers are of gated-delta attention."""
    chat_template: str | None
    """Jinja text, or None when the checkpoint has none."""
    text_config: Mapping[str, Any] = field(repr=False)
    """The language model's part of config.json, and its defaults."""
    vision_config: Mapping[str, Any] = field(repr=False)
    tied: bool
    """Whether input and output embeddings are the same."""
    fingerprint: str
    """Changes with the weights or the configuration: part of every cache key."""


def read_checkpoint(
    path: Path,
    *,
    name: str,
    owns: Callable[[str], bool],
    text_defaults: Mapping[str, Mapping[str, Any]],
    vision_sizes: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    weights: bool = True,
    complete: bool = True,
) -> Checkpoint:
    """Reads the folder `path`.

    `owns` says of a tensor's name whether it is the tower's or the projector's; `text_defaults` are what config.json
    may leave out of the language model's part, by its model_type; `vision_sizes` puts the tower's sizes in a
    vision_config under the names that most have. With `weights` false the weights need not be there:
    where they are missing, their bytes are calculated from the configuration, which needs transformers. With
    `complete` false, numbers that config.json does not have where they are expected are 0, the dtype is `auto`, and
    weights of any format are counted.

    Raises ConfigurationError naming the file that is missing or the field that is.
    """
    config = read_json(path / "config.json")
    text = config.get("text_config") or config.get("llm_config") or config
    text = {**text_defaults.get(str(text.get("model_type")), {}), **text}
    vision_config = vision_sizes(config.get("vision_config") or {})
    there = weights or any(path.glob("*.safetensors"))
    if there:
        _must_be_whole(path)
    if not complete:
        vision, rest = 0, sum(file.stat().st_size for file in _weight_files(path))
    else:
        vision, rest = _weight_bytes(path, owns) if there else _bytes_of_config(path, owns)
    unsaid = "float32" if complete else "auto"
    dtype = str(config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or unsaid)

    def number(name: str) -> int:
        return _number(text, name, path) if complete or isinstance(text.get(name), int) else 0

    heads, hidden, layers = (
        number(name) for name in ("num_attention_heads", "hidden_size", "num_hidden_layers")
    )
    head = text.get("head_dim") or hidden // max(1, heads)
    kv_heads = text.get("num_key_value_heads") or heads
    item = 4 if dtype == "float32" else 2
    return Checkpoint(
        path=path,
        name=name,
        architecture=(config.get("architectures") or ["unknown"])[0],
        dtype=dtype,
        hidden_size=hidden,
        vision_hidden=vision_config.get("hidden_size", 0),
        context=number("max_position_embeddings"),
        vision_bytes=vision,
        text_bytes=rest,
        kv_bytes_per_token=2 * attention_layers(text, layers) * kv_heads * head * item,
        state_bytes=state_bytes(text, layers, item),
        gated_delta=has_gated_delta(text, layers),
        chat_template=_chat_template(path),
        text_config=text,
        vision_config=vision_config,
        tied=bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings")),
        fingerprint=_fingerprint(path),
    )


def resolve(model: str, revision: str | None, *, weights: bool = True) -> Path:
    """The checkpoint's folder; a hub id is looked up, and downloaded where that is possible, `weights` or not.

    Raises ConfigurationError when there is none, or when it is the folder of something else.
    """
    folder = Path(model).expanduser()
    found = folder if folder.is_dir() else _downloaded(model, revision, weights=weights)
    must_be_a_model(found)
    return found


def _downloaded(model: str, revision: str | None, *, weights: bool) -> Path:
    if Path(model).expanduser().is_absolute() or model.startswith("."):
        raise ConfigurationError(f"model: {model} is no folder")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise ConfigurationError(
            f"model: {model} is no folder, and huggingface_hub is not installed"
        ) from None
    try:
        return Path(
            snapshot_download(model, revision=revision, allow_patterns=None if weights else SMALL_FILES)
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"model: {model} is neither a folder nor to be had from the hub ({type(error).__name__})"
        ) from None


def _number(config: Mapping[str, Any], name: str, path: Path) -> int:
    if not isinstance(value := config.get(name), int):
        raise ConfigurationError(f"model: {path / 'config.json'} has no {name} for the language model")
    return value


def _chat_template(path: Path) -> str | None:
    if (file := path / "chat_template.jinja").is_file():
        return file.read_text()
    if (path / "chat_template.json").is_file():
        template = read_json(path / "chat_template.json").get("chat_template")
    elif (path / "tokenizer_config.json").is_file():
        template = read_json(path / "tokenizer_config.json").get("chat_template")
    else:
        template = None
    return template if isinstance(template, str) else None


def _weight_files(path: Path) -> list[Path]:
    """Raises ConfigurationError when there are none."""
    for pattern in ("*.safetensors", "*.bin", "*.pt", "*.pth"):
        if found := sorted(path.glob(pattern)):
            return found
    gguf = "; GGUF files alone are not served: name a checkpoint in Hugging Face's layout"
    raise ConfigurationError(f"model: {path} has no weights{gguf if any(path.glob('*.gguf')) else ''}")


def _must_be_whole(path: Path) -> None:
    """Raises ConfigurationError when the index names files that are not there."""
    missing = sorted(name for name in _named(path) or () if not (path / name).is_file())
    if missing:
        raise ConfigurationError(
            f"model: {path / INDEX} names files that are not there, such as {missing[0]} ({len(missing)} in all): the "
            "download or the copy is incomplete"
        )


def _weight_bytes(path: Path, owns: Callable[[str], bool]) -> tuple[int, int]:
    """(tower and projector, everything else), from the headers of the safetensors files."""
    vision = rest = 0
    if not any(path.glob("*.safetensors")):
        raise ConfigurationError(f"model: {path} has no .safetensors file; other weight formats are not read")
    for file in _indexed(path):
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            if owns(name):
                vision += end - begin
            else:
                rest += end - begin
    return vision, rest


def _indexed(path: Path) -> list[Path]:
    """The safetensors files that the index names, or all: Mistral's checkpoints hold the same weights once more."""
    names = _named(path)
    return [file for file in sorted(path.glob("*.safetensors")) if names is None or file.name in names]


def _named(path: Path) -> set[str] | None:
    """The files in which the index has tensors; None without an index."""
    named = read_json(path / INDEX).get("weight_map") if (path / INDEX).is_file() else None
    return {str(name) for name in named.values()} if isinstance(named, dict) else None


def _bytes_of_config(path: Path, owns: Callable[[str], bool]) -> tuple[int, int]:
    """The same without weights: the model that transformers makes of config.json, on its device without memory."""
    try:
        import torch
        from transformers import AutoConfig, AutoModelForImageTextToText
    except ImportError as error:
        raise ConfigurationError(
            f"model: {path} has no .safetensors file, and reckoning its size without needs {error.name}, "
            "which is not installed"
        ) from None
    try:
        config = AutoConfig.from_pretrained(path)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except (ValueError, KeyError, OSError) as error:
        raise ConfigurationError(
            f"model: transformers makes no model of {path / 'config.json'}: {error}"
        ) from None
    item = (config.dtype or torch.float32).itemsize
    vision = sum(p.numel() for name, p in model.named_parameters() if owns(name))
    return vision * item, (model.num_parameters() - vision) * item


def _fingerprint(path: Path) -> str:
    """SHA-256 over the small files whole and over name, size and tensor table of the weights.

    Weights of equal shapes saved under equal names by two trainings differ in their first bytes in practice; a
    megabyte of each file is taken along for that.
    """
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        if not file.is_file() or file.suffix not in (".json", ".safetensors", ".jinja"):
            continue
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(1024**2))
            if file.stat().st_size > 2 * 1024**2:
                stream.seek(-(1024**2), 2)
                digest.update(stream.read())
    return digest.hexdigest()
