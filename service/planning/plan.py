"""The resource plan: how cores and memory are divided, and how large a batch may be.

A pure function of the machine, the checkpoint's needs and the operator's settings. A plan that cannot work is refused
with an error that says what is missing and which setting helps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from service.errors import ConfigurationError
from service.planning.gpu_share import CUDA_CONTEXT_BYTES, Room, engine_share, gpu_words, size_words
from service.planning.machine import Machine
from service.planning.parallel import Division
from service.planning.pinned import packed_bytes, staged_bytes
from service.planning.visible_gpu import GPU

GIB = 1024**3
MIB = 1024**2
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

ACTIVATION_VALUES = 20
"""Live values per patch and hidden unit in a tower's widest layer: residual 2, QKV 3, attention 1, MLP 4 + 4, spare.
With rotary positions: residual 1, QKV 3, gathered 3, apart 3, two thirds of it in fp32 4, attention 1, spare."""
GRAPHS_BYTES = 128 * MIB
"""What some sixteen CUDA graphs of a tower take in addition to their tensors."""
STAGED = (4, 4)
"""Staged copies: how many chunks a batch has, and of how many the device holds pixels and rows (ring and graphs)."""
HOST_BYTES = 2 * GIB
"""What Patchbay's and vLLM's processes hold of the machine's memory besides weights and caches."""
ENGINE_MINIMUM_BYTES = 512 * MIB
RANK_SHARED_BYTES = 512 * MIB
"""Of shared memory for each of several ranks: vLLM 0.32 has a queue of 160 MiB to all and one of 240 MiB from each, and
NCCL its buffers where GPUs cannot reach each other directly."""
SMALL_MODEL_BYTES = 256 * MIB
"""A smaller language model gains nothing from a second CPU thread: synchronising costs more than its layers."""
SMALL_TILE_VALUES = 16_384
"""Hidden values of what a tower computes by itself. Up to so many, a second CPU thread costs more than it computes: 0.4
to 0.9 times as fast with 65 patches of 128 to 256 values on two cores, where 197 of 384 are 1.3 times as fast."""
CPU_BATCH_PATCHES = 2048
GPU_BATCH_PATCHES = 64 * 577
"""64 images of CLIP ViT-L/14-336: beyond that, the tower is compute-bound on an H200."""
FEWEST_DECODERS = 2
"""Even on one core: one process is reserved for small images, and the system divides the time."""
STATES = 2
"""Of a running sequence, in vLLM 0.32 with prefix caching: the current one, and that at the end of a block."""
ARENA_ITEMS = (8, 4096)
"""How many of the largest images the arena must hold, and how many are enough."""


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
    table_bytes: int = 0
    """One embedding table."""
    tables: int = 2
    """How many of these the language model has: one where input and output are tied."""

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


def make_plan(machine: Machine, need: Need, overrides: Overrides) -> ResourcePlan:
    """Divides the resources of `machine`.

    Raises ConfigurationError when the checkpoint, the arena or a batch does not fit.
    """
    device = _device(machine, overrides)
    _check_ranks(machine, overrides, device)
    division = overrides.division
    rank = need.of_rank(division)
    batch, length = _batch_patches(need, overrides, device), _context(need, overrides)
    arena = _arena_bytes(machine, need, overrides)
    cores = len(machine.cores)
    threads = overrides.encoder_threads or _encoder_threads(machine, need, device)
    workers = overrides.decode_workers or max(FEWEST_DECODERS, cores - 1 if device == "cuda" else cores // 2)
    graphs = _graph_bytes(need, overrides, batch) if device == "cuda" else 0
    pinned = _pinned_bytes(need, overrides, batch) if device == "cuda" else 0
    encoder_gpu, share = (
        _gpu_split(machine, rank, overrides, batch, graphs, arena + pinned) if device == "cuda" else (0, None)
    )
    if pinned:
        _check_pinned(machine, arena, pinned)
    kv_cache = _cpu_kv_bytes(machine, rank, length, division.ranks) if device == "cpu" else None
    if kv_cache is not None and not overrides.gateway_alone:
        _check_memory(machine, need, arena + kv_cache * division.ranks, batch)
    plan = ResourcePlan(
        device=device,
        encoder_threads=threads,
        encoder_batch_patches=batch,
        warm_up_patches=batch if device == "cuda" else min(batch, CPU_BATCH_PATCHES),
        decode_workers=workers,
        arena_bytes=arena,
        encoder_gpu_bytes=encoder_gpu,
        encoder_graph_bytes=graphs,
        pinned_bytes=pinned,
        tile_patches=need.tile_patches,
        tile_bytes=_activation_bytes(need, need.tile_patches),
        gpu_memory_utilization=share,
        kv_cache_bytes=kv_cache,
        engine_threads=max(1, cores // division.ranks)
        if device == "cpu" and need.text_bytes > SMALL_MODEL_BYTES
        else 1,
        max_batched_tokens=max(2048, need.max_positions),
        max_model_len=length,
        division=division,
        gpus=overrides.gpus if device == "cuda" else 0,
        engine_gpu=1
        if overrides.apart and not (overrides.encoder_elsewhere or overrides.engine_elsewhere)
        else 0,
    )
    return _explained(plan, machine, need, overrides)


def _batch_patches(need: Need, overrides: Overrides, device: str) -> int:
    """The largest batch, in patches."""
    batch = overrides.encoder_batch_patches or max(need.max_patches, _batch_default(device))
    if batch < need.max_patches:
        raise ConfigurationError(
            f"encoder_batch_patches ({batch}) is less than the {need.max_patches} patches of the largest image: "
            "raise it, or lower max_image_tokens"
        )
    return batch


def _context(need: Need, overrides: Overrides) -> int:
    """The maximum length of prompt and answer, in tokens; 0 if only the engine can tell."""
    length = overrides.max_model_len or need.context
    if not need.context:
        return length
    if length > need.context:
        raise ConfigurationError(
            f"max_model_len ({length}) is more than the checkpoint's context ({need.context})"
        )
    if need.max_positions >= length:
        raise ConfigurationError(
            f"max_model_len ({length}) leaves no room besides one image of {need.max_positions} tokens: raise it, "
            "or lower max_image_tokens"
        )
    return length


def _encoder_threads(machine: Machine, need: Need, device: str) -> int:
    """On a CPU every core, although the engine has them too: the encoder gives way (service/encoder/threads.py)."""
    patches = need.tile_patches if need.independent_tiles else need.max_patches
    small = patches * need.vision_hidden <= SMALL_TILE_VALUES
    return 1 if device != "cpu" or small else len(machine.cores)


def _device(machine: Machine, overrides: Overrides) -> Literal["cpu", "cuda"]:
    if machine.gpu_fault and overrides.device != "cpu" and not overrides.gateway_alone:
        raise ConfigurationError(f"{machine.gpu_fault}; or choose device=cpu")
    if overrides.device == "cuda" and machine.gpu is None:
        raise ConfigurationError(
            "device=cuda, but this process sees no NVIDIA GPU: choose device=cpu, or look at the driver, at the GPU "
            "that the container was given, and at CUDA_VISIBLE_DEVICES"
        )
    if machine.gpu is not None and overrides.device != "cpu":
        return "cuda"
    for setting, given in (
        ("encoder_copies=staged", overrides.encoder_copies == "staged"),
        (f"encoder_graph_bytes={overrides.encoder_graph_bytes}", bool(overrides.encoder_graph_bytes)),
        (f"encoder_attention={overrides.encoder_attention}", overrides.encoder_attention != "auto"),
        ("encoder_gpu=own", overrides.apart),
    ):
        if given:
            raise ConfigurationError(f"{setting} is for a GPU, but the encoder runs on a CPU: remove it")
    return "cpu"


def _check_ranks(machine: Machine, overrides: Overrides, device: str) -> None:
    """Raises ConfigurationError where there is no GPU, or on a CPU no core, for each rank of an engine started here."""
    if overrides.apart and overrides.images == "passthrough":
        raise ConfigurationError(
            "encoder_gpu=own is for images that Patchbay encodes, and here the engine encodes them "
            "(images=passthrough): remove it"
        )
    ranks = overrides.division.ranks
    if overrides.engine_elsewhere:
        return
    if device == "cpu":
        if ranks > max(1, len(machine.cores)):
            raise ConfigurationError(
                f"{overrides.division}: the engine has {ranks} ranks, but there are {len(machine.cores)} CPU cores: "
                "lower one of them"
            )
        return
    seen = len(machine.gpus)
    if overrides.gpus > seen:
        encoder = " and the encoder one of its own" if overrides.gpus > ranks else ""
        raise ConfigurationError(
            f"{overrides.division}: the engine needs {ranks} GPU(s){encoder}, {overrides.gpus} in all, but this "
            f"process sees {seen}: lower one of them, or give it more GPUs (CUDA_VISIBLE_DEVICES, nvidia.com/gpu)"
        )


def _batch_default(device: str) -> int:
    return GPU_BATCH_PATCHES if device == "cuda" else CPU_BATCH_PATCHES


def _arena_bytes(machine: Machine, need: Need, overrides: Overrides) -> int:
    item = need.max_tokens * need.soft_width * ITEM_BYTES[need.dtype]
    least, most = (count * item for count in ARENA_ITEMS)
    if overrides.gateway_alone:
        return least  # not created
    # by default half of what is free: others write there too, and a container's 64 MiB must be enough
    ranks = overrides.division.ranks
    taken = RANK_SHARED_BYTES * ranks if ranks > 1 else 0
    shared = max(0, machine.shared_memory_bytes - taken)
    room = min(machine.memory_bytes // 16, shared // 2)
    arena = overrides.arena_bytes or max(least, min(most, room))
    if arena < least:
        raise ConfigurationError(
            f"arena_bytes ({arena}) holds fewer than {ARENA_ITEMS[0]} of the largest images ({item} bytes each): "
            f"set it to at least {least}, or lower max_image_tokens"
        )
    if arena > shared:
        besides = f" besides the {size_words(taken)} of the engine's {ranks} ranks" if taken else ""
        raise ConfigurationError(
            f"the arena needs {arena} bytes of shared memory, but only {shared} are free{besides}: "
            "lower arena_bytes or max_image_tokens, enlarge /dev/shm, or point arena_dir to a larger tmpfs"
        )
    return arena


def _activation_bytes(need: Need, patches: int) -> int:
    return patches * need.vision_hidden * ACTIVATION_VALUES * ITEM_BYTES[need.dtype]


def _chunk(need: Need, batch: int) -> int:
    """Patches of the largest chunk of a staged batch."""
    return max(need.tile_patches, -(-batch // STAGED[0]))


def _chunk_tiles(need: Need, batch: int) -> int:
    return -(-_chunk(need, batch) // need.tile_patches)


def _graph_bytes(need: Need, overrides: Overrides, batch: int) -> int:
    """By default enough for graphs of every chunk size."""
    if overrides.images != "handles" or overrides.encoder_copies == "plain" or not need.independent_tiles:
        return 0
    if overrides.encoder_graph_bytes is not None:
        return overrides.encoder_graph_bytes
    return _activation_bytes(need, _chunk(need, batch)) + GRAPHS_BYTES


def _staging_bytes(need: Need, overrides: Overrides, batch: int) -> int:
    """Pixels and rows of the chunks that are on the device at the same time."""
    if overrides.encoder_copies == "plain" or not need.independent_tiles:
        return 0
    return STAGED[1] * _chunk_tiles(need, batch) * (need.tile_pixel_bytes + _row(need) * need.tile_rows)


def _pinned_bytes(need: Need, overrides: Overrides, batch: int) -> int:
    """Of an encoder on a GPU."""
    if not _encoder_here(overrides):
        return 0
    rows = -(-batch // need.tile_patches) * need.tile_rows * _row(need)
    if not need.independent_tiles:
        return packed_bytes(batch // need.tile_patches * need.tile_pixel_bytes, rows)
    if overrides.encoder_copies == "plain":
        return packed_bytes(0, rows)
    return staged_bytes(_chunk_tiles(need, batch) * need.tile_pixel_bytes, rows)


def _check_pinned(machine: Machine, arena: int, pinned: int) -> None:
    """Raises ConfigurationError when the machine's memory does not hold what the GPU copies from."""
    total = arena + pinned + HOST_BYTES
    if total > machine.memory_bytes:
        raise ConfigurationError(
            f"the arena and {size_words(pinned)} of pinned memory for copies to and from the GPU take, with the "
            f"processes, about {size_words(total)} of memory, but the machine has only "
            f"{size_words(machine.memory_bytes)}: lower encoder_batch_patches, arena_bytes or max_image_tokens"
        )


def _encoder_here(overrides: Overrides) -> bool:
    """Whether this process's encoder takes a share of the GPUs."""
    return overrides.images == "handles" and not (overrides.apart and overrides.encoder_elsewhere)


def _gpu_split(
    machine: Machine, need: Need, overrides: Overrides, batch: int, graphs: int, host: int
) -> tuple[int, float]:
    """(bytes for the encoder, fraction of each of its GPUs for vLLM), where a rank of the engine needs `need`.

    `host`: bytes of arena and pinned memory, which a GPU without memory of its own has to give.
    The encoder's need is known, and the engine gets the rest. vLLM takes the same fraction everywhere, so on several
    GPUs it is the smallest that one of them allows: as a rule the encoder's.
    """
    assert machine.gpu is not None
    gpu = machine.gpu
    encoder = 0
    if _encoder_here(overrides):
        activations = _activation_bytes(need, batch)
        staging = graphs + _staging_bytes(need, overrides, batch)
        encoder = CUDA_CONTEXT_BYTES + need.vision_bytes + activations + staging
    room = _gpu_room(gpu, overrides, host)
    if encoder > min(room, gpu.free_bytes):
        raise ConfigurationError(
            f"{gpu_words(gpu)}: the encoder alone takes {size_words(encoder)}: end what else runs there, lower "
            "encoder_batch_patches or encoder_graph_bytes, or use a larger GPU"
        )
    least = need.engine_bytes + int(need.sequence_bytes(2048)) + ENGINE_MINIMUM_BYTES
    if overrides.apart and overrides.engine_elsewhere:
        least = 0  # the GPUs of an engine elsewhere are planned there
    rooms = _engine_rooms(machine, overrides, encoder, host)
    return encoder, engine_share(rooms, overrides.gpu_memory_utilization, least)


def _engine_rooms(machine: Machine, overrides: Overrides, encoder: int, host: int) -> list[Room]:
    """The engine's GPUs."""
    ranks = overrides.division.ranks
    if overrides.apart and overrides.engine_elsewhere:
        # not to be seen from here: taken to be like the encoder's, and free
        return [Room(gpu, gpu.memory_bytes) for gpu in machine.gpus[:1]]
    first = 1 if overrides.apart and not overrides.encoder_elsewhere else 0
    rooms = [Room(gpu, _gpu_room(gpu, overrides, host)) for gpu in machine.gpus[first : first + ranks]]
    if not overrides.apart:
        rooms[0] = Room(rooms[0].gpu, rooms[0].free_bytes - encoder, encoder)
    return rooms


def _gpu_room(gpu: GPU, overrides: Overrides, host: int) -> int:
    """Bytes that encoder and engine may divide: what other processes do not hold. An engine that somebody else starts
    may be one of those."""
    room = gpu.memory_bytes if overrides.engine_elsewhere else gpu.free_bytes
    return max(0, room - (host + HOST_BYTES if gpu.unified else 0))


def _cpu_kv_bytes(machine: Machine, need: Need, length: int, ranks: int) -> int:
    """Of each rank: together a sixteenth of the memory, but at least two and at most 64 full contexts."""
    context, sixteenth = int(need.sequence_bytes(length)), machine.memory_bytes // 16 // ranks
    return max(2 * context, min(64 * context, sixteenth)) if context else sixteenth


def _check_memory(machine: Machine, need: Need, caches: int, batch: int) -> None:
    """Raises ConfigurationError when the caches, both models and a batch do not fit in memory."""
    total = caches + need.engine_bytes + 2 * need.vision_bytes + _activation_bytes(need, batch) + HOST_BYTES
    if total > machine.memory_bytes:
        raise ConfigurationError(
            f"serving this checkpoint takes about {size_words(total)} of memory, but the machine has only "
            f"{size_words(machine.memory_bytes)}: lower arena_bytes, max_model_len, encoder_batch_patches or "
            "max_image_tokens"
        )


def _explained(plan: ResourcePlan, machine: Machine, need: Need, overrides: Overrides) -> ResourcePlan:
    context = _context_line(plan, need)
    if overrides.gateway_alone:
        return replace(plan, lines=("gateway     only: encoder and engine run elsewhere", context))
    where = machine.gpu.name if plan.device == "cuda" and machine.gpu else f"{len(machine.cores)} CPU cores"
    lines = [
        f"device      {plan.device}: {where}, {size_words(machine.memory_bytes)} of memory",
    ]
    encoder = [
        f"encoder     batches of up to {plan.encoder_batch_patches} patches, {plan.encoder_threads} CPU thread(s)"
        + (_of_gpu_memory(plan) if plan.device == "cuda" else ""),
        f"decoding    {plan.decode_workers} sandboxed process(es)",
        f"arena       {size_words(plan.arena_bytes)} of shared memory: "
        f"{plan.arena_bytes // _row(need)} soft tokens of {_row(need)} bytes",
    ]
    if plan.pinned_bytes:
        encoder.append(
            f"pinned      {size_words(plan.pinned_bytes)} of memory for copies to and from the GPU"
        )
    lines += encoder if overrides.images == "handles" else ["encoder     the engine's own"]
    if plan.device == "cuda":
        assert machine.gpu is not None
        lines.insert(1, f"GPU memory  {gpu_words(machine.gpu)}")
        lines.append(f"engine      {plan.gpu_memory_utilization:.1%} of {_engine_gpus(overrides)}")
    else:
        lines.append(
            f"engine      KV cache of {size_words(plan.kv_cache_bytes or 0)}, {plan.engine_threads} compute thread(s)"
            + (" for each rank" if plan.division.ranks > 1 else "")
        )
    if plan.division.ranks > 1:
        weights = size_words(need.of_rank(plan.division).engine_bytes)
        lines.append(f"ranks       {plan.division.ranks}: {plan.division}; each holds {weights} of weights")
    return replace(plan, lines=(*lines, context))


def _engine_gpus(overrides: Overrides) -> str:
    ranks = overrides.division.ranks
    if overrides.apart:
        return f"the memory of {ranks} GPU(s) other than the encoder's"
    return (
        "the GPU's memory" if ranks == 1 else f"each GPU's memory, {ranks} of them, the encoder on the first"
    )


def _context_line(plan: ResourcePlan, need: Need) -> str:
    length = f"{plan.max_model_len} tokens" if plan.max_model_len else "what the engine finds"
    largest = f"; the largest image takes {need.max_positions}" if need.max_positions else ""
    return f"context     {length}{largest}"


def _of_gpu_memory(plan: ResourcePlan) -> str:
    graphs = plan.encoder_graph_bytes
    share = f", at most {size_words(graphs)} of it for CUDA graphs" if graphs else ""
    return f", {size_words(plan.encoder_gpu_bytes)} of GPU memory{share}"


def _row(need: Need) -> int:
    return need.soft_width * ITEM_BYTES[need.dtype]
