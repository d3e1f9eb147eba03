"""Everything about a patch embedding that does not depend on the pixels, worked out once in fp64.

With E the patch projection, b its bias, μ and σ the normalisation, for a pixel x of 0…255:

    E·((x/255 − μ)/σ) + b  =  W·(x − 128) + b'     W = E/(255σ),  b' = b + Σ E·(128/255 − μ)/σ

W is rounded to the dtype of the matrix product, b' stays fp32. x − 128 is exact in bf16; why the centre matters
is in README.md. The caller finds the tensors in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kernels.backend import product_dtype

CENTRE = 128
"""The pixel value that counts as zero: in −128…127 every pixel is exact in bf16, fp16 and int8."""
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
ALIGNMENT = 64
"""K is padded to a multiple of this: rows of whole 128-byte lines in bf16, and whole blocks for the kernel."""


@dataclass(frozen=True, slots=True, eq=False)
class FoldedPatchEmbed:
    """out[tile, token] = offset[token] + weight · (pixels of that token − 128); made by `fold_patch_embed`."""

    weight: torch.Tensor
    """[hidden, K], K = (line, column, colour) of a patch as HWC tiles have it, zero-padded to `ALIGNMENT`."""
    offset: torch.Tensor
    """[prefix + patches, hidden] fp32: class token, bias and positions; one row for all patches if unplaced."""
    patch_size: int
    prefix: int
    """Tokens in front that see no pixels: 1 with a class token, else 0."""
    patches: int | None
    """How many patches a tile must have; None without positions, when any number will do."""
    dtype: torch.dtype
    """Of the tokens that come out; `weight.dtype` is that of the matrix product."""

    @property
    def hidden(self) -> int:
        return self.weight.shape[0]

    @property
    def pixels(self) -> int:
        """K without its padding: the bytes of one patch."""
        return 3 * self.patch_size**2


def fold_patch_embed(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    mean: Sequence[float],
    std: Sequence[float],
    position: torch.Tensor | None,
    cls: torch.Tensor | None,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    weight_dtype: torch.dtype | None = None,
) -> FoldedPatchEmbed:
    """Fold a tower's embedding layer; tensors as its checkpoint holds them, on any device.

    Args:
        weight: [hidden, 3, P, P] of the strided Conv2d, or [hidden, 3, frames, P, P] of a Conv3d whose frames
            are all the same picture (Qwen-VL towers on stills): its frames are summed, a half of the work.
        bias: [hidden], or None.
        mean, std: per colour, for pixels of 0…1 (`image_mean`, `image_std` of the image processor).
        position: [..., hidden], one row per token in row-major order, leading dimensions of any form; with
            `cls` its first row is the class token's. None if the tower adds none here. Interpolation to the
            tile's grid is the caller's work.
        cls: class token, hidden elements in any shape, or None (SigLIP).
        dtype: of the tokens; bf16, fp16 or fp32.
        device: where the folded tensors live.
        weight_dtype: of the matrix product; by default what suits the device (`product_dtype`).

    Raises:
        ValueError: a shape, a dtype or a normalisation that cannot be.
    """
    weight_dtype = weight_dtype or product_dtype(dtype, device)
    for name, value in (("dtype", dtype), ("weight_dtype", weight_dtype)):
        if value not in DTYPES:
            raise ValueError(f"{name}: got {value}, allowed are {', '.join(map(str, DTYPES))}")
    exact = _exact(weight)
    if exact.ndim == 5:
        exact = exact.sum(2)
    if exact.ndim != 4 or exact.shape[1] != 3 or exact.shape[2] != exact.shape[3]:
        raise ValueError(
            f"weight: got shape {list(weight.shape)}, allowed are [hidden, 3, P, P] and [hidden, 3, frames, P, P]"
        )
    hidden, _, patch_size, _ = exact.shape
    mu, sigma = _per_colour("mean", mean), _per_colour("std", std)
    if not bool((sigma > 0).all()):
        raise ValueError(f"std: got {list(std)}, each must be above 0")

    scaled = exact / (255 * sigma).view(3, 1, 1)  # [hidden, 3, P, P]
    rows = scaled.permute(0, 2, 3, 1).flatten(1)  # [hidden, K], colours innermost as in HWC tiles
    constant = exact.sum((2, 3)) @ ((CENTRE / 255 - mu) / sigma)  # [hidden]
    if bias is not None:
        constant = constant + _sized("bias", bias, hidden)
    offset = _offsets(constant, position, cls)
    prefix = 0 if cls is None else 1
    return FoldedPatchEmbed(
        weight=F.pad(rows, (0, -rows.shape[1] % ALIGNMENT)).to(device, weight_dtype),
        offset=offset.to(device, torch.float32),
        patch_size=patch_size,
        prefix=prefix,
        patches=None if position is None else len(offset) - prefix,
        dtype=dtype,
    )


def _offsets(constant: torch.Tensor, position: torch.Tensor | None, cls: torch.Tensor | None) -> torch.Tensor:
    """What each token is before it sees its pixels: [prefix + patches, hidden], or one row for all patches."""
    hidden = len(constant)
    token = None if cls is None else _sized("cls", cls, hidden)[None]
    if position is None:
        return constant[None] if token is None else torch.cat([token, constant[None]])
    prefix = 0 if token is None else 1
    if position.shape[-1:] != (hidden,) or position.numel() < (prefix + 1) * hidden:
        raise ValueError(
            f"position: got shape {list(position.shape)}, allowed is [..., {hidden}] with a row per patch"
            + (" and one in front for the class token" if prefix else "")
        )
    rows = _exact(position).reshape(-1, hidden)
    patches = constant + rows[prefix:]
    return patches if token is None else torch.cat([token + rows[:1], patches])


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float64)


def _sized(name: str, tensor: torch.Tensor, hidden: int) -> torch.Tensor:
    if tensor.numel() != hidden:
        raise ValueError(f"{name}: got shape {list(tensor.shape)}, must hold hidden={hidden} elements")
    return _exact(tensor).reshape(hidden)


def _per_colour(name: str, values: Sequence[float]) -> torch.Tensor:
    if len(values) != 3:
        raise ValueError(f"{name}: got {len(values)} values, must be 3, one per colour")
    return torch.tensor(values, dtype=torch.float64)
