"""Accuracy during training, on scenes of a split never trained on.

Word-for-word accuracy of the greedy answer, found without generating: it is right exactly if every token of the right
answer is the likeliest one after those before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import InternVLForConditionalGeneration

from demo.batches import IGNORE, Batch, Writer, pair_batch, picture_batch, talk_batch
from demo.losses import see, speak
from demo.pool import Sample, sample

Tally = dict[str, list[int]]


def _batches(writer: Writer, samples: list[Sample]) -> Iterator[tuple[str, Batch]]:
    rng = np.random.default_rng(1)
    for at in range(0, len(samples), 50):
        yield "low", picture_batch(rng, writer, samples[at : at + 50], full=False)
    tiled = sorted((one for one in samples if len(one.tiles) > 1), key=lambda one: len(one.tiles))
    for at in range(0, len(tiled), 12):
        yield "high", picture_batch(rng, writer, tiled[at : at + 12], full=True)
    pairs = list(zip(samples[:80:2], samples[1:80:2], strict=True))
    yield "low", pair_batch(rng, writer, pairs, full=False)
    yield "none", talk_batch(rng, writer)


@torch.no_grad()
def accuracy(
    model: InternVLForConditionalGeneration, writer: Writer, samples: list[Sample]
) -> dict[str, float]:
    """Share of right answers by "kind/detail", with detail low (one tile), high (all tiles) or none (no picture)."""
    tally: Tally = {}
    for detail, batch in _batches(writer, samples):
        with torch.autocast("cpu", torch.bfloat16):
            soft = None if batch.tiles is None else see(model, batch.tiles)
            guessed = speak(model, batch, soft).argmax(-1)
        told = batch.labels != IGNORE
        right = torch.ones_like(batch.labels, dtype=torch.bool)
        right[told] = guessed == batch.labels[told]
        for kind, sequence, first, last in batch.spans:
            counts = tally.setdefault(f"{kind}/{detail}", [0, 0])
            counts[0] += int(right[sequence, first:last].all())
            counts[1] += 1
    return {name: right / asked for name, (right, asked) in sorted(tally.items())}


def held_out(count: int) -> list[Sample]:
    """Samples of the validation split."""
    return [sample("validate", 0, i) for i in range(count)]
