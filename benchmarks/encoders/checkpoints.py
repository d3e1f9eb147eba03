"""Checkpoints with random weights whose towers are timed: one of each backbone, and what both ways take of a picture.

They are the ones of the tests, made larger: 512 wide and six layers deep. The numbers in them are brought to the size
that training leaves, since the tests' own would saturate attention in so wide a tower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma4ImageProcessor,
    Glm4vImageProcessor,
    PixtralImageProcessor,
    Qwen2VLImageProcessor,
)

from kernels.patch_embed.reference import normalise
from service.checkpoint.files import read_normalisation
from service.domain import View
from service.families.towers import TiledImage
from tests.service import (
    tiny_blip2,
    tiny_gemma4,
    tiny_glm4v,
    tiny_idefics3,
    tiny_internvl,
    tiny_llava,
    tiny_paligemma,
    tiny_pixtral,
    tiny_qwen2_vl,
    tiny_qwen3_vl,
    tiny_qwen_vl,
)
from tests.service.families.rows import tiled
from tests.service.tiny import pictures

Inputs = Mapping[str, Any]
"""What transformers' `get_image_features` takes."""
Prepare = Callable[[Path, int], tuple[Sequence[TiledImage], Inputs]]
"""A checkpoint's folder and a number of pictures → they as our tower takes them, and as transformers' does"""

SIZES = ((448, 448), (672, 448), (336, 560), (896, 224), (448, 672), (560, 560), (224, 336), (448, 336))
"""Pictures of towers of native resolution, width and height; they are taken in turn."""


@dataclass(frozen=True)
class Sizes:
    """Of a tower."""

    hidden: int = 512
    mlp: int = 2048
    layers: int = 6
    heads: int = 8
    side: int = 336
    """Pixels on a side of a tile."""
    pictures: tuple[tuple[int, int], ...] = SIZES


@dataclass(frozen=True)
class Backbone:
    name: str
    model: str
    """Whose checkpoint it is."""
    write: Callable[[Path, Sizes], Any]
    """Saves it in a folder."""
    prepare: Callable[[Sizes], Prepare]

    def make(self, folder: Path, sizes: Sizes, dtype: torch.dtype) -> None:
        """`dtype`: of what is stored, so that no way through the tower rounds it once more."""
        self.write(folder, sizes)
        for file in folder.glob("*.safetensors"):
            _soften(file, dtype)


def _soften(file: Path, dtype: torch.dtype) -> None:
    """Matrices and tables of normal numbers, each row about as long as one; most norms and biases stay.

    Gemma 4 does not divide its scores by the root of a head's width, and has norms of queries and keys that do so.
    """
    generator = torch.Generator().manual_seed(1)
    stored = load_file(file)
    for name, tensor in sorted(stored.items()):
        if tensor.ndim > 1:
            drawn = torch.randn(tensor.shape, generator=generator)
            stored[name] = drawn / drawn[0].numel() ** 0.5
        elif name.endswith(("q_norm.weight", "k_norm.weight")):
            stored[name] = tensor / len(tensor) ** 0.25
    save_file({name: tensor.to(dtype) for name, tensor in stored.items()}, file, {"format": "pt"})


def _vit(sizes: Sizes) -> dict[str, Any]:
    """A vision_config as most have it."""
    return {
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.mlp,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
    }


def _tiles(sizes: Sizes) -> dict[str, Any]:
    return {**_vit(sizes), "image_size": sizes.side}


def _native(sizes: Sizes) -> dict[str, Any]:
    """A vision_config of the Qwen-VL line."""
    return {
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.mlp,
        "depth": sizes.layers,
        "num_heads": sizes.heads,
    }


def _squares(sizes: Sizes, *, nested: bool = False) -> Prepare:
    """Tiles of noise; `nested`: transformers takes a list of tiles for each picture, and which pixels count."""

    def prepare(folder: Path, count: int) -> tuple[Sequence[TiledImage], Inputs]:
        side, generator = sizes.side, torch.Generator().manual_seed(2)
        tiles = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)
        shift, scale = (255 * torch.tensor(each).view(3, 1, 1) for each in read_normalisation(folder))
        values = normalise(tiles, shift, scale)
        # rows are told by the tower itself
        images = [TiledImage([View(side, side, side, side)], [tile[None]], 1) for tile in tiles]
        if not nested:
            return images, {"pixel_values": values}
        mask = torch.ones(count, 1, side, side, dtype=torch.int64)
        return images, {"pixel_values": values[:, None], "pixel_attention_mask": mask}

    return prepare


def _pictures(processor: Any, sizes: Sizes, **options: Any) -> Prepare:
    """Pictures of any sizes through transformers' own `processor`."""

    def prepare(folder: Path, count: int) -> tuple[Sequence[TiledImage], Inputs]:
        drawn: list[Image.Image] = pictures(
            [sizes.pictures[number % len(sizes.pictures)] for number in range(count)]
        )
        seen = processor.from_pretrained(folder)(images=drawn, return_tensors="pt", **options)
        return tiled(folder, drawn), {name: value for name, value in seen.items() if name not in UNUSED}

    return prepare


UNUSED = ("num_soft_tokens_per_image",)
"""What a processor tells beside a model's inputs."""
ROOM = 4096
"""Soft tokens of a picture at most: none of `SIZES` is shrunk."""


def _write_qwen2(folder: Path, sizes: Sizes) -> None:
    vision = {
        "embed_dim": sizes.hidden,
        "mlp_ratio": sizes.mlp // sizes.hidden,
        "depth": sizes.layers,
        "num_heads": sizes.heads,
    }
    tiny_qwen2_vl.write_checkpoint(folder, vision=vision, tokenizer=True, max_pixels=ROOM * 28**2)


def _write_gemma4(folder: Path, sizes: Sizes) -> None:
    vision = {
        **_vit(sizes),
        "num_key_value_heads": sizes.heads,
        "head_dim": sizes.hidden // sizes.heads,
        "patch_size": 16,
        "position_embedding_size": 4096,
    }
    tiny_gemma4.write_checkpoint(folder, vision=vision)


def _write_blip2(folder: Path, sizes: Sizes) -> None:
    reader = {"encoder_hidden_size": sizes.hidden, "hidden_size": 192, "intermediate_size": 768}
    tiny_blip2.write_checkpoint(
        folder,
        vision_config={**tiny_blip2.VISION, **_tiles(sizes)},
        qformer_config={**tiny_blip2.QFORMER, **reader},
    )


def _write_qwen(write: Callable[..., Any], cell: int, folder: Path, sizes: Sizes) -> None:
    write(folder, vision=_native(sizes), tokenizer=True, max_pixels=ROOM * cell**2)


BACKBONES = (
    Backbone(
        "CLIP",
        "LLaVA-1.5",
        # with all of its layers, so that both ways compute as many
        lambda folder, sizes: tiny_llava.write_checkpoint(
            folder, anyres=False, vision=_tiles(sizes), vision_feature_layer=-1
        ),
        _squares,
    ),
    Backbone(
        "SigLIP",
        "PaliGemma",
        lambda folder, sizes: tiny_paligemma.write_checkpoint(folder, vision=_tiles(sizes)),
        _squares,
    ),
    Backbone(
        "SigLIP, shuffled",
        "Idefics3",
        lambda folder, sizes: tiny_idefics3.write_checkpoint(folder, vision=_tiles(sizes)),
        partial(_squares, nested=True),
    ),
    Backbone(
        "InternViT",
        "InternVL",
        lambda folder, sizes: tiny_internvl.write_checkpoint(
            folder, vision={**_tiles(sizes), "image_size": [sizes.side, sizes.side]}
        ),
        _squares,
    ),
    Backbone("EVA and Q-Former", "BLIP-2", _write_blip2, _squares),
    Backbone("Qwen2-VL's", "Qwen2-VL", _write_qwen2, partial(_pictures, Qwen2VLImageProcessor)),
    Backbone(
        "Qwen2.5-VL's",
        "Qwen2.5-VL",
        partial(_write_qwen, tiny_qwen_vl.write_checkpoint, 28),
        partial(_pictures, Qwen2VLImageProcessor),
    ),
    Backbone(
        "Qwen3-VL's",
        "Qwen3-VL",
        partial(_write_qwen, tiny_qwen3_vl.write_checkpoint, 32),
        partial(_pictures, Qwen2VLImageProcessor),
    ),
    Backbone(
        "GLM's",
        "GLM-4.1V",
        lambda folder, sizes: tiny_glm4v.write_checkpoint(
            folder, vision=_native(sizes), max_pixels=ROOM * 28**2
        ),
        partial(_pictures, Glm4vImageProcessor),
    ),
    Backbone(
        "Pixtral",
        "Mistral 3",
        lambda folder, sizes: tiny_pixtral.write_checkpoint(folder, edge=1540, vision=_vit(sizes)),
        partial(_pictures, PixtralImageProcessor, patch_size=28),
    ),
    Backbone(
        "Gemma 4's",
        "Gemma 4",
        _write_gemma4,
        partial(_pictures, Gemma4ImageProcessor),
    ),
)
"""Every tower that a family has of its own or shares; Qwen3.5's is Qwen3-VL's without its levels."""
