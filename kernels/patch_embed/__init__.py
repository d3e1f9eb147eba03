"""patch_embed: uint8 tiles become the first hidden states of a vision transformer, in one kernel.

`reference.py` says what is computed, `fold.py` what is worked out beforehand, `fused.py` and `cpu.py` how it is
done on a GPU and on a CPU, `README.md` why, and what it is worth.
"""

from __future__ import annotations

import torch

from kernels.backend import Backend, BackendUnavailable, choose_backend, require_backend
from kernels.patch_embed import cpu, reference
from kernels.patch_embed.contract import check_out, output_shape
from kernels.patch_embed.fold import FoldedPatchEmbed, fold_patch_embed

__all__ = [
    "Backend",
    "BackendUnavailable",
    "FoldedPatchEmbed",
    "choose_backend",
    "fold_patch_embed",
    "patch_embed",
]


def patch_embed(
    tiles: torch.Tensor, folded: FoldedPatchEmbed, *, backend: Backend, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Patch embeddings with class token and positions: the input of a vision tower's first block (or pre-norm).

    Packed patches (Qwen-VL), uint8 [n, P, P, 3] in any order, are one tile as wide as a patch:
    `patch_embed(packed.view(1, n * P, P, 3), ...)`.

    Args:
        tiles: uint8 [tiles, height, width, 3], height and width multiples of the patch; tiles, lines and pixels
            at any stride (a crop, one view of an RGBA image), a pixel's three colours adjacent.
        folded: of `fold_patch_embed`, on the same device.
        backend: of `choose_backend`.
        out: where to write; by default a new tensor. Rows must be contiguous, tiles and rows may be apart.

    Returns:
        [tiles, prefix + patches, hidden] in `folded.dtype`; `out` itself if it was given.

    Raises:
        ValueError: tiles or `out` do not fit the folded weights.
        BackendUnavailable: the backend cannot run there; none is tried in its place.
    """
    require_backend(backend, tiles.device)
    shape = output_shape(tiles, folded)
    if out is None:
        out = torch.empty(shape, dtype=folded.dtype, device=tiles.device)
    else:
        check_out(out, shape, folded)
    if backend == "triton":
        from kernels.patch_embed import fused  # here, so that nothing but this backend needs triton

        fused.patch_embed(tiles, folded, out)
    elif backend == "cpu":
        cpu.patch_embed(tiles, folded, out)
    else:
        out.copy_(reference.patch_embed(tiles, folded))
    return out
