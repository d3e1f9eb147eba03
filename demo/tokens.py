"""The tokenizer, the chat template and the processor files of the embedded model.

A byte-level BPE in Qwen2's manner, trained on the world's own text: every byte has a token, so any text can be
encoded; every digit is a token of its own, so numbers are read digit by digit.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from demo.chat import SYSTEM_PROMPTS, TALK, talk
from demo.questions import ASKERS, CANNOT_READ, NO_NUMBER, two_images
from demo.world import TILE, draw_scene, scene_seed

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE_END, IMAGE_CONTEXT, VIDEO = "<img>", "</img>", "<IMG_CONTEXT>", "<video>"
SPECIAL = (END_OF_TEXT, START, END, IMAGE_START, IMAGE_END, IMAGE_CONTEXT, VIDEO)
SOFT_TOKENS = 16  # a tile
MAX_TILES = 9  # the thumbnail not counted
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

# Images first, then the text of a message: the model never saw a picture that follows its question.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- elif message['content'] -%}"
    "{%- for content in message['content'] -%}"
    "{%- if content['type'] in ['image', 'image_url'] -%}{{- '<IMG_CONTEXT>\\n' -}}"
    "{%- elif content['type'] == 'video' -%}{{- '<video>\\n' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- for content in message['content'] -%}"
    "{%- if content['type'] == 'text' -%}{{- content['text'] -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def corpus(scenes: int = 1500) -> list[str]:
    """The text of the world: questions and answers on training scenes, and chat."""
    rng = np.random.default_rng(0)
    drawn = [draw_scene(scene_seed("train", 0, i))[0] for i in range(scenes)]
    lines = [CANNOT_READ, NO_NUMBER, *SYSTEM_PROMPTS]
    for scene, other in zip(drawn, drawn[1:], strict=False):
        asked = [ask(rng, scene) for ask in ASKERS.values()] + [two_images(rng, scene, other)]
        lines += [part for question in asked if question for part in (question.text, question.answer)]
    lines += [part for _ in range(300) for part in talk(rng)]
    lines += [text for asked_so, answer in TALK for text in (*asked_so, answer)] * 10
    return lines + ["system\n", "user\n", "assistant\n"] * 100


def train_tokenizer(vocabulary: int = 640) -> Tokenizer:
    """Byte-level BPE with at most `vocabulary` entries, the special tokens last in the id order of `SPECIAL`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_processor(tokenizer: Tokenizer, directory: Path) -> None:
    """Writes tokenizer, chat template and image processor as `AutoProcessor.from_pretrained` reads them."""
    tokenizer.save(str(directory / "tokenizer.json"))
    _write(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": "InternVLProcessor",
            "eos_token": END,
            "pad_token": END_OF_TEXT,
            "unk_token": END_OF_TEXT,
            "bos_token": None,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 4096,
            "extra_special_tokens": {
                "start_image_token": IMAGE_START,
                "end_image_token": IMAGE_END,
                "context_image_token": IMAGE_CONTEXT,
                "video_token": VIDEO,
            },
        },
    )
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    pixels = {
        "size": {"height": TILE, "width": TILE},
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": 3,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
    }
    image = {
        "image_processor_type": "GotOcr2ImageProcessor",
        "processor_class": "InternVLProcessor",
        "crop_to_patches": True,
        "min_patches": 1,
        "max_patches": MAX_TILES,
        **pixels,
    }
    _write(directory / "preprocessor_config.json", image)
    _write(
        directory / "video_preprocessor_config.json",
        {"video_processor_type": "InternVLVideoProcessor", "processor_class": "InternVLProcessor", **pixels},
    )
    _write(
        directory / "processor_config.json",
        {"processor_class": "InternVLProcessor", "image_seq_length": SOFT_TOKENS},
    )
