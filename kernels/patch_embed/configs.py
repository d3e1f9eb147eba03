"""Block shapes of the fused kernel, per GPU architecture: committed, so that no request waits for a search.

Chosen by static evidence (registers, spills and instructions of the compiled loop, see README.md), not by time: what a
search on a GPU found (`tuned.py`) goes before.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    block_tokens: int
    block_hidden: int
    block_k: int
    """Divides `fold.ALIGNMENT`, so that the weights need no mask along K."""
    warps: int
    stages: int
    """Blocks of weights in flight; pixels are always fetched one block ahead by hand."""


@dataclass(frozen=True, slots=True)
class Choice:
    many: Config
    """For work that fills the GPU: the widest block without spills, so that pixels are converted least often."""
    few: Config
    """For the rest (one tile): small blocks, so that more of the GPU's processors have one."""


EXACT = Choice(many=Config(64, 64, 32, 8, 1), few=Config(32, 32, 32, 4, 2))
"""fp32 operands run on the ordinary cores, without tensor cores, on every architecture."""

TENSOR_CORES: dict[int, Choice] = {
    80: Choice(many=Config(128, 128, 32, 8, 3), few=Config(64, 64, 32, 4, 3)),
    90: Choice(many=Config(128, 128, 64, 8, 3), few=Config(64, 64, 64, 4, 3)),
    100: Choice(many=Config(128, 128, 64, 8, 3), few=Config(64, 64, 64, 4, 3)),
}
"""bf16 and fp16, by compute capability without its dot; a GPU in between takes the next older entry."""


def choose(
    capability: int, processors: int, tiles: int, tokens: int, hidden: int, *, tensor_cores: bool
) -> Config:
    """The blocks for one call on a GPU with that many multiprocessors."""
    known = max((c for c in TENSOR_CORES if c <= capability), default=min(TENSOR_CORES))
    choice = TENSOR_CORES[known] if tensor_cores else EXACT
    many = choice.many
    return many if programs(many, tiles, tokens, hidden) >= processors else choice.few


def programs(config: Config, tiles: int, tokens: int, hidden: int) -> int:
    """How many programs one launch has."""
    return tiles * -(-tokens // config.block_tokens) * -(-hidden // config.block_hidden)
