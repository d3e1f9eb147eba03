"""The resource plan: how cores and memory are divided, and how large a batch may be.

A pure function of the machine, the checkpoint's needs and the operator's settings. A plan that cannot work is refused
with an error that says what is missing and which setting helps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from service.domain import LargeSteps
from service.errors import ConfigurationError
from service.planning.explain import explain
from service.planning.gpu_share import CUDA_CONTEXT_BYTES, Room, engine_share, gpu_words, size_words
from service.planning.machine import Machine
from service.planning.pinned import packed_bytes, staged_bytes
from service.planning.resources import GIB, ITEM_BYTES, MIB, Need, Overrides, ResourcePlan
from service.planning.visible_gpu import GPU

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
"""In a smaller language model, a step of a few tokens gains nothing from a second CPU thread: synchronising costs more
than its layers. On two cores, eight answers of 25 million parameters: 9 ms a step instead of 6."""
LARGE_STEP_VALUES = 32_768
"""Hidden values of a step's tokens. From so many on, a second CPU thread is worth it in a small model too: the first
tokens of eight prompts of 90 after 58 ms instead of 65 (512 values a token; from 24, 48 or 96 tokens on: the same)."""
SMALL_TILE_VALUES = 16_384
"""Hidden values of what a tower computes by itself. Up to so many, a second CPU thread costs more than it computes: 0.4
to 0.9 times as fast with 65 patches of 128 to 256 values on two cores, where 197 of 384 are 1.3 times as fast."""
CPU_BATCH_PATCHES = 2048
GPU_BATCH_PATCHES = 64 * 577
"""64 images of CLIP ViT-L/14-336: beyond that, the tower is compute-bound on an H200."""
FEWEST_DECODERS = 2
"""Even on one core: one process is reserved for small images, and the system divides the time."""
ARENA_ITEMS = (8, 4096)
"""How many of the largest images the arena must hold, and how many are enough."""


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
    engine_threads, large_steps = _engine_threads(need, max(1, cores // division.ranks), device)
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
        engine_threads=engine_threads,
        large_steps=large_steps,
        engine_compiled=_engine_compiled(overrides, device),
        max_batched_tokens=max(2048, need.max_positions),
        max_model_len=length,
        division=division,
        gpus=overrides.gpus if device == "cuda" else 0,
        engine_gpu=1
        if overrides.apart and not (overrides.encoder_elsewhere or overrides.engine_elsewhere)
        else 0,
    )
    return replace(plan, lines=explain(plan, machine, need, overrides))


def _engine_threads(need: Need, cores: int, device: str) -> tuple[int, LargeSteps | None]:
    """Of a rank that has `cores`: in most steps, and in large ones where those are worth more."""
    if device != "cpu":
        return 1, None
    if need.text_bytes > SMALL_MODEL_BYTES:
        return cores, None
    if cores == 1 or not need.hidden:
        return 1, None
    return 1, LargeSteps(tokens=max(2, LARGE_STEP_VALUES // need.hidden), threads=cores)


def _engine_compiled(overrides: Overrides, device: str) -> bool:
    """On a CPU only on request, and for several stages: without it, vLLM 0.32 skips the warm-up in which all but the
    first get their input buffers, and the first request ends the engine.

    Raises ConfigurationError where that is what was asked for.
    """
    stages = overrides.division.pipeline_parallel_size
    if overrides.engine_compile == "off" and device == "cpu" and stages > 1:
        raise ConfigurationError(
            f"engine_compile: got off, but pipeline_parallel_size is {stages}, and on a CPU vLLM runs stages only "
            "compiled; allowed are auto and on"
        )
    if overrides.engine_compile == "auto":
        return device == "cuda" or stages > 1
    return overrides.engine_compile == "on"


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
    """On a CPU every core, although the engine has them too, as the encoder gives way (service/encoder/threads.py); one
    for a tower too small to be divided."""
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
    return STAGED[1] * _chunk_tiles(need, batch) * (need.tile_pixel_bytes + need.row_bytes * need.tile_rows)


def _pinned_bytes(need: Need, overrides: Overrides, batch: int) -> int:
    """Of an encoder on a GPU."""
    if not _encoder_here(overrides):
        return 0
    rows = -(-batch // need.tile_patches) * need.tile_rows * need.row_bytes
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
