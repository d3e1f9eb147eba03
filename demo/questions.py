"""Questions about scenes, with the one right answer to each.

A question is asked only where the scene settles it: the colour of "the star" where there is one star. Knows scenes and
English; knows nothing of pixels, tokens or models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from demo.draw import COLOURS, SHAPES
from demo.world import REGIONS, Scene, Thing

T = TypeVar("T")
CANNOT_READ = "I cannot read it."
NO_NUMBER = "There is no number."


@dataclass(frozen=True, slots=True)
class Question:
    """`kind` is what accuracy is reported by; `text` is asked, `answer` expected word for word."""

    kind: str
    text: str
    answer: str


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def _plural(shape: str) -> str:
    return "crosses" if shape == "cross" else shape + "s"


def _name(thing: Thing) -> str:
    return f"{thing.colour} {thing.shape}"


def _unique(scene: Scene, attribute: Callable[[Thing], str]) -> list[Thing]:
    counts = Counter(attribute(thing) for thing in scene.things)
    return [thing for thing in scene.things if counts[attribute(thing)] == 1]


def colour(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The colour of the only thing of its shape."""
    unique = _unique(scene, lambda thing: thing.shape)
    if not unique:
        return None
    thing = _pick(rng, unique)
    asked = _pick(
        rng, ("What colour is the {}?", "Which colour does the {} have?", "What is the colour of the {}?")
    )
    return Question("colour", asked.format(thing.shape), thing.colour)


def shape(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The shape of the only thing of its colour."""
    unique = _unique(scene, lambda thing: thing.colour)
    if not unique:
        return None
    thing = _pick(rng, unique)
    asked = _pick(
        rng, ("What shape is the {} object?", "Which shape is {}?", "What is the shape of the {} object?")
    )
    return Question("shape", asked.format(thing.colour), thing.shape)


def count(rng: np.random.Generator, scene: Scene) -> Question:
    """How many things there are: in all, of a shape, or of a colour; zero now and then."""
    what = rng.random()
    if what < 0.4:
        asked = _pick(
            rng,
            ("How many objects are there?", "How many shapes are there?", "Count the objects in the image."),
        )
        return Question("count", asked, str(len(scene.things)))
    present = scene.things and rng.random() < 0.85
    if what < 0.7:
        wanted = _pick(rng, scene.things).shape if present else _pick(rng, SHAPES)
        number = sum(thing.shape == wanted for thing in scene.things)
        noun = _plural(wanted)
    else:
        wanted = _pick(rng, scene.things).colour if present else _pick(rng, list(COLOURS))
        number = sum(thing.colour == wanted for thing in scene.things)
        noun = f"{wanted} objects"
    asked = _pick(rng, ("How many {} are there?", "How many {} do you see?", "Count the {}."))
    return Question("count", asked.format(noun), str(number))


def _absent_pair(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    """A colour and shape not found together; often both are there, on different things."""
    here = {(thing.colour, thing.shape) for thing in scene.things}
    crossed = [
        (a.colour, b.shape) for a in scene.things for b in scene.things if (a.colour, b.shape) not in here
    ]
    if crossed and rng.random() < 0.5:
        return _pick(rng, crossed)
    absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in here]
    return _pick(rng, absent)


def presence(rng: np.random.Generator, scene: Scene) -> Question:
    """Whether something is there; yes and no are equally likely."""
    yes = bool(scene.things) and rng.random() < 0.5
    level = rng.random()
    if level < 0.5:
        words = _name(_pick(rng, scene.things)) if yes else " ".join(_absent_pair(rng, scene))
        found = yes
    elif level < 0.75:
        missing = [s for s in SHAPES if all(thing.shape != s for thing in scene.things)]
        words = _pick(rng, scene.things).shape if yes else _pick(rng, missing)
        found = yes
    else:
        missing = [c for c in COLOURS if all(thing.colour != c for thing in scene.things)]
        words = (_pick(rng, scene.things).colour if yes else _pick(rng, missing)) + " object"
        found = yes
    article = "an" if words[0] in "aeiou" else "a"
    asked = _pick(rng, ("Is there {} {}?", "Do you see {} {}?", "Is there {} {} in the image?"))
    return Question("presence", asked.format(article, words), "yes" if found else "no")


def position(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The region of a thing that its name settles."""
    unique = _unique(scene, _name)
    if not unique:
        return None
    thing = _pick(rng, unique)
    lone = [t for t in _unique(scene, lambda t: t.shape) if t is thing]
    words = thing.shape if lone and rng.random() < 0.3 else _name(thing)
    asked = _pick(
        rng, ("Where is the {}?", "In which part of the image is the {}?", "What is the position of the {}?")
    )
    return Question("position", asked.format(words), REGIONS[thing.region])


def content(rng: np.random.Generator, scene: Scene) -> Question | None:
    """What lies in a region."""
    if not scene.things:
        return None
    thing = _pick(rng, scene.things)
    asked = _pick(
        rng, ("What is in the {} of the image?", "What is at the {}?", "What do you see in the {}?")
    )
    return Question("content", asked.format(REGIONS[thing.region]), _name(thing))


_SIDES: tuple[tuple[str, int, int], ...] = (
    ("left of", 0, -1),
    ("right of", 0, 1),
    ("above", 1, -1),
    ("below", 1, 1),
)


def relation(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Whether one thing is left of, right of, above or below another, where they differ clearly that way."""
    unique = _unique(scene, _name)
    words, axis, sign = _pick(rng, _SIDES)
    side = (scene.width, scene.height)[axis]
    pairs = [(a, b) for a in unique for b in unique if abs(a.centre[axis] - b.centre[axis]) > 0.15 * side]
    if not pairs:
        return None
    first, second = _pick(rng, pairs)
    holds = (first.centre[axis] - second.centre[axis]) * sign > 0
    return Question(
        "relation", f"Is the {_name(first)} {words} the {_name(second)}?", "yes" if holds else "no"
    )


def describe(scene: Scene) -> str:
    """The list of everything in a scene, in reading order of the regions, the writing last."""
    parts = [f"{'an' if thing.colour[0] in 'aeiou' else 'a'} {_name(thing)}" for thing in scene.things]
    if scene.writing is not None:
        parts.append("a number")
    if not parts:
        return "nothing"
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def description(rng: np.random.Generator, scene: Scene) -> Question:
    """Everything in the picture, in reading order."""
    asked = _pick(
        rng, ("Describe the image.", "What is in the image?", "What do you see?", "Describe the picture.")
    )
    return Question("description", asked, describe(scene))


def number(rng: np.random.Generator, scene: Scene, readable: bool = True) -> Question:
    """The written number; `readable` is false where the detail asked for cannot show it."""
    asked = _pick(
        rng,
        (
            "What number is written?",
            "Which number is written in the image?",
            "Read the number.",
            "What is the number?",
        ),
    )
    if scene.writing is None:
        return Question("no number", asked, NO_NUMBER)
    kind = "small writing" if scene.kind == "small" else "number"
    return Question(kind, asked, scene.writing.text if readable else CANNOT_READ)


ASKERS: dict[str, Callable[[np.random.Generator, Scene], Question | None]] = {
    "colour": colour,
    "shape": shape,
    "count": count,
    "presence": presence,
    "position": position,
    "content": content,
    "relation": relation,
    "description": description,
    "number": number,
}


def two_images(rng: np.random.Generator, first: Scene, second: Scene) -> Question | None:
    """A question that only both pictures together answer."""
    asked = rng.random()
    if asked < 0.5:
        return _which_image(rng, first, second)
    if asked < 0.75:
        if len(first.things) == len(second.things):
            return None
        more = "first" if len(first.things) > len(second.things) else "second"
        return Question("two images", "Which image has more objects?", f"the {more}")
    total = len(first.things) + len(second.things)
    return Question("two images", "How many objects are in both images together?", str(total))


def _which_image(rng: np.random.Generator, first: Scene, second: Scene) -> Question | None:
    names = ({_name(thing) for thing in first.things}, {_name(thing) for thing in second.things})
    only = [(name, "first") for name in sorted(names[0] - names[1])]
    only += [(name, "second") for name in sorted(names[1] - names[0])]
    if not only:
        return None
    name, which = _pick(rng, only)
    asked = _pick(rng, ("Which image has the {}?", "In which image is the {}?", "Which image shows the {}?"))
    return Question("two images", asked.format(name), f"the {which}")
