"""Packs conversations for the decoder: one picture, several separate questions, in one sequence.

Each block (a question and its answer, now and then two turns) sees the shared prefix (the picture) and itself, and its
positions go on from the prefix. So every block is computed as if it stood alone, while the picture is encoded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from demo.chat import SYSTEM_PROMPTS, talk
from demo.pool import Sample
from demo.questions import ASKERS, Question, count, number, two_images
from demo.tokens import END, IMAGE_CONTEXT, IMAGE_END, IMAGE_START, SOFT_TOKENS, START

IGNORE = -100


@dataclass(frozen=True, slots=True)
class Asking:
    """What a stage asks: the weight of each kind of question, and how much harder it asks than chance would."""

    weights: Mapping[str, float]
    larger_counts: float = 0.5
    """Share of questions for a count that are the one with more to count of two: chance asks for ones half the time."""
    crowded: float = 0.0
    """Share of pictures with three things or more."""


ALL = Asking(
    {
        "colour": 1.4,
        "shape": 1.0,
        "count": 4.5,
        "presence": 1.3,
        "position": 2.2,
        "content": 0.7,
        "relation": 0.5,
        "description": 0.9,
        "number": 0.1,
    }
)
LOOKUP = Asking(dict.fromkeys(ALL.weights, 0.02) | {"colour": 3.0})
"""Questions that only a look at the right shape answers: a decoder that starts on a mixture learns to guess instead."""
POLISH = Asking({**ALL.weights, "presence": 3.5, "position": 4.5}, larger_counts=0.0, crowded=0.5)
"""What is learnt last is asked most in the end, of pictures full enough to confuse, and counts as chance has them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tiles uint8 [tiles, 3, 112, 112] and packed sequences; `spans` names each answer's kind and place."""

    tiles: torch.Tensor | None
    targets: torch.Tensor | None  # [tiles, 16, K]
    ids: torch.Tensor  # [sequences, length]
    positions: torch.Tensor  # [sequences, length]
    mask: torch.Tensor  # [sequences, 1, length, length], true where a token may look
    labels: torch.Tensor  # [sequences, length], the next token, or IGNORE
    weights: torch.Tensor  # [sequences, length]
    spans: list[tuple[str, int, int, int]]  # kind, sequence, first and end position of labels


class Writer:
    """Turns questions about samples into packed token sequences."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._start, self._end = (self._id(token) for token in (START, END))
        image = [self._id(token) for token in (IMAGE_START, IMAGE_CONTEXT, IMAGE_END)]
        self._image_start, self.image_context, self._image_end = image
        self._newline = self._encode("\n")
        self._user = [self._start, *self._encode("user\n")]
        self._assistant = [self._end, *self._newline, self._start, *self._encode("assistant\n")]
        self._next_turn = [*self._newline, *self._user]

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no token {token}")
        return int(found)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def prefix(self, tile_counts: Sequence[int], system: str | None) -> list[int]:
        """Everything before the first question: an optional system message and the pictures."""
        ids = (
            []
            if system is None
            else [self._start, *self._encode("system\n" + system), self._end, *self._newline]
        )
        ids += self._user
        for tiles in tile_counts:
            ids += [
                self._image_start,
                *[self.image_context] * (SOFT_TOKENS * tiles),
                self._image_end,
                *self._newline,
            ]
        return ids

    def block(self, turns: Sequence[Question]) -> tuple[list[int], list[tuple[str, int, int]]]:
        """Token ids of the turns, and per answer its kind and the half-open range of ids it takes."""
        ids: list[int] = []
        answers = []
        for i, turn in enumerate(turns):
            ids += (self._next_turn if i else []) + self._encode(turn.text) + self._assistant
            first = len(ids)
            ids += [*self._encode(turn.answer), self._end]
            answers.append((turn.kind, first, len(ids)))
        return ids, answers

    def pack(
        self,
        prefixes: Sequence[list[int]],
        blocks: Sequence[Sequence[Sequence[Question]]],
        tiles: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
    ) -> Batch:
        """One sequence for each prefix with its blocks."""
        written = [[self.block(turns) for turns in row] for row in blocks]
        length = max(
            len(p) + sum(len(ids) for ids, _ in row) for p, row in zip(prefixes, written, strict=True)
        )
        shape = (len(prefixes), length)
        ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        labels, weights = np.full(shape, IGNORE, np.int64), np.zeros(shape, np.float32)
        segment = np.full(shape, -1, np.int64)
        spans = []
        for s, (prefix, row) in enumerate(zip(prefixes, written, strict=True)):
            at = len(prefix)
            ids[s, :at], positions[s, :at], segment[s, :at] = prefix, np.arange(at), 0
            for b, (block, answers) in enumerate(row):
                end = at + len(block)
                ids[s, at:end], segment[s, at:end] = block, b + 1
                positions[s, at:end] = len(prefix) + np.arange(len(block))
                for kind, first, last in answers:
                    place = slice(at + first - 1, at + last - 1)
                    labels[s, place] = block[first:last]
                    weights[s, place] = (last - first) ** -0.5
                    spans.append((kind, s, place.start, place.stop))
                at = end
        seg = torch.from_numpy(segment)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        sees = (seg[:, None, :] == 0) | (seg[:, None, :] == seg[:, :, None])  # [sequences, asking, asked]
        return Batch(
            tiles,
            targets,
            torch.from_numpy(ids),
            torch.from_numpy(positions),
            (sees & causal)[:, None],
            torch.from_numpy(labels),
            torch.from_numpy(weights),
            spans,
        )


def _number_of(question: Question | None) -> int:
    return int(question.answer) if question else 0


def ask_about(
    rng: np.random.Generator, one: Sample, full: bool, blocks: int, asking: Asking = ALL
) -> list[list[Question]]:
    """Blocks of one or two turns about one picture, its writing among them if it has any."""
    scene = one.scene
    readable = full or scene.kind != "small"
    asked = [number(rng, scene, readable)] if scene.writing is not None else []
    kinds = [kind for kind in ASKERS if not (kind == "number" and asked)]
    odds = np.array([asking.weights[kind] for kind in kinds])
    while len(asked) < blocks:
        kind = kinds[rng.choice(len(kinds), p=odds / odds.sum())]
        question = ASKERS[kind](rng, scene)
        if kind == "count" and rng.random() < asking.larger_counts:
            question = max(question, count(rng, scene), key=_number_of)
        if question is not None:
            asked.append(question)
    rows = [[question] for question in asked]
    if len(rows) > 2 and rng.random() < 0.3:
        rows[-2:] = [[*rows[-2], *rows[-1]]]
    return rows


def _system(rng: np.random.Generator) -> str | None:
    return SYSTEM_PROMPTS[rng.integers(len(SYSTEM_PROMPTS))] if rng.random() < 0.1 else None


def picture_batch(
    rng: np.random.Generator,
    writer: Writer,
    samples: Sequence[Sample],
    full: bool,
    blocks: int = 6,
    asking: Asking = ALL,
) -> Batch:
    """Several questions about each of `samples`, seen whole (`full`: all tiles) or as one tile."""
    views = [one.tiles if full else one.tiles[-1:] for one in samples]
    targets = [one.targets if full else one.targets[-1:] for one in samples]
    return writer.pack(
        [writer.prefix([len(view)], _system(rng)) for view in views],
        [ask_about(rng, one, full, blocks, asking) for one in samples],
        torch.cat(views),
        torch.from_numpy(np.concatenate(targets)),
    )


def pair_batch(
    rng: np.random.Generator,
    writer: Writer,
    pairs: Sequence[tuple[Sample, Sample]],
    full: bool,
    blocks: int = 4,
) -> Batch:
    """Questions about two pictures at once."""
    prefixes, rows, tiles, targets = [], [], [], []
    for first, second in pairs:
        asked = [two_images(rng, first.scene, second.scene) for _ in range(blocks)]
        rows.append([[question] for question in asked if question is not None])
        views = [one.tiles if full else one.tiles[-1:] for one in (first, second)]
        prefixes.append(writer.prefix([len(view) for view in views], _system(rng)))
        tiles += views
        targets += [one.targets if full else one.targets[-1:] for one in (first, second)]
    return writer.pack(prefixes, rows, torch.cat(tiles), torch.from_numpy(np.concatenate(targets)))


def talk_batch(rng: np.random.Generator, writer: Writer, sequences: int = 6, blocks: int = 6) -> Batch:
    """Conversation without pictures."""
    rows = [[[Question("chat", *talk(rng))] for _ in range(blocks)] for _ in range(sequences)]
    return writer.pack([writer.prefix([], _system(rng)) for _ in range(sequences)], rows)
