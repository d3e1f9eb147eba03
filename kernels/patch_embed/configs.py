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
    flat: bool = False
    """Whether patches are numbered through over all tiles, in layers with positions; else a block is of one tile."""

    @property
    def name(self) -> str:
        """For tables."""
        shape = f"{self.block_tokens}×{self.block_hidden}×{self.block_k}"
        return f"{shape}, {self.warps} warps, {self.stages} stages{', flat' if self.flat else ''}"


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


FLAT: dict[int, tuple[Config, ...]] = {
    90: (
        Config(128, 128, 64, 8, 3, flat=True),
        Config(64, 128, 64, 8, 3, flat=True),
        Config(128, 64, 64, 8, 3, flat=True),
        Config(64, 128, 64, 4, 3, flat=True),
    )
}
"""For bf16, not chosen before a GPU has said that they win: patches numbered through, and, but for the first, shapes of
which a multiprocessor holds two programs, so that one converts pixels while the other multiplies.
"""


def choose(
    capability: int, processors: int, tiles: int, tokens: int, hidden: int, *, tensor_cores: bool
) -> Config:
    """The blocks for one call on a GPU with that many multiprocessors."""
    known = max((c for c in TENSOR_CORES if c <= capability), default=min(TENSOR_CORES))
    choice = TENSOR_CORES[known] if tensor_cores else EXACT
    many = choice.many
    return many if programs(many, tiles, tokens, hidden) >= processors else choice.few


def programs(config: Config, tiles: int, tokens: int, hidden: int, flat_prefix: int | None = None) -> int:
    """How many programs one launch has; `flat_prefix`: class tokens of a tile where patches are numbered through."""
    if flat_prefix is None:
        blocks = tiles * -(-tokens // config.block_tokens)
    else:
        blocks = -(-tiles * (tokens - flat_prefix) // config.block_tokens)
        blocks += -(-tiles // config.block_tokens) if flat_prefix else 0
    return blocks * -(-hidden // config.block_hidden)
