"""LoRA adapters in vLLM's flags: names, and towers that must not be changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from service.engine.adapters import Adapter, check_adapters, read_adapters
from service.errors import ConfigurationError


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], []),
        (["--enable-lora", "--max-num-seqs", "4"], []),
        (["--lora-modules", "a=/x", "b=org/y=z", "--seed", "1=2"], [("a", "/x"), ("b", "org/y=z")]),
        (["--lora_modules=a=/x"], [("a", "/x")]),
        (["--lora-modules", '{"name": "a", "path": "/x", "base_model_name": "m"}'], [("a", "/x")]),
    ],
)
def test_names_are_read_as_vllm_takes_them(words: list[str], found: list[tuple[str, str]]) -> None:
    assert read_adapters(words) == [Adapter(*pair) for pair in found]


@pytest.mark.parametrize("word", ["a", "{}", "{bad"])
def test_other_forms_are_refused(word: str) -> None:
    with pytest.raises(ConfigurationError, match="--lora-modules takes NAME=PATH"):
        read_adapters(["--lora-modules", word])


def adapter(folder: Path, *names: str) -> Adapter:
    save_file({name: torch.zeros(1) for name in names}, folder / "adapter_model.safetensors")
    return Adapter("a", str(folder))


def owns(name: str) -> bool:
    return name.startswith("vision.")


def test_an_adapter_of_the_language_model_is_let_through(tmp_path: Path) -> None:
    check_adapters(
        [adapter(tmp_path, "base_model.model.text.q_proj.lora_A.weight"), Adapter("b", "org/hub")], owns
    )


def test_an_adapter_of_the_tower_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="adapter a changes the vision tower"):
        check_adapters([adapter(tmp_path, "base_model.model.vision.q_proj.lora_A.weight")], owns)
