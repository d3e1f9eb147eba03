"""The resource plan: who gets which cores, how much memory, and how large a batch.

One pure function from what the machine has, what the checkpoint needs and what the operator asked for. A plan that
cannot work is refused in a sentence that says what is missing and which knob helps. Knows nothing of how a role uses
its share; measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from service.errors import ConfigurationError
from service.planning.machine import Machine

GIB = 1024**3
MIB = 1024**2
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

CUDA_CONTEXT_BYTES = 700 * MIB
"""What a CUDA process takes before its first tensor (H100 class, driver 5xx: 500–700 MB)."""
ACTIVATION_VALUES = 20
"""Live values per patch and hidden unit in a tower's widest layer: residual 2, QKV 3, attention 1, MLP 4 + 4, spare.
Where positions are rotated: residual 1, QKV 3, gathered 3, apart 3, two thirds of it in fp32 4, attention 1, spare."""
GRAPHS_BYTES = 128 * MIB
"""What some sixteen CUDA graphs of a tower take beside their tensors."""
STAGED = (4, 4)
"""Staged copies: a batch goes in so many chunks, and the device holds pixels and rows of so many (ring and graphs)."""
ENGINE_MINIMUM_BYTES = 512 * MIB
SMALL_MODEL_BYTES = 256 * MIB
"""A language model below this gains nothing from a second CPU thread: its layers end before the threads have met."""
CPU_BATCH_PATCHES = 2048
GPU_BATCH_PATCHES = 64 * 577
"""64 images of CLIP ViT-L/14-336: beyond it an H200's tower is compute bound."""
FEWEST_DECODERS = 2
"""Also on one core: one is kept for small images, and the system divides the time."""
ARENA_ITEMS = (8, 4096)
"""Largest images that the arena must and need hold."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a checkpoint and its geometry ask for."""

    vision_bytes: int
    text_bytes: int
    vision_hidden: int
    soft_width: int
    max_tokens: int
    max_positions: int
    """Prompt tokens of the largest image, separators included."""
    max_patches: int
    tile_patches: int
    """Of one tile; what patches cost is counted in these."""
    tile_pixel_bytes: int
    kv_bytes_per_token: int
    context: int
    dtype: Literal["float32", "bfloat16", "float16"]
    independent_tiles: bool = True
    """The tower computes each tile by itself, so that batches can go in chunks; else none is staged or captured."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator fixed; None leaves it to the plan."""

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
    """Somebody else starts the engine."""

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
    """Of the batch at the start: the largest there can be, but on a CPU, where that takes minutes and tells nothing."""
    decode_workers: int
    arena_bytes: int
    encoder_gpu_bytes: int
    encoder_graph_bytes: int
    """Of these, the most for CUDA graphs."""
    tile_patches: int
    tile_bytes: int
    """What a tile takes while it is computed."""
    gpu_memory_utilization: float | None
    """Share of the GPU that vLLM may take; None on a CPU."""
    kv_cache_bytes: int | None
    """Bytes of the engine's KV cache on a CPU; on a GPU vLLM takes what its share leaves."""
    engine_threads: int
    """The engine's compute threads on a CPU; on a GPU one is enough."""
    max_batched_tokens: int
    max_model_len: int
    lines: tuple[str, ...] = field(default=(), repr=False)
    """The plan in words, one line a decision."""


def make_plan(machine: Machine, need: Need, wish: Wish) -> ResourcePlan:
    """Divides `machine`.

    Raises ConfigurationError when the checkpoint, the arena or a batch does not fit.
    """
    device = _device(machine, wish)
    batch, length = _batch_patches(need, wish, device), _context(need, wish)
    arena = _arena_bytes(machine, need, wish)
    cores = len(machine.cores)
    threads = wish.encoder_threads or (max(1, cores // 2) if device == "cpu" else 1)
    workers = wish.decode_workers or max(FEWEST_DECODERS, cores - 1 if device == "cuda" else cores // 2)
    graphs = _graph_bytes(need, wish, batch) if device == "cuda" else 0
    encoder_gpu, share = _gpu_split(machine, need, wish, batch, graphs) if device == "cuda" else (0, None)
    kv_cache = _cpu_kv_bytes(machine, need, length) if device == "cpu" else None
    if kv_cache is not None and not wish.gateway_alone:
        _check_memory(machine, need, arena + kv_cache, batch)
    plan = ResourcePlan(
        device=device,
        encoder_threads=threads,
        encoder_batch_patches=batch,
        warm_up_patches=batch if device == "cuda" else min(batch, CPU_BATCH_PATCHES),
        decode_workers=workers,
        arena_bytes=arena,
        encoder_gpu_bytes=encoder_gpu,
        encoder_graph_bytes=graphs,
        tile_patches=need.tile_patches,
        tile_bytes=_activation_bytes(need, need.tile_patches),
        gpu_memory_utilization=share,
        kv_cache_bytes=kv_cache,
        engine_threads=cores if device == "cpu" and need.text_bytes > SMALL_MODEL_BYTES else 1,
        max_batched_tokens=max(2048, need.max_positions),
        max_model_len=length,
    )
    return _explained(plan, machine, need, alone=wish.gateway_alone)


def _batch_patches(need: Need, wish: Wish, device: str) -> int:
    """The most patches of a batch."""
    batch = wish.encoder_batch_patches or max(need.max_patches, _batch_default(device))
    if batch < need.max_patches:
        raise ConfigurationError(
            f"encoder_batch_patches ({batch}) is less than the largest image's {need.max_patches} patches: raise it, "
            "or lower max_image_tokens"
        )
    return batch


def _context(need: Need, wish: Wish) -> int:
    """The most tokens of prompt and answer."""
    length = wish.max_model_len or need.context
    if length > need.context:
        raise ConfigurationError(
            f"max_model_len ({length}) is more than the checkpoint's context ({need.context})"
        )
    if need.max_positions >= length:
        raise ConfigurationError(
            f"max_model_len ({length}) leaves no room beside one image of {need.max_positions} tokens: raise it, "
            "or lower max_image_tokens"
        )
    return length


def _device(machine: Machine, wish: Wish) -> Literal["cpu", "cuda"]:
    if wish.device == "cuda" and machine.gpu is None:
        raise ConfigurationError(
            "device=cuda, but nvidia-smi shows no GPU on this machine: choose device=cpu"
        )
    if machine.gpu is not None and wish.device != "cpu":
        return "cuda"
    for setting, given in (
        ("encoder_copies=staged", wish.encoder_copies == "staged"),
        (f"encoder_graph_bytes={wish.encoder_graph_bytes}", bool(wish.encoder_graph_bytes)),
        (f"encoder_attention={wish.encoder_attention}", wish.encoder_attention != "auto"),
    ):
        if given:
            raise ConfigurationError(f"{setting} is for a GPU, and the encoder runs on a CPU: leave it out")
    return "cpu"


def _batch_default(device: str) -> int:
    return GPU_BATCH_PATCHES if device == "cuda" else CPU_BATCH_PATCHES


def _arena_bytes(machine: Machine, need: Need, wish: Wish) -> int:
    item = need.max_tokens * need.soft_width * ITEM_BYTES[need.dtype]
    least, most = (count * item for count in ARENA_ITEMS)
    if wish.gateway_alone:
        return least  # nothing is put into it, and it is not made
    # half of what is free, by itself: others write there too, and a container's 64 MiB shall do
    room = min(machine.memory_bytes // 16, machine.shared_memory_bytes // 2)
    arena = wish.arena_bytes or max(least, min(most, room))
    if arena < least:
        raise ConfigurationError(
            f"arena_bytes ({arena}) holds fewer than {ARENA_ITEMS[0]} of the largest images ({item} bytes each): "
            f"give it at least {least}, or lower max_image_tokens"
        )
    if arena > machine.shared_memory_bytes:
        raise ConfigurationError(
            f"the arena needs {arena} bytes of shared memory and {machine.shared_memory_bytes} are free: "
            "lower arena_bytes or max_image_tokens, enlarge /dev/shm, or point arena_dir to a larger tmpfs"
        )
    return arena


def _activation_bytes(need: Need, patches: int) -> int:
    return patches * need.vision_hidden * ACTIVATION_VALUES * ITEM_BYTES[need.dtype]


def _chunk(need: Need, batch: int) -> int:
    """Patches of the largest chunk of a staged batch."""
    return max(need.tile_patches, -(-batch // STAGED[0]))


def _graph_bytes(need: Need, wish: Wish, batch: int) -> int:
    """By default as much as graphs for every size of chunk need."""
    if wish.images != "handles" or wish.encoder_copies == "plain" or not need.independent_tiles:
        return 0
    if wish.encoder_graph_bytes is not None:
        return wish.encoder_graph_bytes
    return _activation_bytes(need, _chunk(need, batch)) + GRAPHS_BYTES


def _staging_bytes(need: Need, wish: Wish, batch: int) -> int:
    """Pixels and rows of the chunks that are on the device at once."""
    if wish.encoder_copies == "plain" or not need.independent_tiles:
        return 0
    tiles = -(-_chunk(need, batch) // need.tile_patches)
    rows = _row(need) * need.max_tokens * need.tile_patches // need.max_patches  # of a tile
    return STAGED[1] * tiles * (need.tile_pixel_bytes + rows)


def _gpu_split(machine: Machine, need: Need, wish: Wish, batch: int, graphs: int) -> tuple[int, float]:
    """(bytes for the encoder, share for vLLM): the encoder's need is known, the engine takes the rest."""
    assert machine.gpu is not None
    gpu = machine.gpu
    encoder = 0
    if wish.images == "handles":
        activations = _activation_bytes(need, batch)
        staging = graphs + _staging_bytes(need, wish, batch)
        encoder = CUDA_CONTEXT_BYTES + need.vision_bytes + activations + staging
    left = gpu.memory_bytes - encoder - CUDA_CONTEXT_BYTES
    share = wish.gpu_memory_utilization or round(min(0.95, left / gpu.memory_bytes), 3)
    least = need.text_bytes + need.kv_bytes_per_token * 2048 + ENGINE_MINIMUM_BYTES
    if share * gpu.memory_bytes < least:
        raise ConfigurationError(
            f"{gpu.name} has {_size(gpu.memory_bytes)}: the encoder takes {_size(encoder)}, which leaves the engine "
            f"{_size(max(0, round(share * gpu.memory_bytes)))} of the {_size(least)} that it needs: "
            "lower encoder_batch_patches or encoder_graph_bytes, or use a larger GPU"
        )
    if share * gpu.memory_bytes + encoder > gpu.memory_bytes:
        raise ConfigurationError(
            f"gpu_memory_utilization ({share}) leaves the encoder less than the {_size(encoder)} that it needs "
            "beside the engine: lower gpu_memory_utilization or encoder_batch_patches"
        )
    return encoder, share


def _cpu_kv_bytes(machine: Machine, need: Need, length: int) -> int:
    """A sixteenth of the memory, at least two full contexts, at most 64 of them."""
    context = length * need.kv_bytes_per_token
    return max(2 * context, min(64 * context, machine.memory_bytes // 16))


def _check_memory(machine: Machine, need: Need, caches: int, batch: int) -> None:
    """Raises ConfigurationError when a CPU's memory does not hold the caches, both models and a batch."""
    total = caches + need.text_bytes + 2 * need.vision_bytes + _activation_bytes(need, batch) + 2 * GIB
    if total > machine.memory_bytes:
        raise ConfigurationError(
            f"serving this checkpoint takes about {_size(total)} of memory and the machine has "
            f"{_size(machine.memory_bytes)}: lower arena_bytes, max_model_len, encoder_batch_patches or "
            "max_image_tokens"
        )


def _explained(plan: ResourcePlan, machine: Machine, need: Need, *, alone: bool) -> ResourcePlan:
    context = f"context     {plan.max_model_len} tokens; the largest image takes {need.max_positions}"
    if alone:
        return replace(plan, lines=("gateway     alone: encoder and engine are elsewhere", context))
    where = machine.gpu.name if plan.device == "cuda" and machine.gpu else f"{len(machine.cores)} CPU cores"
    lines = [
        f"device      {plan.device}: {where}, {_size(machine.memory_bytes)} of memory",
        f"encoder     batches of up to {plan.encoder_batch_patches} patches, {plan.encoder_threads} CPU thread(s)"
        + (_of_gpu_memory(plan) if plan.device == "cuda" else ""),
        f"decoding    {plan.decode_workers} sandboxed process(es)",
        f"arena       {_size(plan.arena_bytes)} of shared memory: "
        f"{plan.arena_bytes // _row(need)} soft tokens of {_row(need)} bytes",
    ]
    if plan.device == "cuda":
        lines.append(f"engine      {plan.gpu_memory_utilization:.1%} of the GPU's memory")
    else:
        lines.append(
            f"engine      KV cache of {_size(plan.kv_cache_bytes or 0)}, {plan.engine_threads} compute thread(s)"
        )
    return replace(plan, lines=(*lines, context))


def _of_gpu_memory(plan: ResourcePlan) -> str:
    graphs = plan.encoder_graph_bytes
    share = f", at most {_size(graphs)} of it for CUDA graphs" if graphs else ""
    return f", {_size(plan.encoder_gpu_bytes)} of GPU memory{share}"


def _row(need: Need) -> int:
    return need.soft_width * ITEM_BYTES[need.dtype]


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"
