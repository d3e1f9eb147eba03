"""Small LoRA adapters of the embedded model, as PEFT writes them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

RANK = 4
SIDE = 192
"""Width of the language model's projections."""
LANGUAGE = "base_model.model.model.language_model.layers.{}.self_attn.{}_proj"
TOWER = "base_model.model.model.vision_tower.encoder.layer.{}.attention.{}_proj"


def write_adapter(folder: Path, modules: str = LANGUAGE, *, side: int = SIDE, layers: int = 4) -> Path:
    """Random weights, large enough to change what the model says."""
    generator = torch.Generator().manual_seed(7)
    tensors = {}
    for layer in range(layers):
        for projection in ("q", "v"):
            name = modules.format(layer, projection)
            tensors[f"{name}.lora_A.weight"] = torch.randn(RANK, side, generator=generator)
            tensors[f"{name}.lora_B.weight"] = torch.randn(side, RANK, generator=generator)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "base_model_name_or_path": "patchbay-demo",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
