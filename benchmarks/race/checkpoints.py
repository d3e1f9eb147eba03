"""Checkpoints of real shapes with random weights, in bfloat16: what they cost is real, what they say is not.

A tower of the size that people serve, and a small decoder, so that the images are most of the work.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
)

from service.settings import EMBEDDED_MODEL

CONTEXT = 8192
VOCABULARY = 640
END_OF_TEXT, END, START, STOP, IMAGE, VIDEO = 633, 635, 636, 637, 638, 639
"""Ids of the embedded model's tokenizer, which these checkpoints take over."""
QWENS = {
    "<IMG_CONTEXT>\\n": "<|vision_start|><|image_pad|><|vision_end|>",  # as its chat template writes an image
    "<IMG_CONTEXT>": "<|image_pad|>",
    "<img>": "<|vision_start|>",
    "</img>": "<|vision_end|>",
    "<video>": "<|video_pad|>",
    "InternVLProcessor": "Qwen2_5_VLProcessor",
}
"""What the embedded model's tokenizer says, and Qwen2.5-VL's in the place of it."""
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
DECODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "intermediate_size": 1376,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": END_OF_TEXT,
}
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def tiles(folder: Path) -> None:
    """InternVL's layout over a ViT-B/16: tiles of 224 pixels, 49 soft tokens each, up to 12 and an overview."""
    vision = InternVLVisionConfig(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        attention_bias=True,
        image_size=[224, 224],
        patch_size=[16, 16],
    )
    config = InternVLConfig(
        vision_config=vision,
        text_config=Qwen2Config(**DECODER, tie_word_embeddings=True),
        image_token_id=IMAGE,
        image_seq_length=49,
        eos_token_id=END,
        tie_word_embeddings=True,
    )
    save(InternVLForConditionalGeneration(config), folder)
    source = Path(EMBEDDED_MODEL)
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        _write(folder / name, _read(source / name) | {"size": {"height": 224, "width": 224}})
    _write(
        folder / "preprocessor_config.json", _read(folder / "preprocessor_config.json") | {"max_patches": 12}
    )
    _write(folder / "processor_config.json", {"processor_class": "InternVLProcessor", "image_seq_length": 49})


def large(folder: Path) -> None:
    """LLaVA-1.5's layout over CLIP's ViT-L/14-336: 576 soft tokens an image, whatever its size."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**DECODER, tie_word_embeddings=False),
        image_token_index=IMAGE,
        image_seq_length=576,
        tie_word_embeddings=False,
    )
    save(LlavaForConditionalGeneration(config), folder)
    pixels = {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "size": {"shortest_edge": 336},
        "crop_size": {"height": 336, "width": 336},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    }
    _write(folder / "preprocessor_config.json", pixels)
    rules = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    _write(
        folder / "processor_config.json",
        {"processor_class": "LlavaProcessor", "image_token": "<IMG_CONTEXT>", **rules},
    )
    _write(
        folder / "tokenizer_config.json",
        _read(folder / "tokenizer_config.json") | {"processor_class": "LlavaProcessor"},
    )


def native(folder: Path) -> None:
    """Qwen2.5-VL's layout over a tower of a ViT-B's size: native resolution, a soft token for each 28 × 28 pixels."""
    vision = {
        "hidden_size": 768,
        "depth": 12,
        "num_heads": 12,
        "intermediate_size": 2048,
        "out_hidden_size": DECODER["hidden_size"],
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [2, 5, 8, 11],
    }
    rotary = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]}
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=DECODER | {"rope_parameters": rotary},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=STOP,
        tie_word_embeddings=False,
    )
    save(Qwen2_5_VLForConditionalGeneration(config), folder)
    pixels = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "min_pixels": 4 * 28**2,
        "max_pixels": 1280 * 28**2,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
    }
    _write(folder / "preprocessor_config.json", pixels)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        text = (folder / name).read_text()
        for ours, qwens in QWENS.items():
            text = text.replace(ours, qwens)
        (folder / name).write_text(text)


SHAPES: Mapping[str, Callable[[Path], None]] = {
    "tiles-vit-b-16": tiles,
    "vit-l-14-336": large,
    "native-vit-b-14": native,
}


def checkpoint(shape: str, folder: Path) -> Path:
    """The folder of a shape's checkpoint below `folder`, made unless it is there already."""
    made = folder / shape
    if not made.exists():
        fresh = folder / f"{shape}.writing"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        SHAPES[shape](fresh)
        fresh.rename(made)
    return made


def save(model: PreTrainedModel, folder: Path) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.03)
        head = model.get_output_embeddings().weight
        head[silent(head.shape[0])] = 0
    model.to(torch.bfloat16).save_pretrained(folder)
    for name in FILES:
        shutil.copy(Path(EMBEDDED_MODEL) / name, folder / name)


def silent(vocabulary: int) -> list[int]:
    """Ids of tokens that are no text by themselves: special ones and parts of a character. With logits of zero they are
    never the likeliest, so every step of an answer shows at once, on every server: some send an event without text, and
    some wait for the text."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(EMBEDDED_MODEL)
    texts = (tokenizer.decode([token], skip_special_tokens=True) for token in range(vocabulary))
    return [token for token, text in enumerate(texts) if not text or "\N{REPLACEMENT CHARACTER}" in text]


def _read(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text())
    return found


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
