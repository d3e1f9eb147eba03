"""patch_embed on a CPU: pixels to rows, then one matrix product that adds to the offsets in its epilogue.

The product is bf16 where the weights are (`fold.py` asks the processor), fp32 elsewhere, always accumulated in
fp32. Uses torch's own threads.
"""

from __future__ import annotations

import torch

from kernels.patch_embed.fold import CENTRE, FoldedPatchEmbed
from kernels.patch_embed.reference import cut_patches


def patch_embed(tiles: torch.Tensor, folded: FoldedPatchEmbed, out: torch.Tensor) -> None:
    """Write the tokens of `tiles` into `out`; both already checked."""
    weight, prefix, hidden = folded.weight[:, : folded.pixels], folded.prefix, folded.hidden
    # [tiles, tokens, K]; the class token sees the centre, which adds nothing, so that one product fills every row
    rows = torch.empty((*out.shape[:2], folded.pixels), dtype=torch.uint8)
    rows[:, :prefix] = CENTRE
    patches = cut_patches(tiles, folded.patch_size)  # [tiles, rows, columns, P, P, 3]
    rows[:, prefix:].view(patches.shape).copy_(patches)
    # x − 128 is the byte with its top bit flipped; moving bytes and casting after is cheaper than a strided cast
    centred = (rows ^ CENTRE).view(torch.int8).to(weight.dtype)

    in_place = out.dtype == weight.dtype and out.is_contiguous()
    result = out if in_place else torch.empty(out.shape, dtype=weight.dtype)
    result[:, :prefix] = folded.offset[:prefix]
    result[:, prefix:] = folded.offset[prefix:]
    # accumulating onto the offsets rounds once; a product rounded before the addition is off by more than the chain
    result.view(-1, hidden).addmm_(centred.view(-1, folded.pixels), weight.T)
    if not in_place:
        out.copy_(result)
