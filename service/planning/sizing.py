"""What a planned machine holds of a given mix of images, and what no machine of its kind can pass.

Divides what `make_plan` gave, with the geometry that serves requests: it has no plan of its own. Requests held at once
are counted from memory. The ceiling is what a data sheet's peaks allow where no image and no text comes twice, weights
and KV cache are as planned, and one token is made a step: a limit, not a forecast. Knows no checkpoint files and no
settings; measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.arena import ArenaSpec
from service.domain import Detail, ImageBytes, ImageFormat, ImagePlan, ImageRef
from service.families.base import Geometry
from service.families.fitting import fit
from service.planning.compute import Compute
from service.planning.machine import Machine
from service.planning.plan import ENGINE_MINIMUM_BYTES, GIB, Need, ResourcePlan

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
    plan: ImagePlan
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
class Peaks:
    """Of a GPU, from its data sheet."""

    flops: float
    """Operations per second."""
    bandwidth: float
    """Bytes per second."""
    compute: Compute
    """What the checkpoint asks of it."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Seconds of one request of the mix at the data sheet's peaks."""

    encode: float
    prefill: float
    decode: float
    traffic: float
    """Of memory, while answers are decoded; it may go on beside the arithmetic of others."""

    @property
    def arithmetic(self) -> float:
        return self.encode + self.prefill + self.decode

    @property
    def requests_per_second(self) -> float:
        """No more, whatever overlaps: each of the two is done by one GPU at its peak."""
        return 1 / max(self.arithmetic, self.traffic)


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
    arena: ArenaSpec | None,
    work: Workload,
    *,
    max_inflight: int,
    max_sequences: int | None = None,
    peaks: Peaks | None = None,
) -> Sizing:
    """Holds `work` against `plan`.

    `arena` is None where the engine's own tower encodes. `max_sequences` is the engine's `--max-num-seqs`; None leaves
    it to vLLM. Raises ContextLengthExceeded when a request of one of the kinds does not fit the model's context.
    """
    costs = tuple(_cost(geometry, kind, work.images, plan.max_model_len) for kind in work.kinds)
    mean = _mean(costs, work)
    kv_tokens = _kv_bytes(machine, need, plan, own_tower=arena is None) // need.kv_bytes_per_token
    sequences = max_sequences or _sequences(machine, plan)
    limits = [
        Limit(
            "KV cache", int(kv_tokens / mean.context), "a larger GPU, or max_model_len and shorter answers"
        ),
        Limit("requests inside", max_inflight, "max_inflight"),
        Limit("sequences of the engine", sequences, "-- --max-num-seqs"),
    ]
    if arena is not None:
        room = _weighed(costs, work, lambda cost: arena.room(cost.plan.tokens))
        limits.append(Limit("soft tokens in the arena", int(arena.promised_tokens / room), "arena_bytes"))
    in_order = tuple(sorted(limits, key=lambda limit: limit.requests))
    ceiling = None
    if peaks is not None and in_order[0].requests > 0:
        ceiling = _ceiling(peaks, need, costs, work, most=min(max_inflight, sequences))
    return Sizing(costs, mean, kv_tokens, in_order, ceiling)


def _cost(geometry: Geometry, kind: Kind, images: int, context: int) -> KindCost:
    """As the gateway would plan a request of `images` such images."""
    ref = ImageRef("", kind.detail, 0, 0, f"image {kind.width}x{kind.height}")
    image = ImageBytes(b"", ImageFormat.PNG, kind.width, kind.height, "data")
    plan = fit(geometry, [ref] * images, [image] * images, context)[0]
    return KindCost(kind, plan, plan.layout.positions)


def _mean(costs: Sequence[KindCost], work: Workload) -> Mean:
    positions = _weighed(costs, work, lambda cost: cost.positions)
    return Mean(
        patches=_weighed(costs, work, lambda cost: cost.plan.patches),
        rows=_weighed(costs, work, lambda cost: cost.plan.tokens),
        prompt=positions + work.text_tokens,
        context=positions + work.text_tokens + work.answer_tokens,
    )


def _weighed(costs: Sequence[KindCost], work: Workload, of: Callable[[KindCost], float]) -> float:
    """What the images of a mean request take together."""
    total = sum(cost.kind.weight for cost in costs)
    return sum(work.images * cost.kind.weight / total * of(cost) for cost in costs)


def _kv_bytes(machine: Machine, need: Need, plan: ResourcePlan, *, own_tower: bool) -> int:
    """On a GPU, what the engine's share leaves beside its weights and the least that it needs to compute."""
    if plan.kv_cache_bytes is not None:
        return plan.kv_cache_bytes
    assert machine.gpu is not None and plan.gpu_memory_utilization is not None
    share = int(plan.gpu_memory_utilization * machine.gpu.memory_bytes)
    weights = need.text_bytes + (need.vision_bytes if own_tower else 0)
    return max(0, share - weights - ENGINE_MINIMUM_BYTES)


def _sequences(machine: Machine, plan: ResourcePlan) -> int:
    gpu = machine.gpu if plan.device == "cuda" else None
    large = gpu is not None and gpu.memory_bytes >= 70 * GIB and "A100" not in gpu.name
    return MANY_SEQUENCES if large else SEQUENCES


def _ceiling(peaks: Peaks, need: Need, costs: Sequence[KindCost], work: Workload, most: int) -> Ceiling:
    """The first token of an answer comes with the prompt, and its last is not fed again. A step reads the weights once
    for `most` requests, and of each the keys and values that it looks at."""
    compute, flops = peaks.compute, peaks.flops
    encode = prefill = decode = traffic = 0.0
    total = sum(cost.kind.weight for cost in costs)
    fed = work.answer_tokens - 1
    for cost in costs:
        share = cost.kind.weight / total
        prompt = work.images * cost.positions + work.text_tokens
        before, after = compute.looks(prompt), compute.looks(prompt + fed)
        encode += share * work.images * cost.plan.patches * compute.patch / flops
        prefill += share * (prompt * compute.token + before * compute.look + compute.head) / flops
        decode += share * (fed * (compute.token + compute.head) + (after - before) * compute.look) / flops
        steps = fed * compute.step_bytes / most + (after - before) * need.kv_bytes_per_token
        traffic += share * steps / peaks.bandwidth
    return Ceiling(encode, prefill, decode, traffic)
