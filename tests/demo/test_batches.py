"""Packing changes nothing: every block is answered as if it stood alone behind its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from demo.batches import ALL, IGNORE, Asking, Writer, ask_about, pair_batch, picture_batch, talk_batch
from demo.losses import CellHead, answer_loss, normalise, see, speak
from demo.pool import sample
from demo.questions import Question, count
from demo.shape import untrained

TOKENIZER = Tokenizer.from_file(str(Path("demo/model/tokenizer.json")))
WRITER = Writer(TOKENIZER)
TURNS = [
    [Question("count", "How many stars are there?", "2")],
    [
        Question("position", "Where is the red star?", "top left"),
        Question("colour", "What colour is the heart?", "blue"),
    ],
    [Question("number", "Read the number.", "407")],
]


def test_a_packed_block_gets_the_logits_it_gets_alone() -> None:
    model = untrained(TOKENIZER).eval()
    one = sample("test", 0, 1)
    prefix = WRITER.prefix([len(one.tiles)], None)
    together = WRITER.pack([prefix], [TURNS], one.tiles)
    with torch.no_grad():
        soft = see(model, one.tiles)
        packed = speak(model, together, soft)
        alone = torch.cat(
            [speak(model, WRITER.pack([prefix], [[turns]], one.tiles), soft) for turns in TURNS]
        )
    assert torch.allclose(packed, alone, atol=1e-4)


def test_packed_logits_equal_the_models_own_forward() -> None:
    model = untrained(TOKENIZER).eval()
    one = sample("test", 0, 2)
    prefix = WRITER.prefix([len(one.tiles)], None)
    ids, answers = WRITER.block(TURNS[1])
    whole = torch.tensor([prefix + ids])
    with torch.no_grad():
        theirs = model(input_ids=whole, pixel_values=normalise(one.tiles)).logits[0]
        ours = speak(model, WRITER.pack([prefix], [[TURNS[1]]], one.tiles), see(model, one.tiles))
    places = [len(prefix) + at - 1 for _, first, last in answers for at in range(first, last)]
    assert torch.allclose(ours, theirs[places], atol=1e-4)


def test_labels_are_the_answers_and_their_end() -> None:
    batch = WRITER.pack([WRITER.prefix([], None)], [TURNS])
    told = [
        TOKENIZER.decode(batch.labels[s, first:last].tolist(), skip_special_tokens=False)
        for _, s, first, last in batch.spans
    ]
    assert told == ["2<|im_end|>", "top left<|im_end|>", "blue<|im_end|>", "407<|im_end|>"]
    assert int((batch.labels != IGNORE).sum()) == sum(last - first for _, _, first, last in batch.spans)


def test_a_picture_has_a_place_for_each_soft_token() -> None:
    rng = np.random.default_rng(0)
    samples = [sample("test", 0, i) for i in range(6)]
    pairs = list(zip(samples[:3], samples[3:], strict=True))
    for full in (False, True):
        for batch in (picture_batch(rng, WRITER, samples, full), pair_batch(rng, WRITER, pairs, full)):
            assert batch.tiles is not None and batch.targets is not None
            assert int((batch.ids == WRITER.image_context).sum()) == 16 * len(batch.tiles)
            assert batch.targets.shape[:2] == (len(batch.tiles), 16)
    assert talk_batch(rng, WRITER).tiles is None


def test_small_writing_is_said_to_be_unreadable_at_one_tile_only() -> None:
    small = next(one for one in (sample("test", 0, i) for i in range(200)) if one.scene.kind == "small")
    for full, expected in ((False, "I cannot read it."), (True, small.scene.writing.text)):  # type: ignore[union-attr]
        batch = picture_batch(np.random.default_rng(0), WRITER, [small], full)
        kind, s, first, last = batch.spans[0]
        assert kind == "small writing"
        assert TOKENIZER.decode(batch.labels[s, first:last].tolist()) == expected


def test_counts_are_asked_where_there_is_something_to_count() -> None:
    rng = np.random.default_rng(0)
    samples = [
        one for one in (sample("test", 0, i, "compact") for i in range(40)) if one.scene.kind == "shapes"
    ]
    counting = dict.fromkeys(ALL.weights, 0.0) | {"count": 1.0}

    def mean(larger: float) -> float:
        asking = Asking(counting, larger_counts=larger)
        turns = [
            turn
            for one in samples
            for block in ask_about(rng, one, full=False, blocks=60, asking=asking)
            for turn in block
        ]
        return float(np.mean([int(turn.answer) for turn in turns]))

    by_chance = [int(count(rng, one.scene).answer) for one in samples for _ in range(60)]
    assert mean(0.5) > 1.04 * np.mean(by_chance)
    assert mean(0.0) == pytest.approx(np.mean(by_chance), rel=0.03)


def test_both_losses_reach_every_part_of_the_model() -> None:
    model = untrained(TOKENIZER)
    heads = CellHead(192)
    batch = picture_batch(
        np.random.default_rng(0), WRITER, [sample("test", 0, i) for i in range(2)], full=False
    )
    assert batch.tiles is not None and batch.targets is not None
    soft = see(model, batch.tiles)
    (answer_loss(speak(model, batch, soft), batch) + heads(soft, batch.targets)).backward()
    unreached = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in unreached if not name.endswith("k_proj.bias")] == []
