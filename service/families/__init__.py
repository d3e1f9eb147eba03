"""Model families: what differs between vision-language checkpoints, behind one protocol.

A family is a folder: its geometry (standard library only) and its tower (torch). `registry.py` is the table of them.
"""

from __future__ import annotations

from pathlib import Path

from service.checkpoint.summary import Checkpoint, read_checkpoint, resolve
from service.families.base import FamilyFacts, Geometry
from service.families.opaque import OpaqueGeometry
from service.families.registry import family_of

__all__ = ["FamilyFacts", "Geometry", "family_of", "load_checkpoint", "load_geometry", "load_opaque"]


def load_geometry(path: str | Path, max_image_tokens: int | None = None) -> Geometry:
    """The geometry of the checkpoint in folder `path`.

    `max_image_tokens` is the operator's bound on the soft tokens of one image. Raises ConfigurationError: no such file,
    a family that is not supported, files that contradict each other, or a bound that the smallest images pass.
    """
    folder = Path(path)
    geometry = family_of(folder).geometry(folder)
    return geometry if max_image_tokens is None else geometry.limited(max_image_tokens)


def load_checkpoint(model: str, revision: str | None = None, *, weights: bool = True) -> Checkpoint:
    """What the files of `model` tell: a folder, or a hub id that is in the cache already or can be downloaded.

    With `weights` false the weights need not be there. Raises ConfigurationError naming the file that is missing, the
    field that is, or the family that is not supported.
    """
    folder = resolve(model, revision, weights=weights)
    family = family_of(folder)
    return read_checkpoint(
        folder,
        name=folder.resolve().name if Path(model).is_dir() else model,
        owns=family.owns,
        text_defaults=family.text_defaults,
        vision_sizes=family.vision_sizes,
        weights=weights,
    )


def load_opaque(
    model: str, revision: str | None, max_image_tokens: int | None, *, takes_images: bool
) -> tuple[Checkpoint, Geometry]:
    """Of a checkpoint whose family is not known here, as far as its files tell.

    Raises ConfigurationError: no config.json, or a bound that cannot be applied.
    """
    folder = resolve(model, revision)
    geometry = OpaqueGeometry.from_checkpoint(folder, takes_images=takes_images)
    checkpoint = read_checkpoint(
        folder,
        name=folder.resolve().name if Path(model).is_dir() else model,
        owns=lambda name: False,
        text_defaults={},
        complete=False,
    )
    return checkpoint, geometry if max_image_tokens is None else geometry.limited(max_image_tokens)
