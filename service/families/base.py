"""What every family's geometry offers: arithmetic on sizes and token ids. No torch, no vLLM, no pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

from service.domain import Detail, SoftLayout, TilePlan


class Geometry(Protocol):
    """How a checkpoint cuts images and how they stand in its prompts."""

    @property
    def name(self) -> str:
        """The family: `internvl`, `qwen_vl`."""
        ...

    @property
    def architecture(self) -> str:
        """Name of the model class in transformers and vLLM."""
        ...

    @property
    def max_rows(self) -> int:
        """No image has more soft tokens."""
        ...

    @property
    def largest(self) -> TilePlan:
        """Has `max_rows` soft tokens; no image costs more. What an image of its size gets is this, or little less."""
        ...

    @property
    def tiles_apart(self) -> bool:
        """Whether the tower computes each tile by itself, so that the tiles of an image may go in several calls."""
        ...

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Texts that the tokenizer turns into vision tokens, and that must stay text in what users write."""
        ...

    @property
    def min_side(self) -> int:
        """Shortest side in pixels that the checkpoint's processor accepts."""
        ...

    @property
    def max_ratio(self) -> float:
        """Of the longer side to the shorter one, the most that the checkpoint's processor accepts."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with everything that decides pixels, rows or their order: a field of every cache key."""
        ...

    def limited(self, rows: int) -> Self:
        """The same where no image has more than `rows` soft tokens.

        Raises ConfigurationError, which names max_image_tokens, when some image takes more at least.
        """
        ...

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> TilePlan:
        """What is cut from an image of `width` × `height` displayed pixels.

        `max_tiles` bounds all tiles of the image together, under `auto` alone: `low` and `high` are the client's word.
        Raises ValueError for sizes below one or of a ratio beyond `max_ratio`.
        """
        ...

    def layout(self, plan: TilePlan) -> SoftLayout:
        """How the image stands in the prompt, in the checkpoint's token ids."""
        ...

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        """Keyword arguments with which the checkpoint's own processor applies `low` or `high`, and a limit: for
        pass-through."""
        ...
