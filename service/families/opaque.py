"""Checkpoints of no family that is known here: the engine encodes their images, and what these cost is not known
beforehand.

Implements `Geometry` as far as that goes: plans say nothing, and nobody may count by them (`FamilyFacts.counted`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from service.checkpoint.files import read_json
from service.domain import Detail, ImagePlan, SoftLayout
from service.errors import ConfigurationError
from service.families.base import FamilyFacts, must_be_planned

MEDIA = re.compile(
    r"image|img|vision|visual|video|audio|patch|media|pixel|frame|camera|\bocr\b", re.IGNORECASE
)
TOKEN_FIELD = re.compile(r"_token_(id|index)$")
TEXT_TOKENS = frozenset(
    {"bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id"}
)
NOTHING = ImagePlan("high", (), 0, SoftLayout((), ()))


@dataclass(frozen=True, slots=True)
class OpaqueGeometry:
    facts: FamilyFacts
    max_tokens: int = 0
    largest: ImagePlan = NOTHING

    @classmethod
    def from_checkpoint(cls, folder: Path, *, takes_images: bool = True) -> Self:
        """Raises ConfigurationError when `folder` has no config.json."""
        config = read_json(folder / "config.json")
        return cls(
            FamilyFacts(
                family="none",
                architecture=(config.get("architectures") or ["unknown"])[0],
                placeholders=media_tokens(folder, config),
                fingerprint="opaque",
                counted=False,
                takes_images=takes_images,
            )
        )

    def limited(self, tokens: int) -> Self:
        raise ConfigurationError(
            f"max_image_tokens ({tokens}) cannot be applied: images of a {self.facts.architecture} go to the engine's "
            "own tower, and what they cost there is not known here; leave it unset"
        )

    def plan(self, width: int, height: int, detail: Detail, max_tiles: int | None = None) -> ImagePlan:
        must_be_planned(width, height, self.facts, max_tiles)
        return NOTHING

    def processor_options(self, detail: str) -> Mapping[str, Any]:
        """None: the checkpoint's own processor decides."""
        return {}


def media_tokens(folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Texts that the tokenizer turns into tokens for images, audio or video, as far as its files tell."""
    added: dict[int, str] = {}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (file := folder / name).is_file():
            added |= _added(read_json(file))
    named = {
        value
        for name, value in config.items()
        if TOKEN_FIELD.search(name) and name not in TEXT_TOKENS and isinstance(value, int)
    }
    texts = {text for token, text in added.items() if token in named or MEDIA.search(text)}
    return tuple(sorted(text for text in texts if len(text) > 1))


def _added(tokenizer: Mapping[str, Any]) -> dict[int, str]:
    listed = [entry for entry in tokenizer.get("added_tokens") or [] if isinstance(entry, dict)]
    found = {entry.get("id"): entry.get("content") for entry in listed}
    decoder = tokenizer.get("added_tokens_decoder")
    for token, entry in (decoder if isinstance(decoder, dict) else {}).items():
        if str(token).isdecimal() and isinstance(entry, dict):
            found[int(token)] = entry.get("content")
    return {i: text for i, text in found.items() if isinstance(i, int) and isinstance(text, str)}
