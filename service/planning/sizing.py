"""How many requests of a given mix a planned machine can hold, and a rate that it cannot exceed.

Divides what `make_plan` allotted by what requests cost in the geometry that serves them. Concurrent requests follow
from memory. The ceiling is what a data sheet's peaks allow if no image and no text repeats, weights and KV cache are as
planned, and each step produces one token: an upper limit, not a forecast. Nothing is measured.
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
from service.planning.plan import ENGINE_MINIMUM_BYTES
from service.planning.resources import GIB, Need, ResourcePlan

SEQUENCES = 256
MANY_SEQUENCES = 1024
"""Concurrent requests in vLLM 0.32 without --max-num-seqs: the larger number from 70 GiB on, except on an A100."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of image in the mix: displayed pixels, the client's detail, and its relative frequency."""

    width: int
    height: int
    detail: Detail = Detail.AUTO
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What requests look like: images of one kind each, text, and an answer."""

    kinds: tuple[Kind, ...]
    images: int = 1
    """Per request."""
    text_tokens: int = 64
    answer_tokens: int = 128


@dataclass(frozen=True, slots=True)
class KindCost:
    """What one image of a kind costs."""

    kind: Kind
    plan: ImagePlan
    positions: int
    """Prompt tokens, separators included."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean request of the mix."""

    patches: float
    rows: float
    """Soft tokens."""
    prompt: float
    """Prompt tokens, images included."""
    context: float
    """Prompt and answer: what the KV cache holds at the end."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on concurrent requests, and the setting that raises it."""

    name: str
    requests: int
    knob: str


@dataclass(frozen=True, slots=True)
class Peaks:
    """The peak rates of one GPU, from its data sheet."""

    flops: float
    """Operations per second."""
    bandwidth: float
    """Bytes per second."""
    compute: Compute
    """What the checkpoint computes."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Seconds of one request of the mix at the data sheet's peaks; the engine's ranks compute side by side."""

    encode: float
    prefill: float
    decode: float
    traffic: float
    """Memory traffic while answers are decoded; it can overlap with the arithmetic of other requests."""
    encoder_apart: bool = False
    """Whether images are encoded on another GPU than answers are computed on."""

    @property
    def arithmetic(self) -> float:
        return self.encode + self.prefill + self.decode

    @property
    def requests_per_second(self) -> float:
        """The upper limit, whatever overlaps: the encoder's GPU computes a rank's part too, unless it is apart."""
        together = max(self.encode, self.prefill + self.decode) if self.encoder_apart else self.arithmetic
        return 1 / max(together, self.traffic)


@dataclass(frozen=True, slots=True)
class Sizing:
    costs: tuple[KindCost, ...]
    mean: Mean
    kv_tokens: int
    """Tokens whose keys and values fill the engine's KV cache."""
    limits: tuple[Limit, ...]
    """Smallest first."""
    ceiling: Ceiling | None
    """None without a data sheet."""

    @property
    def at_once(self) -> int:
        """Requests of the mix that can be served concurrently."""
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
    """How much of `work` fits in `plan`.

    `arena` is None where the engine's own tower encodes. `max_sequences` is the engine's `--max-num-seqs`; None leaves
    it to vLLM. Raises ContextLengthExceeded when a request of one of the kinds does not fit the model's context.
    """
    costs = tuple(_cost(geometry, kind, work.images, plan.max_model_len) for kind in work.kinds)
    mean = _mean(costs, work)
    rank = need.of_rank(plan.division)
    kv_bytes = _kv_bytes(machine, rank, plan, own_tower=arena is None)
    sequences = max_sequences or _sequences(machine, plan)
    limits = [
        Limit(
            "KV cache",
            int(kv_bytes / rank.sequence_bytes(mean.context)),
            "a larger GPU, max_model_len, or shorter answers",
        ),
        Limit("requests in flight", max_inflight, "max_inflight"),
        Limit("sequences of the engine", sequences, "-- --max-num-seqs"),
    ]
    if arena is not None:
        room = _weighed(costs, work, lambda cost: arena.room(cost.plan.tokens))
        limits.append(Limit("soft tokens in the arena", int(arena.promised_tokens / room), "arena_bytes"))
    in_order = tuple(sorted(limits, key=lambda limit: limit.requests))
    ceiling = None
    if peaks is not None and in_order[0].requests > 0:
        ceiling = _ceiling(peaks, need, plan, costs, work, most=min(max_inflight, sequences))
    return Sizing(costs, mean, kv_bytes // rank.kv_bytes_per_token, in_order, ceiling)


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
    """Of one rank; on a GPU, what its share leaves after its weights and the minimum that it needs to compute."""
    if plan.kv_cache_bytes is not None:
        return plan.kv_cache_bytes
    assert machine.gpu is not None and plan.gpu_memory_utilization is not None
    share = int(plan.gpu_memory_utilization * machine.gpu.memory_bytes)
    weights = need.text_bytes + need.vision_bytes if own_tower else need.engine_bytes
    return max(0, share - weights - ENGINE_MINIMUM_BYTES)


def _sequences(machine: Machine, plan: ResourcePlan) -> int:
    gpu = machine.gpu if plan.device == "cuda" else None
    large = gpu is not None and gpu.memory_bytes >= 70 * GIB and "A100" not in gpu.name
    return MANY_SEQUENCES if large else SEQUENCES


def _ceiling(
    peaks: Peaks, need: Need, plan: ResourcePlan, costs: Sequence[KindCost], work: Workload, most: int
) -> Ceiling:
    """The first token of an answer comes with the prefill, and its last one is not fed back. A step reads the weights
    once for `most` requests, and for each of them the keys and values that it attends to."""
    compute, flops, ranks = peaks.compute, peaks.flops, plan.division.ranks
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
    return Ceiling(encode, prefill / ranks, decode / ranks, traffic / ranks, encoder_apart=plan.gpus > ranks)
