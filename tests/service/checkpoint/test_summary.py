"""What is read of a checkpoint before anything is loaded, in the hub's own names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from service.errors import ConfigurationError
from service.families import load_checkpoint, load_opaque
from tests.service import tiny_others

# Qwen2.5-VL as the hub has it: the language model's fields beside the vision tower's, not within a text_config
FLAT = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "hidden_size": 64,
    "max_position_embeddings": 128000,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "torch_dtype": "bfloat16",
    "vision_config": {"depth": 3, "hidden_size": 32, "out_hidden_size": 64},
}
WEIGHTS = {
    "visual.patch_embed.proj.weight": 100,
    "visual.blocks.0.attn.qkv.weight": 20,
    "visual.merger.mlp.0.weight": 3,
    "model.embed_tokens.weight": 1000,
    "model.layers.0.self_attn.q_proj.weight": 200,
    "lm_head.weight": 30,
}


def test_a_flat_configuration_and_its_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(FLAT))
    save_file(
        {name: torch.zeros(count, dtype=torch.bfloat16) for name, count in WEIGHTS.items()},
        tmp_path / "a.safetensors",
    )
    found = load_checkpoint(str(tmp_path))
    assert (found.architecture, found.dtype) == ("Qwen2_5_VLForConditionalGeneration", "bfloat16")
    assert (found.hidden_size, found.vision_hidden, found.context) == (64, 32, 128000)
    assert (found.vision_bytes, found.text_bytes) == (2 * 123, 2 * 1230)
    # keys and values of two layers, two heads of 16 numbers, two bytes each
    assert found.kv_bytes_per_token == 2 * 2 * 2 * 16 * 2


def test_recurrent_layers_hold_no_keys_but_a_state(tmp_path: Path) -> None:
    tiny_others.write_qwen3_5_text(tmp_path)
    found, _ = load_opaque(str(tmp_path), None, None, takes_images=False)
    # one layer of two: one head of 32 numbers, two bytes each; a state of two heads of 128 × 128, and three inputs
    assert found.kv_bytes_per_token == 2 * 1 * 1 * 32 * 2
    assert found.state_bytes == 2 * (2 * 128 * 128 + 3 * (2 * 128 + 2 * 128))


def test_weights_beside_those_of_the_index_are_not_counted(tmp_path: Path) -> None:
    """Mistral's checkpoints hold the same weights once more, in a format of their own."""
    (tmp_path / "config.json").write_text(json.dumps(FLAT))
    tensors = {name: torch.zeros(count, dtype=torch.bfloat16) for name, count in WEIGHTS.items()}
    for name in ("model-00001-of-00001", "consolidated"):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    assert load_checkpoint(str(tmp_path)).text_bytes == 2 * 2 * 1230
    index = {"weight_map": dict.fromkeys(WEIGHTS, "model-00001-of-00001.safetensors")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = load_checkpoint(str(tmp_path))
    assert (found.vision_bytes, found.text_bytes) == (2 * 123, 2 * 1230)


def test_an_index_of_files_that_are_not_there_is_told(tmp_path: Path) -> None:
    tiny_others.write_qwen3_in_shards(tmp_path)
    first, *_ = sorted(tmp_path.glob("*.safetensors"))
    first.unlink()
    with pytest.raises(
        ConfigurationError, match=rf"such as {first.name} \(1 in all\): the download or the copy"
    ):
        load_opaque(str(tmp_path), None, None, takes_images=False)
