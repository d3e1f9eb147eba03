"""The same rows by handle and through transformers' own `generate`: the same prompt, tokens and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

TOKENS = 12


@dataclass(frozen=True)
class Reference:
    """What transformers makes of some images and a question."""

    prompt: list[int]
    rows: list[np.ndarray]
    """Per image, float32 [rows, width], from `get_image_features`."""
    tokens: list[int]
    logprobs: list[float]


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(checkpoint)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval()

    @torch.inference_mode()
    def see(images: list[Any], question: str) -> Reference:
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
            **inputs, max_new_tokens=TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        prompt = inputs["input_ids"][0].tolist()
        tokens = made.sequences[0, len(prompt) :].tolist()
        logprobs = torch.stack(made.logits)[:, 0].log_softmax(-1)  # [tokens, vocabulary]
        features = model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
        tiles = [int(processor.image_processor(image)["num_patches"][0]) for image in images]
        rows = [part.flatten(0, 1).numpy() for part in features.split(tiles)]
        return Reference(prompt, rows, tokens, logprobs[range(len(tokens)), tokens].tolist())

    return see


def picture(width: int, height: int, seed: int) -> Any:
    from PIL import Image

    colours = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    "sizes",
    [[(100, 100)], [(640, 200)], [(300, 900)], [(500, 480), (90, 120)], [(60, 60), (700, 700), (224, 112)]],
    ids=lambda sizes: "+".join(f"{width}x{height}" for width, height in sizes),
)
def test_handles_answer_as_transformers_does(
    engine: Any, reference: Any, sizes: list[tuple[int, int]]
) -> None:
    images = [picture(width, height, seed) for seed, (width, height) in enumerate(sizes)]
    expected = reference(images, "What colour is it?")
    leases = [engine.put(rows) for rows in expected.rows]
    parts = [engine.part(lease.key, lease.rows) for lease in leases]
    reply = engine.ask(*parts, question="What colour is it?", max_tokens=TOKENS)
    assert reply.status_code == 200, reply.text
    choice = reply.json()["choices"][0]
    assert reply.json()["prompt_token_ids"] == expected.prompt
    assert choice["token_ids"] == expected.tokens
    logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
    assert np.allclose(logprobs, expected.logprobs, atol=2e-3)


def test_the_rows_are_what_decides(engine: Any, reference: Any) -> None:
    expected = reference([picture(640, 200, 1)], "What colour is it?")
    lease = engine.put(-expected.rows[0])
    reply = engine.ask(engine.part(lease.key, lease.rows), question="What colour is it?", max_tokens=TOKENS)
    logprobs = [token["logprob"] for token in reply.json()["choices"][0]["logprobs"]["content"]]
    assert reply.json()["prompt_token_ids"] == expected.prompt
    assert len(logprobs) != len(expected.logprobs) or not np.allclose(logprobs, expected.logprobs, atol=2e-3)
