"""What a checkpoint computes: operations per patch and per token, and the bytes that one engine step reads.

A lower bound, so that a time calculated from it is never too long. Of the tower it counts only the blocks; of the
language model everything but the embedding tables (norms and biases, a thousandth of it, are included). Attention is
counted in both, in the tower within a tile: for images at their own size, whose tiles attend to each other, that is
too little; and of recurrent layers the products with weights alone, not the steps of their state. Calculated from the
sizes in config.json; nothing is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.checkpoint.layers import attention_layers
from service.checkpoint.summary import Checkpoint
from service.planning.resources import ITEM_BYTES, Need

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True)
class Compute:
    """Operations are multiplications and additions, two per weight in a matrix product."""

    patch: float
    """Per patch of an image: the tower's blocks, including attention within the tile."""
    token: float
    """Per token: the language model's layers without attention."""
    head: float
    """Per token of an answer: the product with the output embeddings."""
    look: float
    """Attention, per pair of a token and one that it attends to."""
    window: int | None
    """The most tokens that a token attends to (sliding window); None: all."""
    step_bytes: float
    """Bytes of weights that one decoding step reads."""

    def looks(self, tokens: float) -> float:
        """Pairs of a token and one that it attends to, among the first `tokens`."""
        near = tokens if self.window is None else min(tokens, self.window)
        return near * near / 2 + (tokens - near) * near


def compute_of(checkpoint: Checkpoint, need: Need) -> Compute | None:
    """What a checkpoint computes; None for a mixture of experts, where the sizes do not say how many weights a token
    uses."""
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
        # scores and the weighted mean: two operations each per element of a head
        look=4
        * heads
        * (text.get("head_dim") or width // heads)
        * attention_layers(text, text["num_hidden_layers"]),
        # Qwen names a window even where it has none
        window=text.get("sliding_window") if text.get("use_sliding_window", True) else None,
        step_bytes=item * (layers + table),
    )


def _patch(vision: Mapping[str, Any], tile_patches: int) -> float:
    """https://arxiv.org/abs/2010.11929: four products in attention, two in the MLP; https://arxiv.org/abs/2502.13923:
    three in a gated MLP, which SiLU indicates."""
    width, depth = vision.get("hidden_size", 0), vision.get("depth") or vision.get("num_hidden_layers", 0)
    products = 3 if vision.get("hidden_act") == "silu" else 2
    weights = 4 * width * width + products * width * vision.get("intermediate_size", 0)
    return float(depth * (2 * weights + 4 * tile_patches * width))
