"""What the launcher tells the plugin, and what a handle must be before the engine takes it.

Whatever would end the engine's process, or give one image's rows another's place, is refused here. Pure: knows
numbers, not vLLM or torch.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from service.domain import LanguageModel, LargeSteps, Run, SoftLayout
from service.engine.handles import PLUGIN_VERSION

VARIABLE = "PATCHBAY_PLUGIN"
STARTED_FOR_PATCHBAY = "PATCHBAY_ENGINE"
LARGE_STEPS = "PATCHBAY_LARGE_STEPS"
UNPROVED = "ACCEPT_UNPROVED_VLLM"
"""Set by whoever tries another version of vLLM. Inherited by the engine, as it does not begin with PATCHBAY_."""
REQUIRED = frozenset({"soft_version", "soft_target", "soft_layout"})
OPTIONAL = frozenset({"soft_joins", "soft_ending", "image_grid_thw"})
FIELDS = REQUIRED | OPTIONAL
MOST_JOINS = 256


class HandleRefused(Exception):
    """The sentence is for whoever made the handle."""


def must(true: bool, sentence: str) -> None:
    """Raises HandleRefused with `sentence` unless `true`."""
    if not true:
        raise HandleRefused(sentence)


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """`PATCHBAY_PLUGIN`, which the launcher sets for the engine's process and its children."""

    architecture: str
    """vLLM's name of the model class."""
    max_tokens: int
    """Soft tokens of the largest image."""
    language: LanguageModel | None = None
    """What is served where vLLM has no class of that name."""

    @classmethod
    def from_environment(cls) -> PluginSettings:
        return cls.from_json(os.environ[VARIABLE])

    @classmethod
    def from_json(cls, text: str) -> PluginSettings:
        """Raises ValueError for anything but an object of these fields and this plugin's version."""
        try:
            given = json.loads(text)
        except ValueError:
            given = None
        needed = {"architecture", "max_tokens", "version"}
        if not isinstance(given, dict) or not needed <= given.keys() <= needed | {"language"}:
            raise ValueError(
                f"{VARIABLE} is {text!r}; it must be a JSON object of architecture, max_tokens, version, and may have "
                "language"
            )
        if given["version"] != PLUGIN_VERSION:
            raise ValueError(f"{VARIABLE} is for plugin version {given['version']}; this is {PLUGIN_VERSION}")
        architecture, max_tokens = given["architecture"], given["max_tokens"]
        if not isinstance(architecture, str) or not architecture:
            raise ValueError(f"{VARIABLE}: architecture is {architecture!r}; it must be a class name")
        if type(max_tokens) is not int or max_tokens < 1:
            raise ValueError(f"{VARIABLE}: max_tokens is {max_tokens!r}; it must be a positive number")
        return cls(architecture, max_tokens, _language(given.get("language")))


def large_steps(environment: Mapping[str, str]) -> LargeSteps | None:
    """`PATCHBAY_LARGE_STEPS`, which the launcher sets where they have threads of their own."""
    text = environment.get(LARGE_STEPS)
    return None if text is None else LargeSteps(**json.loads(text))


def _language(given: Any) -> LanguageModel | None:
    names = {one.name for one in fields(LanguageModel)}
    if given is None:
        return None
    if not isinstance(given, dict) or given.keys() != names or not all(map(_is_text, given.values())):
        raise ValueError(
            f"{VARIABLE}: language is {given!r}; it must be an object of {', '.join(sorted(names))}"
        )
    return LanguageModel(**given)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine can take of one image."""

    max_tokens: int
    max_positions: int
    """The model's context length."""
    vocabulary: int
    merge: int | None
    """For M-RoPE, patches on a side of one soft token; else None."""


def check_key(key: str | None) -> None:
    """Raises HandleRefused for anything but a content key."""
    must(key is not None, "a handle needs its key as uuid")
    must(
        re.fullmatch("[0-9a-f]{64}", str(key)) is not None,
        f"a handle's key has 64 lower-case hexadecimal digits, not {key!r:.100}",
    )


def read_layout(fields: Mapping[str, Sequence[int]], limits: Limits) -> SoftLayout:
    """The layout that a handle's number lists describe. Raises HandleRefused."""
    version = list(fields["soft_version"])
    must(
        version == [PLUGIN_VERSION],
        f"the handle is of version {', '.join(map(str, version))}; the engine's plugin is of version {PLUGIN_VERSION}",
    )
    numbers = fields["soft_layout"]
    must(
        0 < len(numbers) <= 3 * limits.max_positions and len(numbers) % 3 == 0,
        "a handle's layout must be triples of token, count, carries_embedding",
    )
    must(
        all(flag in (0, 1) for flag in numbers[2::3]), "a handle's layout has a flag that is neither 0 nor 1"
    )
    runs = tuple(
        Run(token, count, bool(embeds))
        for token, count, embeds in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    )
    grid = fields.get("image_grid_thw")
    must(grid is None or len(grid) == 3, "a handle's grid must be three numbers: t, h, w")
    ending = fields.get("soft_ending")
    must(
        ending is None or (len(ending) == 1 and 0 <= ending[0] < limits.vocabulary),
        f"a handle's ending must be one token of the vocabulary of {limits.vocabulary}",
    )
    layout = SoftLayout(
        tuple(fields["soft_target"]),
        runs,
        None if grid is None else (grid[0], grid[1], grid[2]),
        _read_joins(fields.get("soft_joins", ())),
        None if ending is None else ending[0],
    )
    _check(layout, limits)
    return layout


def _read_joins(numbers: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    must(
        len(numbers) <= 3 * MOST_JOINS and len(numbers) % 3 == 0,
        f"a handle's joins must be at most {MOST_JOINS} triples of left, right, joined",
    )
    return tuple(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))


def _check(layout: SoftLayout, limits: Limits) -> None:
    counts = [run.count for run in layout.runs]
    must(
        min(counts) > 0 and sum(counts) <= limits.max_positions,
        f"a handle takes {sum(counts)} positions; each run takes at least one, all at most {limits.max_positions}",
    )
    must(
        all(run.token >= 0 and (run.embeds or run.token < limits.vocabulary) for run in layout.runs),
        f"a handle's layout has a token outside the vocabulary of {limits.vocabulary}",
    )
    must(
        0 < layout.tokens <= limits.max_tokens,
        f"a handle has {layout.tokens} soft tokens; allowed are 1 to {limits.max_tokens}",
    )
    joining = {token for join in layout.joins for token in join}
    must(
        all(0 <= token < limits.vocabulary for token in joining)
        and not joining & {run.token for run in layout.runs if run.embeds},
        f"a handle joins a token that carries a row, or is outside the vocabulary of {limits.vocabulary}",
    )
    if limits.merge is not None:
        _check_grid(layout, limits.merge)


def _check_grid(layout: SoftLayout, merge: int) -> None:
    if layout.grid is None:
        raise HandleRefused("a handle has no grid, and the model's positions need one")
    frames, height, width = layout.grid
    must(
        frames == 1  # another number would end the engine's process
        and min(height, width) > 0
        and height % merge == width % merge == 0
        and (height // merge) * (width // merge) == layout.tokens,
        f"a handle's grid [{frames}, {height}, {width}] does not give its {layout.tokens} soft tokens",
    )
    must(
        all(run.embeds for run in layout.runs),
        "a handle with a grid has positions that carry no row; the model's positions have no room for them",
    )
