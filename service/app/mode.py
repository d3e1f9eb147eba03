"""Whether images become soft tokens here or go to the engine's own tower, and why: the setting `images`."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from service.checkpoint.files import read_json
from service.checkpoint.kinds import embeds_texts
from service.checkpoint.summary import Checkpoint
from service.engine.architectures import installed
from service.engine.flags import flag_names
from service.errors import ConfigurationError, ServedNowhere
from service.families import Geometry, load_checkpoint, load_geometry, load_opaque
from service.families.registry import family_of
from service.settings import Settings

QUANTISED = (
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    ".qweight",
    ".qzeros",
    ".scales",
    ".absmax",
)
"""How the tensors of quantised layers end (compressed-tensors, FP8, AWQ, GPTQ, bitsandbytes)."""

NO_TOWER = "model: {folder} holds no tensors of its vision tower"


@dataclass(frozen=True, slots=True)
class ImageMode:
    images: Literal["handles", "passthrough"]
    why: str
    """Continues "handles: …" or "passthrough: …"."""
    checkpoint: Checkpoint
    geometry: Geometry


def choose_mode(settings: Settings, folder: Path) -> ImageMode:
    """What `images` comes to for the checkpoint in `folder`.

    Raises ConfigurationError when it cannot be served as it was asked for.
    """
    if settings.images == "auto":
        return _best(settings, folder)
    if settings.images == "handles":
        _must_encode(folder)
        return ImageMode("handles", "as set", *_known(settings, folder))
    return ImageMode("passthrough", "as set", *_as_far_as_known(settings, folder))


def _best(settings: Settings, folder: Path) -> ImageMode:
    try:
        _must_encode(folder)
    except ServedNowhere:
        raise
    except ConfigurationError as error:
        return ImageMode("passthrough", error.message, *_as_far_as_known(settings, folder, error.message))
    checkpoint, geometry = _known(settings, folder)
    return ImageMode(
        "handles", f"Patchbay encodes the family {geometry.facts.family} itself", checkpoint, geometry
    )


def _as_far_as_known(
    settings: Settings, folder: Path, why: str = "images=passthrough was asked for"
) -> tuple[Checkpoint, Geometry]:
    try:
        facts = load_geometry(folder).facts
    except ServedNowhere:
        raise
    except ConfigurationError:
        return _opaque(settings, folder)
    if settings.engine_url is None:
        if facts.language is not None:
            raise ServedNowhere(
                f"{why}; but vLLM serves no {facts.architecture}, of which Patchbay runs the language model there, so "
                "that images can only be encoded here: choose images=handles and a checkpoint with its tower"
            )
        _engine_must_find_a_tower(folder)
    return _known(settings, folder)


def _engine_must_find_a_tower(folder: Path) -> None:
    """Raises ConfigurationError where the files lack what vLLM, started here, would load for its own tower."""
    names, family = _tensor_names(folder), family_of(folder)
    if names and not any(family.owns(name) for name in names):
        raise ConfigurationError(
            f"{NO_TOWER.format(folder=folder)}, and vLLM starts no {read_json(folder / 'config.json')['model_type']} "
            "without them: name the whole checkpoint, or one of the language model alone"
        )


def _known(settings: Settings, folder: Path) -> tuple[Checkpoint, Geometry]:
    checkpoint = load_checkpoint(settings.model, settings.revision)
    return checkpoint, load_geometry(folder, settings.max_image_tokens)


def _opaque(settings: Settings, folder: Path) -> tuple[Checkpoint, Geometry]:
    architecture = (read_json(folder / "config.json").get("architectures") or ["unknown"])[0]
    known = installed()
    if known is not None:
        known.check(architecture)
    if embeds_texts(folder) and "--runner" not in flag_names(settings.engine_args):
        raise ConfigurationError(
            f"model: {folder} embeds texts and answers no chat requests (modules.json names a pooling layer); near it "
            "is the chat model that it was made of"
        )
    takes_images = known is None or known.takes_images(architecture)
    return load_opaque(
        settings.model, settings.revision, settings.max_image_tokens, takes_images=takes_images
    )


def _must_encode(folder: Path) -> None:
    """Raises ConfigurationError when images cannot be encoded here: an unknown family or layout, no PyTorch, a tower
    without tensors or with quantised ones."""
    family = family_of(folder)
    load_geometry(folder)
    if find_spec("torch") is None:
        raise ConfigurationError(
            "images=handles encodes images here, and PyTorch is not installed: install Patchbay with its cpu or cuda "
            "extra, or choose images=passthrough and name an engine that has a tower of its own with engine_url"
        )
    names = _tensor_names(folder)
    if not any(family.owns(name) for name in names):
        raise ConfigurationError(NO_TOWER.format(folder=folder))
    for name in names:
        stem = next((name.removesuffix(end) for end in QUANTISED if name.endswith(end)), None)
        if stem is not None and (family.owns(name) or family.owns(f"{stem}.weight")):
            raise ConfigurationError(f"model: the vision tower in {folder} is quantised ({name})")


def _tensor_names(folder: Path) -> list[str]:
    """Of all safetensors files, from their headers."""
    names: list[str] = []
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            names += json.loads(stream.read(length))
    return names
