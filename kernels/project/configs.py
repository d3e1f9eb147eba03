"""Block shapes of the fused kernel and where cuBLAS takes over, per GPU architecture: committed, so that no request
waits for a search.

Chosen by static evidence (registers and spills, see README.md) and by arithmetic, not yet by time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    block_rows: int
    block_width: int
    block_k: int
    """Divides `fold.ALIGNMENT`, so that a block lies within one patch and the weights need no mask along K."""
    warps: int
    stages: int


@dataclass(frozen=True, slots=True)
class Choice:
    many: Config
    """For work that fills the GPU."""
    few: Config
    """For the rest (one tile): small blocks, so that more of the GPU's processors have one."""
    fused_rows: int
    """The most rows of one call for the fused kernel; above it gather, normalise and cuBLAS with its epilogues."""


EXACT = Choice(many=Config(64, 64, 32, 8, 1), few=Config(32, 32, 32, 4, 2), fused_rows=1024)
"""fp32 operands run on the ordinary cores, without tensor cores, on every architecture."""

TENSOR_CORES: dict[int, Choice] = {
    80: Choice(many=Config(128, 128, 32, 8, 3), few=Config(64, 64, 32, 4, 3), fused_rows=1024),
    90: Choice(many=Config(128, 128, 64, 8, 3), few=Config(64, 64, 64, 4, 3), fused_rows=1024),
    100: Choice(many=Config(128, 128, 64, 8, 3), few=Config(64, 64, 64, 4, 3), fused_rows=1024),
}
"""bf16 and fp16, by compute capability without its dot; a GPU in between takes the next older entry."""


def entry(capability: int, *, tensor_cores: bool) -> Choice:
    """The table's row for a GPU."""
    known = max((c for c in TENSOR_CORES if c <= capability), default=min(TENSOR_CORES))
    return TENSOR_CORES[known] if tensor_cores else EXACT


def choose(choice: Choice, processors: int, rows: int, width: int) -> Config:
    """The blocks for one product on a GPU with that many multiprocessors."""
    return choice.many if programs(choice.many, rows, width) >= processors else choice.few


def programs(config: Config, rows: int, width: int) -> int:
    """How many programs one launch has."""
    return -(-rows // config.block_rows) * -(-width // config.block_width)
