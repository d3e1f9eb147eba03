"""What the evaluation asks: cases of every kind, from scenes never trained on, and how answers are marked."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from PIL import Image

from demo.chat import talk
from demo.draw import Colour
from demo.grounds import GROUNDS
from demo.questions import ASKERS, Question, number, presence, two_images
from demo.world import Scene, draw_scene, scene_seed

SMALL_HIGH, SMALL_LOW = "small writing, high", "small writing, low"
AT_LEAST = {
    "colour": 0.95,
    "shape": 0.95,
    "presence": 0.95,
    "position": 0.95,
    "count": 0.85,
    "number": 0.85,
    SMALL_HIGH: 0.75,
}
AT_MOST = {SMALL_LOW: 0.30}
UNJUDGED = ("content", "relation", "description", "two images", "chat")
KINDS = (*AT_LEAST, *AT_MOST, *UNJUDGED)
GROUND_KINDS = ("colour", "shape", "presence", "position", "count")
OF_EACH_GROUP = 0.80
MOST_THINGS = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One request: pictures, the detail they are sent with, a question and its right answer."""

    kind: str
    pictures: tuple[Image.Image, ...]
    detail: str
    text: str
    answer: str


def data_url(picture: Image.Image, file_format: str) -> str:
    """The picture as a `data:` URL; `file_format` is PNG or JPEG."""
    file = io.BytesIO()
    picture.save(file, file_format, quality=95)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def messages(case: Case, index: int) -> list[dict[str, object]]:
    """The OpenAI messages of a case. Small writing goes as PNG, every second other picture as JPEG."""
    file_format = "JPEG" if index % 2 and not case.kind.startswith("small") else "PNG"
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": {"url": data_url(picture, file_format), "detail": case.detail}}
        for picture in case.pictures
    ]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": case.text}]}]


def marked(case: Case, said: str) -> bool:
    """Whether an answer is right: the expected words, whatever the case and the full stop."""
    return said.strip().rstrip(".").lower() == case.answer.strip().rstrip(".").lower()


def _ask(kind: str, rng: np.random.Generator, scenes: list[Scene]) -> Question | None:
    if kind == "chat":
        return Question("chat", *talk(rng))
    if kind == "two images":
        return two_images(rng, scenes[0], scenes[1])
    if kind in ASKERS and kind != "number":
        return ASKERS[kind](rng, scenes[0])
    return number(rng, scenes[0])


def _case(kind: str, seed: int, index: int, ground: Colour | None) -> Case | None:
    rng = np.random.default_rng((*scene_seed("evaluate", seed, index), 1))
    scene_kind = "small" if kind.startswith("small") else "number" if kind == "number" else "shapes"
    amount = {"chat": 0, "two images": 2}.get(kind, 1)
    drawn = [
        draw_scene(scene_seed("evaluate", seed, 2 * index + i), scene_kind, ground=ground)
        for i in range(amount)
    ]
    question = _ask(kind, rng, [scene for scene, _ in drawn])
    if question is None:
        return None
    detail = {SMALL_HIGH: "high", SMALL_LOW: "low"}.get(kind, ("auto", "low")[int(rng.integers(2))])
    return Case(kind, tuple(picture for _, picture in drawn), detail, question.text, question.answer)


def _plan(count: int) -> Iterator[str]:
    """Kinds in turn, each judged kind three times as often as an unjudged one."""
    round_of = [*AT_LEAST, *AT_MOST] * 3 + list(UNJUDGED)
    for i in range(count):
        yield round_of[i % len(round_of)]


def _drawn(kinds: Iterable[str], seed: int, ground: Colour | None = None) -> list[Case]:
    cases = []
    index = 0
    for kind in kinds:
        case = None
        while case is None:
            case = _case(kind, seed, index, ground)
            index += 1
        cases.append(case)
    return cases


def draw_cases(count: int, seed: int) -> list[Case]:
    """`count` cases; the same count and seed give the same cases."""
    return _drawn(_plan(count), seed)


def draw_ground_cases(count: int, seed: int) -> list[tuple[str, Case]]:
    """`count` cases about shapes on each ground, with its name; the same count and seed give the same cases."""
    return [
        (name, case)
        for name, ground in GROUNDS.items()
        for case in _drawn(islice(cycle(GROUND_KINDS), count), seed, ground)
    ]


def draw_presence_cases(count: int, seed: int) -> list[tuple[str, Case]]:
    """`count` questions whether something is there in scenes of each number of things, with that number in words; as
    many are to be answered with yes as with no, which is their kind. The same count and seed give the same cases."""
    wanted = {
        (things, kind): (count + (kind == "yes")) // 2
        for things in range(1, MOST_THINGS + 1)
        for kind in ("yes", "no")
    }
    cases: list[tuple[str, Case]] = []
    index = 0
    while any(wanted.values()):
        scene, picture = draw_scene(scene_seed("evaluate", seed, index), "shapes")
        question = presence(np.random.default_rng((*scene_seed("evaluate", seed, index), 1)), scene)
        things, index = len(scene.things), index + 1
        if wanted.get((things, question.answer)):
            wanted[things, question.answer] -= 1
            cases.append(
                (
                    f"{things} things",
                    Case(question.answer, (picture,), "auto", question.text, question.answer),
                )
            )
    return sorted(cases, key=lambda each: each[0])


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the result: how many of a kind were right, and whether that meets what is asked of the kind."""

    kind: str
    right: int
    asked: int
    limit: str
    passed: bool | None

    @property
    def share(self) -> float:
        """Right answers as a share of 1."""
        return self.right / self.asked


def judge(cases: list[Case], answers: list[str]) -> list[Line]:
    """One line for each kind asked, in the order of `KINDS`."""
    right: dict[str, list[bool]] = defaultdict(list)
    for case, said in zip(cases, answers, strict=True):
        right[case.kind].append(marked(case, said))
    lines = []
    for kind in KINDS:
        if kind not in right:
            continue
        good, asked = sum(right[kind]), len(right[kind])
        limit, passed = "", None
        if kind in AT_LEAST:
            limit, passed = f"at least {100 * AT_LEAST[kind]:.0f} %", good >= AT_LEAST[kind] * asked
        elif kind in AT_MOST:
            limit, passed = f"at most {100 * AT_MOST[kind]:.0f} %", good <= AT_MOST[kind] * asked
        lines.append(Line(kind, good, asked, limit, passed))
    return lines


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One group of cases: by kind of question, how many answers were right and how many were asked for."""

    group: str
    kinds: dict[str, tuple[int, int]]

    @property
    def right(self) -> int:
        """Right answers of all kinds."""
        return sum(right for right, _ in self.kinds.values())

    @property
    def asked(self) -> int:
        """Questions of all kinds."""
        return sum(asked for _, asked in self.kinds.values())

    @property
    def passed(self) -> bool:
        """Whether enough of all were right."""
        return self.right >= OF_EACH_GROUP * self.asked

    def share(self, kind: str | None = None) -> float:
        """Right answers, of one kind or of all, as a share of 1."""
        right, asked = (self.right, self.asked) if kind is None else self.kinds[kind]
        return right / asked


def judge_groups(cases: list[tuple[str, Case]], answers: list[str]) -> list[GroupLine]:
    """One line for each group, in the order of `cases`."""
    marks: dict[str, dict[str, list[bool]]] = {}
    for (name, case), said in zip(cases, answers, strict=True):
        marks.setdefault(name, defaultdict(list))[case.kind].append(marked(case, said))
    return [
        GroupLine(name, {kind: (sum(right), len(right)) for kind, right in kinds.items()})
        for name, kinds in marks.items()
    ]
