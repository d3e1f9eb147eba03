"""What a checkpoint computes: operations for a patch and for a token, and the bytes that a step of the engine reads.

Counted low, so that a time reckoned from it is not too long: of the tower its blocks alone, of the language model all
but the tables of words, norms and biases of a thousandth among it; attention in both, in the tower within a tile:
of images at their own size, whose tiles see each other, that is the least of it. Knows sizes from config.json;
measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.checkpoint.summary import Checkpoint
from service.planning.plan import ITEM_BYTES, Need

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True)
class Compute:
    """Operations are multiplications and additions, two for each weight that a matrix product uses."""

    patch: float
    """For one patch of an image: the tower's blocks, attention within the tile included."""
    token: float
    """For one token: the language model's layers without attention."""
    head: float
    """For one token of an answer: the product with the table of words."""
    look: float
    """Of attention, for one token and one that it looks back at."""
    window: int | None
    """Tokens that a token looks back at, at most; None: all."""
    step_bytes: float
    """Weights that one step of decoding reads."""

    def looks(self, tokens: float) -> float:
        """Pairs of a token and one that it looks back at, among the first `tokens`."""
        near = tokens if self.window is None else min(tokens, self.window)
        return near * near / 2 + (tokens - near) * near


def compute_of(checkpoint: Checkpoint, need: Need) -> Compute | None:
    """Of a checkpoint, as `need` has its bytes; None for a mixture of experts, whose tokens
    use a part of the weights that no size tells."""
    text = checkpoint.text_config
    if any(text.get(name) for name in EXPERTS):
        return None
    item = ITEM_BYTES[need.dtype]
    width, heads = text["hidden_size"], text["num_attention_heads"]
    table = text.get("vocab_size", 0) * width
    tables = table if checkpoint.tied else 2 * table
    layers = max(0.0, need.text_bytes / item - tables)
    return Compute(
        patch=_patch(checkpoint.vision_config, need.tile_patches),
        token=2 * layers,
        head=2 * table,
        # scores and the mean weighed by them: two operations each for each number of a head
        look=4 * heads * (text.get("head_dim") or width // heads) * text["num_hidden_layers"],
        # Qwen names a window also where it has none
        window=text.get("sliding_window") if text.get("use_sliding_window", True) else None,
        step_bytes=item * (layers + table),
    )


def _patch(vision: Mapping[str, Any], tile_patches: int) -> float:
    """https://arxiv.org/abs/2010.11929: four products in attention, two in the MLP; https://arxiv.org/abs/2502.13923:
    three in one that is gated, as SiLU tells."""
    width, depth = vision.get("hidden_size", 0), vision.get("depth") or vision.get("num_hidden_layers", 0)
    products = 3 if vision.get("hidden_act") == "silu" else 2
    weights = 4 * width * width + products * width * vision.get("intermediate_size", 0)
    return float(depth * (2 * weights + 4 * tile_patches * width))
