"""The shape of the embedded model: InternVL layout at about three million parameters, and its first weights."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import (
    GenerationConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    Qwen2Config,
)

from demo.tokens import END, END_OF_TEXT, IMAGE_CONTEXT, SOFT_TOKENS
from demo.world import TILE

VOCABULARY = 640
TOWER_HIDDEN, TOWER_LAYERS, TOWER_HEADS, PATCH = 128, 6, 4, 14
DECODER_HIDDEN, DECODER_LAYERS, DECODER_HEADS, DECODER_MLP = 192, 4, 6, 512
CONTEXT = 4096


def config(tokenizer: Tokenizer) -> InternVLConfig:
    """The configuration, with the ids of this tokenizer. Heads are 32 wide, the least vLLM's CPU attention takes."""
    vision = InternVLVisionConfig(
        hidden_size=TOWER_HIDDEN,
        num_hidden_layers=TOWER_LAYERS,
        num_attention_heads=TOWER_HEADS,
        intermediate_size=4 * TOWER_HIDDEN,
        attention_bias=True,
        image_size=[TILE, TILE],
        patch_size=[PATCH, PATCH],
        layer_scale_init_value=1.0,
        initializer_range=0.05,
    )
    text = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=DECODER_HIDDEN,
        num_hidden_layers=DECODER_LAYERS,
        num_attention_heads=DECODER_HEADS,
        num_key_value_heads=DECODER_HEADS,
        intermediate_size=DECODER_MLP,
        max_position_embeddings=CONTEXT,
        initializer_range=0.05,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        dtype="float32",
    )
    return InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.token_to_id(IMAGE_CONTEXT),
        image_seq_length=SOFT_TOKENS,
        downsample_ratio=0.5,
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        dtype="float32",
    )


def _sines(side: int, width: int) -> torch.Tensor:
    """Two-dimensional sine positions [side², width], so that the tower starts out knowing where a patch lies."""
    steps = torch.arange(side, dtype=torch.float32)
    waves = torch.exp(torch.linspace(0.0, -3.5, width // 4))
    one = torch.cat(
        [torch.sin(steps[:, None] * waves), torch.cos(steps[:, None] * waves)], dim=1
    )  # [side, width/2]
    rows, columns = one[:, None].expand(side, side, -1), one[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, width)


def untrained(tokenizer: Tokenizer, seed: int = 0) -> InternVLForConditionalGeneration:
    """A model with first weights drawn from `seed`, in float32."""
    torch.manual_seed(seed)
    model = InternVLForConditionalGeneration(config(tokenizer))
    embeddings = model.model.vision_tower.embeddings
    with torch.no_grad():
        embeddings.position_embeddings[0, 1:] = 0.3 * _sines(TILE // PATCH, TOWER_HIDDEN)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        do_sample=False,
    )
    return model


def save(model: InternVLForConditionalGeneration, directory: Path) -> None:
    """Saves configuration and float32 weights; files appear whole or not at all."""
    fresh = directory.with_name(directory.name + ".writing")
    model.save_pretrained(fresh)
    directory.mkdir(parents=True, exist_ok=True)
    for file in fresh.iterdir():
        file.chmod(0o644)  # safetensors lets only its writer read
        file.replace(directory / file.name)
    fresh.rmdir()
