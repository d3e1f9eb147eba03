"""What a planned machine holds of a given mix of images, and what no machine of its kind can pass.

Divides what `make_plan` gave, with the geometry that serves requests: it has no plan of its own. Requests held at once
are counted from memory; the ceiling is counted from a data sheet, and is a physical limit, not a forecast. Knows no
checkpoint files and no settings; measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.arena import ArenaSpec
from service.domain import Detail, ImageBytes, ImageFormat, ImageRef, TilePlan
from service.families.base import Geometry
from service.fitting import fit
from service.machine import Machine
from service.plan import ENGINE_MINIMUM_BYTES, GIB, ITEM_BYTES, Need, ResourcePlan

SEQUENCES = 256
MANY_SEQUENCES = 1024
"""Requests that vLLM 0.32 runs at once where --max-num-seqs says nothing: many from 70 GiB on, but for the A100."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of image in the mix: displayed pixels, the client's detail, and how often it comes beside others."""

    width: int
    height: int
    detail: Detail = Detail.AUTO
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What requests look like: images of one kind each, a text beside them, an answer."""

    kinds: tuple[Kind, ...]
    images: int = 1
    """In each request."""
    text_tokens: int = 64
    answer_tokens: int = 128


@dataclass(frozen=True, slots=True)
class KindCost:
    """What one image of a kind takes."""

    kind: Kind
    plan: TilePlan
    positions: int
    """Prompt tokens, separators included."""


@dataclass(frozen=True, slots=True)
class Mean:
    """Of a request of the mix."""

    patches: float
    rows: float
    """Soft tokens."""
    prompt: float
    """Prompt tokens, images included."""
    context: float
    """Prompt and answer: what the KV cache holds in the end."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on requests at once, and the knob that moves it."""

    name: str
    requests: int
    knob: str


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Seconds of one request at the data sheet's peaks, at the batch that memory allows."""

    encode: float
    prefill: float
    decode: float

    @property
    def requests_per_second(self) -> float:
        """One GPU does all three, one after the other."""
        return 1 / (self.encode + self.prefill + self.decode)


@dataclass(frozen=True, slots=True)
class Sizing:
    costs: tuple[KindCost, ...]
    mean: Mean
    kv_tokens: int
    """Tokens that the engine's KV cache holds."""
    limits: tuple[Limit, ...]
    """Smallest first."""
    ceiling: Ceiling | None
    """None where no data sheet is at hand."""

    @property
    def at_once(self) -> int:
        """Requests of the mix that are served at once."""
        return self.limits[0].requests


def size(
    machine: Machine,
    need: Need,
    plan: ResourcePlan,
    geometry: Geometry,
    arena: ArenaSpec,
    work: Workload,
    *,
    max_inflight: int,
    peaks: tuple[float, float] | None = None,
) -> Sizing:
    """Holds `work` against `plan`. `peaks` is (FLOP/s, bytes/s) of the GPU.

    Raises ContextLengthExceeded when a request of one of the kinds does not fit the model's context.
    """
    costs = tuple(_cost(geometry, kind, work.images, plan.max_model_len) for kind in work.kinds)
    mean = _mean(costs, work)
    kv_tokens = _kv_bytes(machine, need, plan) // need.kv_bytes_per_token
    limits = (
        Limit(
            "KV cache", int(kv_tokens / mean.context), "a larger GPU, or max_model_len and shorter answers"
        ),
        Limit("soft tokens in the arena", int(arena.promised_rows / mean.rows), "arena_bytes"),
        Limit("requests inside", max_inflight, "max_inflight"),
        Limit("sequences of the engine", _sequences(machine, plan), "-- --max-num-seqs"),
    )
    in_order = tuple(sorted(limits, key=lambda limit: limit.requests))
    ceiling = None
    if peaks is not None and in_order[0].requests > 0:
        ceiling = _ceiling(need, mean, work, in_order[0].requests, *peaks)
    return Sizing(costs, mean, kv_tokens, in_order, ceiling)


def _cost(geometry: Geometry, kind: Kind, images: int, context: int) -> KindCost:
    """As the gateway would plan a request of `images` such images."""
    ref = ImageRef("", kind.detail, f"image {kind.width}x{kind.height}")
    image = ImageBytes(b"", ImageFormat.PNG, kind.width, kind.height, "data")
    plan = fit(geometry, [ref] * images, [image] * images, context)[0]
    return KindCost(kind, plan, geometry.layout(plan).positions)


def _mean(costs: Sequence[KindCost], work: Workload) -> Mean:
    total = sum(cost.kind.weight for cost in costs)
    shares = [work.images * cost.kind.weight / total for cost in costs]
    positions = sum(share * cost.positions for share, cost in zip(shares, costs, strict=True))
    return Mean(
        patches=sum(share * cost.plan.patches for share, cost in zip(shares, costs, strict=True)),
        rows=sum(share * cost.plan.rows for share, cost in zip(shares, costs, strict=True)),
        prompt=positions + work.text_tokens,
        context=positions + work.text_tokens + work.answer_tokens,
    )


def _kv_bytes(machine: Machine, need: Need, plan: ResourcePlan) -> int:
    """On a GPU, what the engine's share leaves beside its weights and the least that it needs to compute."""
    if plan.kv_cache_bytes is not None:
        return plan.kv_cache_bytes
    assert machine.gpu is not None and plan.gpu_memory_utilization is not None
    share = int(plan.gpu_memory_utilization * machine.gpu.memory_bytes)
    return max(0, share - need.text_bytes - ENGINE_MINIMUM_BYTES)


def _sequences(machine: Machine, plan: ResourcePlan) -> int:
    gpu = machine.gpu if plan.device == "cuda" else None
    large = gpu is not None and gpu.memory_bytes >= 70 * GIB and "A100" not in gpu.name
    return MANY_SEQUENCES if large else SEQUENCES


def _ceiling(need: Need, mean: Mean, work: Workload, at_once: int, flops: float, bandwidth: float) -> Ceiling:
    """Two operations a weight and token or patch; each decoding step reads the weights once for all, and each KV."""
    item = ITEM_BYTES[need.dtype]
    half = mean.prompt + work.answer_tokens / 2
    step = need.text_bytes / at_once + half * need.kv_bytes_per_token
    return Ceiling(
        encode=2 * need.vision_bytes / item * mean.patches / flops,
        prefill=2 * need.text_bytes / item * mean.prompt / flops,
        decode=work.answer_tokens * step / bandwidth,
    )
