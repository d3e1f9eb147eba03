"""From settings to everything that is decided before anything starts: checkpoint, geometry, plan, engine.

`patchbay serve` and `patchbay check` both begin here, so what check shows is what serve does. Starts nothing.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Literal, cast
from urllib.parse import urlsplit

from service.app.mode import ImageMode, choose_mode
from service.arena import ArenaSpec, arena_name
from service.checkpoint.summary import Checkpoint, resolve
from service.engine.adapters import check_adapters, read_adapters
from service.engine.flags import flag_names
from service.engine.launcher import EngineSpec, HandlesSpec, tool_call_parser
from service.errors import ConfigurationError, InvalidRequest
from service.families import family_of
from service.families.base import Geometry
from service.planning.machine import Machine, inspect
from service.planning.parallel import Division, check_division
from service.planning.plan import make_plan
from service.planning.resources import ITEM_BYTES, Need, Overrides, ResourcePlan
from service.settings import EIGHT_BITS, Settings
from service.telemetry.tracing import check_installed, traces_url

EMBEDDED_NAME = "patchbay-demo"
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class Prepared:
    settings: Settings
    machine: Machine
    images: Literal["handles", "passthrough"]
    """What the setting of that name comes to."""
    images_why: str
    checkpoint: Checkpoint
    geometry: Geometry
    plan: ResourcePlan
    dtype: Dtype
    served_name: str
    adapters: tuple[str, ...]
    """Names of LoRA adapters, under which requests may ask as well."""
    arena_path: str
    arena_spec: ArenaSpec
    engine: EngineSpec
    """The engine that Patchbay starts, or the one that it expects at `engine_url`."""
    engine_url: str
    external: bool
    """True when somebody else starts the engine."""


def prepare(settings: Settings, *, encoder_elsewhere: bool = False) -> Prepared:
    """`encoder_elsewhere`: this process becomes the engine, and another encodes.

    Raises ConfigurationError for whatever cannot work, in a sentence.
    """
    check_installed(settings.otlp_endpoint)
    mode = choose_mode(settings, resolve(settings.model, settings.revision))
    _check_installed(settings)
    checkpoint, geometry = mode.checkpoint, mode.geometry
    if mode.images == "passthrough":
        _must_pass_through(settings, geometry)
    dtype = dtype_of(settings, checkpoint, geometry)
    adapters = read_adapters(settings.engine_args)
    if mode.images == "handles":
        check_adapters(adapters, family_of(checkpoint.path).owns)
    if not settings.arena_dir.is_dir():
        raise ConfigurationError(f"arena_dir: {settings.arena_dir} is not a folder")
    machine = inspect(settings.arena_dir)
    overrides = replace(overrides_of(settings, mode.images), encoder_elsewhere=encoder_elsewhere)
    check_division(overrides.division, checkpoint.text_config)
    plan = make_plan(machine, need_of(checkpoint, geometry, dtype), overrides)
    served_name = served_name_of(settings, checkpoint)
    port = _engine_port(settings)
    _must_compute_gated_delta(settings, checkpoint, dtype, plan.device)
    arena_path = str(settings.arena_dir / arena_name(settings.port))
    width = max(1, row_width(checkpoint, geometry))
    spec = ArenaSpec.for_budget(plan.arena_bytes, width, dtype, max(1, geometry.max_tokens))
    facts = geometry.facts
    handles = HandlesSpec(arena_path, width, geometry.max_tokens, facts.architecture, facts.language)
    return Prepared(
        settings=settings,
        machine=machine,
        images=mode.images,
        images_why=mode.why,
        checkpoint=checkpoint,
        geometry=geometry,
        plan=plan,
        dtype=dtype,
        served_name=served_name,
        adapters=tuple(adapter.name for adapter in adapters),
        arena_path=arena_path,
        arena_spec=spec,
        engine=_engine(settings, mode, plan, dtype, served_name, port, handles),
        engine_url=settings.engine_url or f"http://127.0.0.1:{port}",
        external=settings.engine_url is not None,
    )


def _check_installed(settings: Settings) -> None:
    """The gateway can be installed without encoder and engine, which must then run elsewhere."""
    if settings.engine_url is None and find_spec("vllm") is None:
        raise ConfigurationError(
            "vLLM is not installed, so no engine can be started here: install Patchbay with its cpu or cuda extra, or "
            "name a running engine in engine_url"
        )


def _engine(
    settings: Settings,
    mode: ImageMode,
    plan: ResourcePlan,
    dtype: Dtype,
    served_name: str,
    port: int,
    handles: HandlesSpec,
) -> EngineSpec:
    checkpoint, geometry = mode.checkpoint, mode.geometry
    by_handle, counted = mode.images == "handles", geometry.facts.counted
    return EngineSpec(
        model=str(checkpoint.path),
        served_model_name=served_name,
        port=port,
        device=plan.device,
        dtype=dtype if counted or settings.dtype != "auto" or checkpoint.dtype in ITEM_BYTES else "auto",
        max_model_len=plan.max_model_len or None,
        handles=handles if by_handle else None,
        tower=geometry.facts.engine_tower if by_handle else "present",
        # how large the largest image of an unknown family is only vLLM knows
        max_batched_tokens=plan.max_batched_tokens if counted else None,
        cpu_threads=plan.engine_threads,
        large_steps=plan.large_steps,
        compiled=plan.engine_compiled,
        kv_cache_bytes=plan.kv_cache_bytes,
        gpu_memory_utilization=plan.gpu_memory_utilization,
        tensor_parallel_size=plan.division.tensor_parallel_size,
        pipeline_parallel_size=plan.division.pipeline_parallel_size,
        first_gpu=plan.engine_gpu,
        by_priority=settings.requires_keys and "--scheduling-policy" not in flag_names(settings.engine_args),
        tool_call_parser=tool_call_parser(checkpoint.chat_template),
        otlp_traces_url=traces_url(settings.otlp_endpoint) if settings.otlp_endpoint else None,
        extra_args=settings.engine_args,
    )


def served_name_of(settings: Settings, checkpoint: Checkpoint) -> str:
    return settings.served_model_name or (EMBEDDED_NAME if settings.embedded else checkpoint.name)


def _must_pass_through(settings: Settings, geometry: Geometry) -> None:
    """Raises ConfigurationError if the engine's own tower cannot apply a setting that concerns all images."""
    if settings.auto_detail_backlog:
        raise ConfigurationError(
            f"auto_detail_backlog={settings.auto_detail_backlog:g} is for images that Patchbay encodes, and here the "
            "engine encodes them (images=passthrough): remove it"
        )
    if settings.encoder_precision in EIGHT_BITS:
        raise ConfigurationError(
            f"encoder_precision={settings.encoder_precision} is for images that Patchbay encodes, and here the engine "
            "encodes them (images=passthrough): remove it"
        )
    try:
        geometry.processor_options("high")
    except InvalidRequest as error:
        raise ConfigurationError(f"images=passthrough: {error.message}") from None


def row_width(checkpoint: Checkpoint, geometry: Geometry) -> int:
    """The length of a soft token's vector."""
    return checkpoint.hidden_size * geometry.facts.row_widths


def dtype_of(settings: Settings, checkpoint: Checkpoint, geometry: Geometry) -> Dtype:
    """Raises ConfigurationError if the number format is not supported."""
    dtype = checkpoint.dtype if settings.dtype == "auto" else settings.dtype
    if dtype == "auto":
        dtype = "bfloat16"
    if dtype not in ITEM_BYTES:
        raise ConfigurationError(
            f"the checkpoint's number format is {dtype}; choose one of {', '.join(ITEM_BYTES)} with --dtype"
        )
    if dtype not in (allowed := geometry.facts.dtypes):
        raise ConfigurationError(
            f"dtype: got {dtype}; a checkpoint of family {geometry.facts.family} can be served in "
            f"{', '.join(allowed)}"
        )
    return cast(Dtype, dtype)


def _must_compute_gated_delta(settings: Settings, checkpoint: Checkpoint, dtype: Dtype, device: str) -> None:
    """Raises ConfigurationError where the first request would end the engine: vLLM's CPU build asserts bfloat16."""
    if checkpoint.gated_delta and settings.engine_url is None and device == "cpu" and dtype != "bfloat16":
        given = f"auto, which is the checkpoint's {dtype}" if settings.dtype == "auto" else dtype
        raise ConfigurationError(
            f"dtype: got {given}; on a CPU vLLM computes gated-delta attention in bfloat16 alone: choose bfloat16"
        )


def need_of(checkpoint: Checkpoint, geometry: Geometry, dtype: Dtype) -> Need:
    """What a checkpoint served in `dtype` needs, for the plan."""
    largest = geometry.largest
    scale = ITEM_BYTES[dtype] / ITEM_BYTES.get(checkpoint.dtype, ITEM_BYTES[dtype])
    return Need(
        vision_bytes=round(checkpoint.vision_bytes * scale),
        text_bytes=round(checkpoint.text_bytes * scale),
        vision_hidden=checkpoint.vision_hidden,
        soft_width=max(1, row_width(checkpoint, geometry)),
        max_tokens=max(1, geometry.max_tokens),
        max_positions=largest.layout.positions,
        max_patches=max(1, largest.patches),
        tile_patches=max(1, largest.patches // max(1, largest.tiles)),
        tile_pixel_bytes=max((3 * view.tile_width * view.tile_height for view in largest.views), default=3),
        tile_rows=max(1, largest.tower_rows // max(1, largest.tiles)),
        kv_bytes_per_token=round(checkpoint.kv_bytes_per_token * scale),
        state_bytes=round(checkpoint.state_bytes * max(1, scale)),
        context=checkpoint.context,
        dtype=dtype,
        independent_tiles=geometry.facts.independent_tiles,
        tower_loaded_twice=geometry.facts.engine_tower == "loaded",
        layers=_number(checkpoint, "num_hidden_layers"),
        kv_heads=_number(checkpoint, "num_key_value_heads") or _number(checkpoint, "num_attention_heads"),
        hidden=checkpoint.hidden_size,
        table_bytes=_number(checkpoint, "vocab_size") * checkpoint.hidden_size * ITEM_BYTES[dtype],
        tables=1 if checkpoint.tied else 2,
    )


def _number(checkpoint: Checkpoint, name: str) -> int:
    """Of the language model's part of config.json; 0 where it is not there."""
    value = checkpoint.text_config.get(name)
    return value if isinstance(value, int) else 0


def overrides_of(settings: Settings, images: Literal["handles", "passthrough"]) -> Overrides:
    """The settings that the plan takes as given; `images` is what the setting of that name comes to."""
    return Overrides(
        device=settings.device,
        images=images,
        encoder_batch_patches=settings.encoder_batch_patches,
        encoder_copies=settings.encoder_copies,
        encoder_graph_bytes=settings.encoder_graph_bytes,
        encoder_attention=settings.encoder_attention,
        encoder_threads=settings.encoder_threads,
        decode_workers=settings.decode_workers,
        arena_bytes=settings.arena_bytes,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        max_model_len=settings.max_model_len,
        engine_elsewhere=settings.engine_url is not None,
        encoder_gpu=settings.encoder_gpu,
        engine_compile=settings.engine_compile,
        division=Division(settings.tensor_parallel_size, settings.pipeline_parallel_size),
    )


def _engine_port(settings: Settings) -> int:
    if settings.engine_url is not None:
        return urlsplit(settings.engine_url).port or 80
    return settings.engine_port or _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
