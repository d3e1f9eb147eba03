"""LoRA adapters that the operator gives to vLLM: their names, and whether they leave the vision tower alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import ConfigurationError

FLAG = "--lora-modules"
PREFIX = "base_model.model."
"""What PEFT puts before the names of the model's own tensors."""


@dataclass(frozen=True, slots=True)
class Adapter:
    name: str
    path: str


def read_adapters(words: Sequence[str]) -> list[Adapter]:
    """Those of vLLM's flag --lora-modules, as NAME=PATH or as JSON. Raises ConfigurationError for any other form."""
    found: list[Adapter] = []
    taking = False
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            taking = name.replace("_", "-") == FLAG
            if not (taking and equals):
                continue
            word = value
        if taking:
            found.append(_adapter(word))
    return found


def check_adapters(adapters: Sequence[Adapter], owns: Callable[[str], bool]) -> None:
    """Raises ConfigurationError for an adapter that changes the tower, which the engine does not run.

    `owns` says of a tensor's name whether it belongs to tower or projector. Adapters on the hub are not looked into.
    """
    for adapter in adapters:
        for name in _tensors(Path(adapter.path)):
            own = name.removeprefix(PREFIX)
            if owns(own) or owns(f"{own.rpartition('.lora_')[0]}.weight"):
                raise ConfigurationError(
                    f"engine_args: the LoRA adapter {adapter.name} changes the vision tower ({name}), which Patchbay "
                    "runs without adapters: choose images=passthrough"
                )


def _adapter(word: str) -> Adapter:
    try:
        value = (
            json.loads(word)
            if word.startswith("{")
            else dict(zip(("name", "path"), word.split("=", 1), strict=True))
        )
        return Adapter(str(value["name"]), str(value["path"]))
    except (ValueError, KeyError):
        raise ConfigurationError(
            f"engine_args: {FLAG} takes NAME=PATH, or JSON with name and path; got {word!r}"
        ) from None


def _tensors(folder: Path) -> list[str]:
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        return []
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return [name for name in json.loads(stream.read(length)) if name != "__metadata__"]
