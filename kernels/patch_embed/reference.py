"""What patch_embed computes, in plain torch and fp32: read this file first, all others are held against it.

`unfused` is the chain of operations at the front of every vision transformer (Dosovitskiy et al. 2020, §3.1),
as CLIP, SigLIP and InternVL run it. `patch_embed` is the same function after the fold (`fold.py`): everything
that does not depend on the pixels has become two tensors, `weight` and `offset`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from kernels.patch_embed.fold import CENTRE, FoldedPatchEmbed


def patch_embed(tiles: torch.Tensor, folded: FoldedPatchEmbed) -> torch.Tensor:
    """uint8 tiles [tiles, height, width, 3] → fp32 tokens [tiles, prefix + patches, hidden]."""
    pixels = cut_patches(tiles, folded.patch_size).flatten(3).flatten(1, 2)  # [tiles, patches, K]
    seen = pixels.float() - CENTRE
    from_pixels = seen @ folded.weight[:, : folded.pixels].float().T  # [tiles, patches, hidden]
    prefix = folded.offset[: folded.prefix].expand(len(tiles), -1, -1)  # the class token sees no pixels
    return torch.cat([prefix, from_pixels + folded.offset[folded.prefix :]], dim=1)


def cut_patches(tiles: torch.Tensor, patch_size: int) -> torch.Tensor:
    """A view: [tiles, height, width, 3] → [tiles, rows, columns, patch_size, patch_size, 3]."""
    columns = torch.unflatten(tiles, 2, (-1, patch_size))
    return torch.unflatten(columns, 1, (-1, patch_size)).transpose(2, 3)


def unfused(
    tiles: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    mean: Sequence[float],
    std: Sequence[float],
    position: torch.Tensor | None,
    cls: torch.Tensor | None,
) -> torch.Tensor:
    """The chain, in the dtype of `weight`; arguments as for `fold_patch_embed`, the weight with four dimensions."""
    precise = torch.promote_types(weight.dtype, torch.float32)
    shift, scale = (
        255 * torch.tensor(v, dtype=precise, device=tiles.device).view(3, 1, 1) for v in (mean, std)
    )
    return embed(normalise(tiles, shift, scale).to(weight.dtype), weight, bias, position, cls)


def normalise(tiles: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """uint8 [tiles, height, width, 3] → [tiles, 3, height, width], in fp32 or fp64 as image processors do it."""
    return (tiles.permute(0, 3, 1, 2).to(shift.dtype) - shift) / scale


def embed(
    normalised: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    position: torch.Tensor | None,
    cls: torch.Tensor | None,
) -> torch.Tensor:
    """Convolve, flatten, put the class token in front, add positions: an embedding module's forward."""
    grid = F.conv2d(normalised, weight, bias, stride=weight.shape[2:])
    tokens = grid.flatten(2).transpose(1, 2)  # [tiles, patches, hidden]
    if cls is not None:
        tokens = torch.cat([cls.reshape(1, 1, -1).expand(len(tokens), 1, -1), tokens], dim=1)
    return tokens if position is None else tokens + position.reshape(-1, tokens.shape[-1])
