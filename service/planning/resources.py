"""What is divided, what the operator has set, and what each part gets: the data of a resource plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from service.domain import LargeSteps
from service.planning.parallel import Division

GIB = 1024**3
MIB = 1024**2
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
STATES = 2
"""Of a running sequence, in vLLM 0.32 with prefix caching: the current one, and that at the end of a block."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a checkpoint and its geometry need."""

    vision_bytes: int
    text_bytes: int
    vision_hidden: int
    soft_width: int
    max_tokens: int
    max_positions: int
    """Prompt tokens of the largest image, separators included."""
    max_patches: int
    tile_patches: int
    """Patches of one tile: batches are made of whole tiles."""
    tile_pixel_bytes: int
    tile_rows: int
    """Rows that the tower makes of one tile."""
    kv_bytes_per_token: int
    context: int
    dtype: Literal["float32", "bfloat16", "float16"]
    state_bytes: int = 0
    """What recurrent layers hold of a sequence, however long it is."""
    independent_tiles: bool = True
    """Whether the tower computes each tile by itself, so that batches can be staged in chunks and captured."""
    tower_loaded_twice: bool = False
    """Whether the engine loads the tower as well, although the encoder has it."""
    layers: int = 0
    """Of the language model; 0 where config.json does not say."""
    kv_heads: int = 0
    """Heads of keys and values; 0 where config.json does not say."""
    hidden: int = 0
    """Values of one token in the language model; 0 where config.json does not say."""
    table_bytes: int = 0
    """One embedding table."""
    tables: int = 2
    """How many of these the language model has: one where input and output are tied."""

    @property
    def row_bytes(self) -> int:
        """Of one soft token."""
        return self.soft_width * ITEM_BYTES[self.dtype]

    @property
    def engine_bytes(self) -> int:
        """Weights in the engine beside an encoder."""
        return self.text_bytes + (self.vision_bytes if self.tower_loaded_twice else 0)

    def of_rank(self, division: Division) -> Need:
        """What the rank that holds most of the engine needs; all of it where there is one.

        A tower that the engine loads is counted whole on every rank, because vLLM does not divide all of them.
        """
        if division.ranks == 1:
            return self
        table = min(self.table_bytes, self.text_bytes // self.tables)
        return replace(
            self,
            text_bytes=division.weights(self.text_bytes, table, self.tables, self.layers),
            kv_bytes_per_token=division.keys_and_values(self.kv_bytes_per_token, self.kv_heads, self.layers),
            state_bytes=division.keys_and_values(self.state_bytes, 0, self.layers),
        )

    def sequence_bytes(self, tokens: float) -> float:
        """What a running sequence of so many tokens holds of the engine's KV cache."""
        return tokens * self.kv_bytes_per_token + STATES * self.state_bytes


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the operator set; None leaves it to the plan."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    images: Literal["handles", "passthrough"] = "handles"
    encoder_batch_patches: int | None = None
    encoder_copies: Literal["auto", "staged", "plain"] = "auto"
    encoder_graph_bytes: int | None = None
    encoder_attention: str = "auto"
    encoder_threads: int | None = None
    decode_workers: int | None = None
    arena_bytes: int | None = None
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    engine_elsewhere: bool = False
    """Whether the operator starts the engine."""
    encoder_elsewhere: bool = False
    """Whether this process is to be the engine alone, for an encoder in another."""
    encoder_gpu: Literal["shared", "own"] = "shared"
    engine_compile: Literal["auto", "on", "off"] = "auto"
    division: Division = field(default_factory=Division)

    @property
    def apart(self) -> bool:
        """Whether encoder and engine are on different GPUs."""
        return self.encoder_gpu == "own"

    @property
    def gpus(self) -> int:
        """How many this process needs to see, where it runs on GPUs."""
        if self.engine_elsewhere:
            return 1  # the encoder's
        return self.division.ranks + (self.apart and not self.encoder_elsewhere)

    @property
    def gateway_alone(self) -> bool:
        """Neither encoder nor engine takes a share of this machine."""
        return self.engine_elsewhere and self.images == "passthrough"


@dataclass(frozen=True, slots=True)
class ResourcePlan:
    device: Literal["cpu", "cuda"]
    encoder_threads: int
    encoder_batch_patches: int
    warm_up_patches: int
    """Of the batch at startup: the largest possible on a GPU; a small one on a CPU, where a full one takes minutes."""
    decode_workers: int
    arena_bytes: int
    encoder_gpu_bytes: int
    encoder_graph_bytes: int
    """The part of these that CUDA graphs may take."""
    pinned_bytes: int
    """Of the machine's memory, from which a GPU copies by itself; 0 on a CPU."""
    tile_patches: int
    tile_bytes: int
    """Activations of one tile."""
    gpu_memory_utilization: float | None
    """Fraction of the memory for vLLM, of each of its GPUs; None on a CPU."""
    kv_cache_bytes: int | None
    """Bytes of each rank's KV cache on a CPU; on a GPU vLLM uses what is left of its share."""
    engine_threads: int
    """Compute threads of each rank on a CPU; on a GPU one is enough."""
    large_steps: LargeSteps | None
    """The steps that are worth more threads than that."""
    engine_compiled: bool
    """Whether vLLM compiles the language model."""
    max_batched_tokens: int
    max_model_len: int
    division: Division = field(default_factory=Division)
    """How the engine's model is divided among ranks."""
    gpus: int = 0
    """GPUs that this process and an engine that it starts use."""
    engine_gpu: int = 0
    """The engine's first GPU, counted among those that this process sees."""
    lines: tuple[str, ...] = field(default=(), repr=False)
    """The plan for people, one line per decision."""
