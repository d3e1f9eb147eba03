"""What every family offers: the facts of a checkpoint, and arithmetic on sizes and token ids. No torch, no vLLM, no
pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, Protocol, Self

from service.domain import Detail, ImagePlan, LanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyFacts:
    """What a checkpoint's family says once and for all images."""

    family: str
    """`internvl`, `qwen_vl`"""
    architecture: str
    """Name of the model class in transformers and vLLM."""
    placeholders: tuple[str, ...]
    """Texts that the tokenizer turns into vision tokens, and that must stay text in what users write."""
    fingerprint: str
    """Changes with everything that decides pixels, soft tokens or their order: a field of every cache key."""
    min_side: int = 1
    """Shortest side of an image in pixels that the checkpoint's processor accepts."""
    max_ratio: float = inf
    """The largest ratio of an image's longer side to its shorter one."""
    independent_tiles: bool = True
    """Whether the tower computes each tile by itself, so that the tiles of an image may go in several calls."""
    bidirectional_images: bool = False
    """Whether each soft token of an image attends to all others of it, also to those behind it."""
    row_widths: int = 1
    """A soft token is so many times as wide as the language model's hidden state: 1 + levels with DeepStack."""
    engine_tower: Literal["absent", "loaded"] = "absent"
    """Whether the engine must load its own vision tower even though nothing is encoded there."""
    max_images: int | None = None
    """Images in a request that the model takes; None: any number."""
    counted: bool = True
    """Whether the soft tokens of an image are known from its size; else only the engine knows them."""
    takes_images: bool = True
    language: LanguageModel | None = None
    """What the engine serves where it has no class for the whole model: images come by handle or not at all."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    """Number formats in which the checkpoint can be served."""


class Geometry(Protocol):
    """How a checkpoint cuts images and how they stand in its prompts."""

    @property
    def facts(self) -> FamilyFacts: ...

    @property
    def max_tokens(self) -> int:
        """No image has more soft tokens."""
        ...

    @property
    def largest(self) -> ImagePlan:
        """Has `max_tokens` soft tokens, and no image costs more in anything. What an image of its size gets is this, or
        less: where the most tiles and the most soft tokens are of different images, it is neither."""
        ...

    def limited(self, tokens: int) -> Self:
        """The same where no image has more than `tokens` soft tokens.

        Raises ConfigurationError, which names max_image_tokens, when some image takes more at least.
        """
        ...

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        """What is cut from an image of `width` × `height` displayed pixels, and how it stands in the prompt.

        `max_tiles` bounds all tiles of the image together, under `auto` alone: `low` and `high` are the client's word.
        A smaller `max_tiles` never takes more positions. Raises ValueError for sizes below one or of a ratio beyond
        `max_ratio`.
        """
        ...

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        """Keyword arguments with which the checkpoint's own processor applies `low` or `high`, and a limit: for
        pass-through. Raises InvalidRequest for a detail that it cannot apply."""
        ...


def must_be_planned(width: int, height: int, facts: FamilyFacts, max_tiles: int | None) -> None:
    """Raises ValueError for arguments of `Geometry.plan` that are out of range."""
    if width < 1 or height < 1:
        raise ValueError(f"an image has at least one pixel, not {width} × {height}")
    if max(width, height) > facts.max_ratio * min(width, height):
        raise ValueError(
            f"the longer side is at most {facts.max_ratio:g} times the shorter one, not {width} × {height}"
        )
    if max_tiles is not None and max_tiles < 1:
        raise ValueError(f"max_tiles is at least 1, not {max_tiles}")
