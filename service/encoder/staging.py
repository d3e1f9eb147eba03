"""How batches reach the device: staged through pinned memory with CUDA graphs, or in one plain copy.

`patchbay check` shows the result of `choose_runs`, and `make_runner` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.runner import Cuda, Runner, choose_graph_sizes, chunk_tiles
from service.errors import ConfigurationError
from service.families.towers import TileTower, Tower
from service.planning.resources import ResourcePlan


@dataclass(frozen=True, slots=True)
class Runs:
    """In tiles."""

    most: int
    """of one chunk"""
    graph_sizes: tuple[int, ...]
    """that get a CUDA graph"""

    def __str__(self) -> str:
        graphs = (
            f"CUDA graphs for {', '.join(map(str, self.graph_sizes))}"
            if self.graph_sizes
            else "no CUDA graphs"
        )
        return f"staged in chunks of up to {self.most} tiles, {graphs}"


def choose_runs(plan: ResourcePlan, *, independent_tiles: bool, copies: str) -> Runs | None:
    """None if batches go in one plain copy: on a CPU, by `copies`, and for towers whose tiles attend to each other.

    Raises ConfigurationError if `copies` is "staged" and that is not possible.
    """
    if copies == "staged" and not independent_tiles:
        raise ConfigurationError(
            "encoder_copies=staged is for towers that compute each tile by itself, which this checkpoint's does not: "
            "choose encoder_copies=auto"
        )
    if plan.device != "cuda" or copies == "plain" or not independent_tiles:
        return None
    most = chunk_tiles(plan.encoder_batch_patches // plan.tile_patches)
    return Runs(most, choose_graph_sizes(most, plan.tile_bytes, plan.encoder_graph_bytes))


def make_runner(tower: Tower, plan: ResourcePlan, *, copies: str) -> Runner | None:
    """Allocates no memory yet. Raises ConfigurationError as `choose_runs` does."""
    runs = choose_runs(plan, independent_tiles=isinstance(tower, TileTower), copies=copies)
    if runs is None or not isinstance(tower, TileTower):
        return None
    return Runner(
        tower.forward,
        tower.tile_shape,
        Cuda(tower.choice.device),
        most=runs.most,
        graph_sizes=runs.graph_sizes,
    )
