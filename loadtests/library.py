"""What is asked: for each kind of visit a list of scripts, generated from a seed before the load begins.

A script is a list of turns about images; `bodies` makes the requests. It contains only the kinds of questions that the
embedded model answers correctly in at least 97 of 100 cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from demo.chat import talk
from demo.questions import Question, colour, position, presence, shape
from demo.world import Scene
from loadtests import pictures
from loadtests.checks import Expected
from loadtests.options import KINDS, Options
from loadtests.pictures import rng_of

ASKERS: tuple[Callable[[np.random.Generator, Scene], Question | None], ...] = (
    colour,
    shape,
    position,
    presence,
)
TURNS = 3
GALLERY = 4
HUGE = 2
REPEATED = 2
PHOTO_QUESTIONS = (
    "Describe this picture in one sentence.",
    "Which colours do you see?",
    "Is there any text in it?",
)
TALK = ("What can you do?", "Tell me a fact about the sea.", "How much is 3 plus 4?")


@dataclass(frozen=True, slots=True)
class Turn:
    """`truth`: what the picture shows, if the model can be relied on to see it."""

    question: str
    truth: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """`name` is unique in a library. `fresh`: every visit makes the images unique; `mime`: their type in data URLs.
    `codes`: if any, the images must be refused with one of these error codes."""

    name: str
    images: tuple[bytes, ...]
    turns: tuple[Turn, ...]
    fresh: bool = True
    codes: tuple[str, ...] = ()
    mime: str = "image/jpeg"


Library = Mapping[str, tuple[Script, ...]]


def build(options: Options) -> Library:
    """Scripts for every kind with weight in the mix."""
    makers = _scenes(options) if options.images == "scenes" else _photos(options)
    makers["broken"] = lambda: _broken(options)
    return {kind: makers[kind]() for kind in KINDS if options.mix[kind]}


def expected(script: Script, turn: int, alone: str | None, options: Options) -> Expected:
    """What is right for one turn; `alone` is the answer without load, if known."""
    judged = options.answers != "none"
    ours = judged and options.server == "patchbay"
    return Expected(
        codes=script.codes,
        any_code=bool(script.codes) and not ours,
        alone=alone,
        truth=script.turns[turn].truth if judged else None,
        image_tokens=ours and bool(script.images),
    )


def requests_per_visit(kind: str) -> int:
    return TURNS if kind == "conversation" else 1


def _questions(scene: Scene, rng: np.random.Generator, count: int) -> list[Question]:
    """Up to `count` different questions that the scene answers."""
    found: dict[str, Question] = {}
    offset = int(rng.integers(len(ASKERS)))
    for i in range(len(ASKERS) * count):
        question = ASKERS[(i + offset) % len(ASKERS)](rng, scene)
        if question is not None:
            found.setdefault(question.text, question)
        if len(found) == count:
            break
    return list(found.values())


def _scenes(options: Options) -> dict[str, Callable[[], tuple[Script, ...]]]:
    seed, count = options.seed, options.count

    def scripts_of(
        kind: str, first: int, amount: int, turns: int = 1, fresh: bool = True, huge: bool = False
    ) -> tuple[Script, ...]:
        scripts: list[Script] = []
        index = first
        while len(scripts) < amount:
            shown, image = (pictures.huge_scene if huge else pictures.scene)(seed, index)
            asked = _questions(shown, rng_of(seed, index, 3), turns)
            index += 1
            if len(asked) == turns:
                # the model was not trained on follow-up questions, so their answers need not be true
                lines = tuple(Turn(q.text, None if i else q.answer) for i, q in enumerate(asked))
                scripts.append(Script(f"{kind} {len(scripts)}", (image,), lines, fresh))
        return tuple(scripts)

    def gallery() -> tuple[Script, ...]:
        scripts = []
        for i in range(count):
            drawn = [pictures.scene(seed, 30_000 + GALLERY * i + k) for k in range(GALLERY)]
            (asked,) = _questions(drawn[0][0], rng_of(seed, i, 4), 1)
            images = tuple(image for _, image in drawn)
            scripts.append(Script(f"gallery {i}", images, (Turn(asked.text),)))
        return tuple(scripts)

    def text() -> tuple[Script, ...]:
        talked = [talk(rng_of(seed, i, 5)) for i in range(count)]
        return tuple(Script(f"text {i}", (), (Turn(*line),)) for i, line in enumerate(talked))

    return {
        "chat": lambda: scripts_of("chat", 0, count),
        "conversation": lambda: scripts_of("conversation", 10_000, count, TURNS),
        "gallery": gallery,
        "text": text,
        "repeated": lambda: scripts_of("repeated", 20_000, REPEATED, fresh=False),
        "huge": lambda: scripts_of("huge", 25_000, HUGE, huge=True),
    }


def _photos(options: Options) -> dict[str, Callable[[], tuple[Script, ...]]]:
    seed, count = options.seed, options.count

    def scripts_of(
        kind: str,
        first: int,
        amount: int,
        images: int = 1,
        turns: int = 1,
        fresh: bool = True,
        huge: bool = False,
    ) -> tuple[Script, ...]:
        lines = tuple(Turn(text) for text in PHOTO_QUESTIONS[:turns])
        draw = pictures.huge_photo if huge else pictures.photo
        return tuple(
            Script(
                f"{kind} {i}", tuple(draw(seed, first + images * i + k) for k in range(images)), lines, fresh
            )
            for i in range(amount)
        )

    return {
        "chat": lambda: scripts_of("chat", 0, count),
        "conversation": lambda: scripts_of("conversation", 10_000, count, turns=TURNS),
        "gallery": lambda: scripts_of("gallery", 30_000, count, images=GALLERY),
        "text": lambda: tuple(Script(f"text {i}", (), (Turn(line),)) for i, line in enumerate(TALK)),
        "repeated": lambda: scripts_of("repeated", 20_000, REPEATED, fresh=False),
        "huge": lambda: scripts_of("huge", 25_000, HUGE, huge=True),
    }


def _broken(options: Options) -> tuple[Script, ...]:
    mimes = {"svg": "image/svg+xml", "bomb": "image/png"}
    return tuple(
        Script(
            f"broken: {name}", (data,), (Turn("What is this?"),), False, codes, mimes.get(name, "image/jpeg")
        )
        for name, (data, codes) in pictures.broken(options.seed).items()
    )
