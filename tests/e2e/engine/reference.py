"""What transformers' own `generate` makes of pictures and a question, to hold an engine's answer against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

TOKENS = 12
GRID = "image_grid_thw"

Answer = tuple[list[int], Any]
"""Tokens and their log probabilities."""


@dataclass(frozen=True)
class Reference:
    prompt: list[int]
    rows: list[np.ndarray]
    """Per image, float32 [rows, width], from `get_image_features`."""
    grids: list[tuple[int, int, int] | None]
    """Per image, where the family has any."""
    tokens: list[int]
    logprobs: list[float]

    @property
    def answer(self) -> Answer:
        """Equal to whatever differs by no more than the order of sums may change."""
        return self.tokens, pytest.approx(self.logprobs, abs=2e-3)


See = Callable[[Sequence[Any], str], Reference]


def transformers_on(checkpoint: Path, **options: Any) -> See:
    """`options` go to `generate`."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval()

    @torch.inference_mode()
    def see(images: Sequence[Any], question: str) -> Reference:
        content = [
            *({"type": "image", "image": image} for image in images),
            {"type": "text", "text": question},
        ]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        made = model.generate(
            **inputs,
            max_new_tokens=TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **options,
        )
        prompt = inputs["input_ids"][0].tolist()
        tokens = made.sequences[0, len(prompt) :].tolist()
        logprobs = torch.stack(made.logits)[:, 0].log_softmax(-1)  # [tokens, vocabulary]
        rows, grids = [], [None] * len(images)
        if images:
            seen = {name: inputs[name] for name in ("pixel_values", GRID) if name in inputs}
            features = model.get_image_features(
                **seen
            ).pooler_output  # of tiles or of images, [rows, width] each
            places = groupby(token == model.config.image_token_id for token in prompt)
            counts = [len(list(group)) for stands_for_a_row, group in places if stands_for_a_row]
            rows = [part.numpy() for part in torch.cat(list(features)).split(counts)]
        if GRID in inputs:
            grids = [tuple(grid) for grid in inputs[GRID].tolist()]
        return Reference(prompt, rows, grids, tokens, logprobs[range(len(tokens)), tokens].tolist())

    return see


def told(reply: httpx.Response) -> Answer:
    """An engine's answer, to be compared with a reference's."""
    assert reply.status_code == 200, reply.text
    choice = reply.json()["choices"][0]
    return choice["token_ids"], [token["logprob"] for token in choice["logprobs"]["content"]]
