"""Checkpoints that Patchbay has no geometry for, random and made in a moment; vLLM serves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.service import tiny_qwen2_vl
from tests.service import tiny_qwen_vl as qwen

TEXT = {name: value for name, value in qwen.TEXT.items() if name != "rope_parameters"}


def write_text_model(folder: Path) -> None:
    """A Llama, which takes no images."""
    folder.mkdir(exist_ok=True)
    _save(LlamaForCausalLM(LlamaConfig(**TEXT)), folder)
    qwen.write_tokenizer(folder)


def write_bilinear(folder: Path) -> None:
    """A Qwen2-VL whose processor resizes as none of that family's does."""
    tiny_qwen2_vl.write_checkpoint(folder, tokenizer=True)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"resample": 2}))


def _save(model: PreTrainedModel, folder: Path) -> None:
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if "norm" in name else 0.0))
    model.save_pretrained(folder)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
