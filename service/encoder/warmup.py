"""Which batches run at the start, so that nothing is compiled or chosen for the first time while somebody waits.

Kernels have block shapes for small batches and for large ones, and from some number of rows on cuBLAS takes a
projector's place: each of these compiles, or loads, when it is first used, for seconds.
"""

from __future__ import annotations

from kernels.runner import candidate_sizes
from service.planning.resources import ResourcePlan


def warm_up_batches(plan: ResourcePlan) -> list[int]:
    """In patches. The largest first: a lack of memory shows in it, and CUDA graphs are captured. On a GPU all sizes
    follow that a chunk may be padded to, down to one tile: two thirds or three quarters of the last, so that no range
    of sizes that is of use is left out. Together they are three times the work of the first."""
    if plan.device == "cpu":
        return [plan.warm_up_patches]
    tiles = max(1, plan.warm_up_patches // plan.tile_patches)
    *smaller, _ = candidate_sizes(tiles)
    return [plan.warm_up_patches, *(size * plan.tile_patches for size in reversed(smaller))]
