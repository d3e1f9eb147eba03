"""Tiny random checkpoints of architectures that vLLM has and Patchbay has no family for: text, audio, video, pictures.

Folders that only look like checkpoints of a model are here too: an adapter, a GGUF file, an embedding model.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GlmOcrConfig,
    GlmOcrForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    MambaConfig,
    MambaForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from tests.service import tiny_blip2, tiny_glm4v, tiny_llava
from tests.service import tiny_qwen_vl as qwen
from tests.service.tiny import name_as_the_hub_does, randomise, token_ids, write_json, write_tokenizer
from tests.service.tiny_unknown import TEXT

SHARD = "60KB"
TILE, PATCH = 56, 14
INT8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
}
"""Weights of one byte with a scale for each output, as llm-compressor writes them."""


def write_qwen3_in_shards(folder: Path) -> None:
    """Qwen3, in several files with an index."""
    _save_text(Qwen3ForCausalLM(Qwen3Config(**TEXT, head_dim=32)), folder, max_shard_size=SHARD)
    assert len(list(folder.glob("*.safetensors"))) > 1


def write_quantised_phi3(folder: Path) -> None:
    """Phi-3 in eight bits, between which it computes in bfloat16."""
    _save_text(Phi3ForCausalLM(Phi3Config(**TEXT)).bfloat16(), folder)
    _quantise(folder / "model.safetensors")
    _change(folder / "config.json", quantization_config=INT8)


def write_olmoe(folder: Path) -> None:
    """A mixture of experts."""
    experts = {"num_experts": 4, "num_experts_per_tok": 2}
    _save_text(OlmoeForCausalLM(OlmoeConfig(**TEXT, **experts)), folder)


def write_qwen3_5_text(folder: Path) -> None:
    """Qwen3.5 without its tower: a layer of gated-delta attention, which holds a state and no keys, and one of
    attention. vLLM's CPU build computes heads of 128, in bfloat16."""
    config = Qwen3_5TextConfig(
        **TEXT,
        head_dim=32,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=1,
        linear_num_value_heads=2,
    )
    _save_text(Qwen3_5ForCausalLM(config).bfloat16(), folder)


def write_mamba(folder: Path) -> None:
    """A state-space model: no attention, and no limit of positions. vLLM's CPU build lacks its scan."""
    config = MambaConfig(
        vocab_size=TEXT["vocab_size"],
        hidden_size=64,
        num_hidden_layers=2,
        state_size=16,
        bos_token_id=None,
        eos_token_id=TEXT["eos_token_id"],
        pad_token_id=TEXT["pad_token_id"],
    )
    _save_text(MambaForCausalLM(config), folder)


def write_qwen2_audio(folder: Path) -> None:
    """Takes audio, and no pictures."""
    words = ("<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    ids = token_ids(words)
    audio = {
        "num_mel_bins": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "d_model": 32,
        "max_source_positions": 50,
    }
    text = {**TEXT, "model_type": "qwen2", "eos_token_id": ids["<|im_end|>"], "pad_token_id": None}
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=ids["<|AUDIO|>"])
    )
    _save(model, folder)
    _rename(folder / "model.safetensors", "language_model.model.model.", "language_model.model.")
    write_tokenizer(folder, words, qwen.TEMPLATE, eos_token="<|im_end|>", pad_token="<|im_end|>")
    extractor = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 16, "chunk_length": 1}
    write_json(folder, "preprocessor_config", {**extractor, "processor_class": "Qwen2AudioProcessor"})


def write_whisper(folder: Path) -> None:
    """Writes down what it hears, and answers no questions."""
    config = WhisperConfig(
        vocab_size=TEXT["vocab_size"],
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        pad_token_id=TEXT["pad_token_id"],
        bos_token_id=TEXT["pad_token_id"],
        eos_token_id=TEXT["eos_token_id"],
    )
    _save_text(WhisperForConditionalGeneration(config), folder)


def write_llava_next_video(folder: Path) -> None:
    """Takes videos in vLLM, and no pictures."""
    words = (*tiny_llava.SPECIAL, "<video>")
    ids = token_ids(words)
    model = LlavaNextVideoForConditionalGeneration(
        LlavaNextVideoConfig(
            vision_config={"model_type": "clip_vision_model", **tiny_llava.VISION},
            text_config={**tiny_llava.TEXT, "vocab_size": tiny_llava.TEXT["vocab_size"] + 1},
            image_token_index=ids["<image>"],
            video_token_index=ids["<video>"],
            image_grid_pinpoints=tiny_llava.PINPOINTS,
        )
    )
    _save(model, folder)
    name_as_the_hub_does(folder / "model.safetensors")
    write_tokenizer(folder, words, tiny_llava.TEMPLATE, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    pictures = {"image_mean": tiny_llava.MEAN, "image_std": tiny_llava.STD, "size": {"shortest_edge": TILE}}
    crop = {"height": TILE, "width": TILE}
    write_json(
        folder,
        "preprocessor_config",
        {
            "image_processor_type": "LlavaNextImageProcessor",
            "image_grid_pinpoints": tiny_llava.PINPOINTS,
            "crop_size": crop,
            **pictures,
        },
    )
    write_json(
        folder,
        "video_preprocessor_config",
        {"video_processor_type": "LlavaNextVideoVideoProcessor", "crop_size": crop, **pictures},
    )
    write_json(
        folder,
        "processor_config",
        {
            "processor_class": "LlavaNextVideoProcessor",
            "patch_size": PATCH,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
    )


def write_glm_ocr(folder: Path) -> None:
    """Takes pictures: GLM-4.1V's processor, in front of a tower whose attention has norms."""
    folder.mkdir(exist_ok=True)
    tiny_glm4v.write_checkpoint(folder)
    kept = json.loads((folder / "config.json").read_text())
    ids = {name: number for name, number in kept.items() if name.endswith("_token_id")}
    text = {name: value for name, value in tiny_glm4v.TEXT.items() if name != "attention_bias"}
    _save(
        GlmOcrForConditionalGeneration(
            GlmOcrConfig(vision_config=dict(tiny_glm4v.VISION), text_config=text, **ids)
        ),
        folder,
    )


def write_glm_ocr_without_tower(folder: Path) -> None:
    """config.json speaks of a vision tower whose tensors nobody saved."""
    write_glm_ocr(folder)
    file = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if "visual" not in name}
    save_file(kept, file, {"format": "pt"})


def write_blip2_with_t5(folder: Path) -> None:
    """An encoder and a decoder behind the Q-Former, in the class that vLLM has for OPT."""
    tiny_blip2.write_checkpoint(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["text_config"] = {"model_type": "t5", "d_model": 64, "vocab_size": TEXT["vocab_size"]}
    file.write_text(json.dumps(config))


def write_reranker(folder: Path) -> None:
    """Scores pairs of texts."""
    config = BertConfig(
        vocab_size=TEXT["vocab_size"],
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
    )
    _save_text(BertForSequenceClassification(config), folder)


def write_embedder(folder: Path) -> None:
    """A language model that was trained to embed; config.json has the same class as for one that answers."""
    _save_text(Qwen3ForCausalLM(Qwen3Config(**TEXT, head_dim=32)), folder)
    kinds = ("models.Transformer", "models.Pooling", "models.Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
        for number, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


def write_adapter_alone(folder: Path) -> None:
    """What PEFT saves of a fine-tuned model: two small matrices for each that was tuned."""
    folder.mkdir(exist_ok=True)
    tuned = "base_model.model.model.layers.0.self_attn.q_proj"
    matrices = {f"{tuned}.lora_A.weight": torch.randn(8, 64), f"{tuned}.lora_B.weight": torch.randn(64, 8)}
    save_file(matrices, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "ibm-granite/granite-3.3-2b-instruct",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj"],
    }
    write_json(folder, "adapter_config", settings)


def write_gguf_alone(folder: Path) -> None:
    """The header of a Llama of llama.cpp's: magic number, version, no tensors, one field."""
    folder.mkdir(exist_ok=True)
    key, value = b"general.architecture", b"llama"
    field = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    (folder / "model-Q4_K_M.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + field)


def _save_text(model: PreTrainedModel, folder: Path, **options: Any) -> None:
    _save(model, folder, **options)
    qwen.write_tokenizer(folder)


def _save(model: PreTrainedModel, folder: Path, **options: Any) -> None:
    folder.mkdir(exist_ok=True)
    randomise(model)
    model.save_pretrained(folder, **options)


def _rename(file: Path, old: str, new: str) -> None:
    """To the hub's names of tensors, from those that transformers 5 writes."""
    named = {name.replace(old, new): tensor for name, tensor in load_file(file).items()}
    save_file(named, file, {"format": "pt"})


def _quantise(file: Path) -> None:
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(file).items():
        if name.endswith("_proj.weight"):
            scale = tensor.float().abs().amax(1, keepdim=True) / 127  # [outputs, 1]
            stored[name] = (tensor.float() / scale).round().to(torch.int8)
            stored[f"{name}_scale"] = scale.bfloat16()
        else:
            stored[name] = tensor
    save_file(stored, file, {"format": "pt"})


def _change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
