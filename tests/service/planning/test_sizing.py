"""Sizing adds nothing to the plan: memory is divided by what a request takes, and more never holds less."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.arena import ArenaSpec
from service.domain import Detail
from service.errors import ContextLengthExceeded
from service.families import load_geometry
from service.planning.compute import Compute
from service.planning.gpus import DATA_SHEETS
from service.planning.machine import Machine
from service.planning.parallel import Division
from service.planning.plan import ENGINE_MINIMUM_BYTES, make_plan
from service.planning.resources import GIB, Need, Overrides
from service.planning.sizing import Kind, Peaks, Sizing, Workload, size
from service.planning.visible_gpu import GPU

GEOMETRY = load_geometry("demo/model")
NEED = Need(
    vision_bytes=600_000_000,
    text_bytes=15_000_000_000,
    vision_hidden=1024,
    soft_width=3584,
    max_tokens=GEOMETRY.max_tokens,
    max_positions=162,
    max_patches=640,
    tile_patches=64,
    tile_pixel_bytes=3 * 112 * 112,
    tile_rows=16,
    kv_bytes_per_token=57_344,
    context=32_768,
    dtype="bfloat16",
)
WORK = Workload((Kind(1920, 1080),), text_tokens=64, answer_tokens=128)
COMPUTE = Compute(patch=7e8, token=14e9, head=1e9, look=40, window=None, step_bytes=14e9)
PEAKS = Peaks(DATA_SHEETS["h100"].flops, DATA_SHEETS["h100"].bandwidth, COMPUTE)


def machine(gpu: float | None = 80, memory: float = 64) -> Machine:
    card = GPU("card", int(gpu * GIB), int(gpu * GIB)) if gpu else None
    return Machine(tuple(range(16)), int(memory * GIB), int(memory * GIB / 2), card)


def sized(
    on: Machine | None = None,
    work: Workload = WORK,
    need: Need = NEED,
    inflight: int = 256,
    ceiling: bool = True,
) -> Sizing:
    on = on or machine()
    plan = make_plan(on, need, Overrides())
    arena = ArenaSpec.for_budget(plan.arena_bytes, need.soft_width, need.dtype, need.max_tokens)
    return size(
        on, need, plan, GEOMETRY, arena, work, max_inflight=inflight, peaks=PEAKS if ceiling else None
    )


def test_an_image_costs_what_the_gateway_would_plan() -> None:
    (cost,) = sized().costs
    plan = GEOMETRY.plan(1920, 1080, Detail.AUTO)
    assert cost.plan == plan and cost.positions == plan.tokens + 2


def test_many_images_of_a_request_give_tiles_back_as_in_the_gateway() -> None:
    tight = replace(NEED, context=512)
    crowd = sized(work=replace(WORK, images=8), need=tight)
    assert crowd.costs[0].plan.tiles < sized(need=tight).costs[0].plan.tiles


def test_a_request_that_fits_no_context_is_refused_by_name() -> None:
    work = Workload((Kind(1920, 1080, Detail.HIGH),), images=8)
    with pytest.raises(ContextLengthExceeded, match="image 1920x1080: 146"):
        sized(work=work, need=replace(NEED, context=512))


def test_the_mean_is_weighed() -> None:
    low, high = Kind(640, 480, Detail.LOW, weight=3), Kind(1920, 1080, Detail.HIGH)
    mean = sized(work=Workload((low, high), images=2, text_tokens=10, answer_tokens=20)).mean
    assert mean.rows == 2 * (3 * 16 + 144) / 4
    assert mean.prompt == mean.rows + 2 * 2 + 10
    assert mean.context == mean.prompt + 20
    assert mean.patches == 2 * (3 * 64 + 576) / 4


def test_the_kv_cache_is_what_the_engines_share_leaves() -> None:
    on = machine()
    plan = make_plan(on, NEED, Overrides())
    assert on.gpu is not None and plan.gpu_memory_utilization is not None
    left = int(plan.gpu_memory_utilization * on.gpu.memory_bytes) - NEED.text_bytes - ENGINE_MINIMUM_BYTES
    assert sized(on).kv_tokens == left // NEED.kv_bytes_per_token


def test_a_state_of_each_sequence_takes_room_from_others() -> None:
    plain, recurrent = (
        sized(need=replace(NEED, state_bytes=size), inflight=10**6) for size in (0, 50 * 2**20)
    )
    (keys,) = (limit.requests for limit in plain.limits if limit.name == "KV cache")
    (both,) = (limit.requests for limit in recurrent.limits if limit.name == "KV cache")
    each = plain.mean.context * NEED.kv_bytes_per_token
    assert both == pytest.approx(keys * each / (each + 2 * 50 * 2**20), abs=1)
    assert both < keys


def test_on_a_cpu_the_kv_cache_is_the_plans() -> None:
    on = machine(gpu=None)
    plan = make_plan(on, NEED, Overrides())
    assert plan.kv_cache_bytes is not None
    assert sized(on, ceiling=False).kv_tokens == plan.kv_cache_bytes // NEED.kv_bytes_per_token


def test_the_smallest_limit_is_the_bound() -> None:
    assert [limit.requests for limit in sized().limits] == sorted(limit.requests for limit in sized().limits)
    assert sized(inflight=3).at_once == 3 and sized(inflight=3).limits[0].knob == "max_inflight"
    tight = sized(machine(gpu=19), inflight=10**6)
    assert tight.limits[0].name == "KV cache"


@pytest.mark.parametrize(
    ("gpu", "name", "sequences"), [(80, "card", 1024), (80, "A100", 256), (40, "card", 256)]
)
def test_the_engines_own_bound_is_vllms(gpu: int, name: str, sequences: int) -> None:
    on = machine(gpu)
    assert on.gpu is not None
    found = sized(replace(on, gpu=replace(on.gpu, name=name)))
    assert {limit.name: limit.requests for limit in found.limits}["sequences of the engine"] == sequences


def test_the_ceiling_is_arithmetic_or_memory_traffic() -> None:
    found = sized()
    ceiling, mean = found.ceiling, found.mean
    assert ceiling is not None
    look = 40 * mean.prompt**2 / 2
    assert ceiling.encode == pytest.approx(7e8 * mean.patches / PEAKS.flops)
    assert ceiling.prefill == pytest.approx((14e9 * mean.prompt + look + 1e9) / PEAKS.flops)
    # the prompt brings the first of 128 tokens
    looked = ((mean.prompt + 127) ** 2 - mean.prompt**2) / 2
    assert ceiling.decode == pytest.approx((127 * 15e9 + 40 * looked) / PEAKS.flops)
    read = 127 * 14e9 / 256 + looked * NEED.kv_bytes_per_token
    assert ceiling.traffic == pytest.approx(read / PEAKS.bandwidth)
    assert ceiling.arithmetic == ceiling.encode + ceiling.prefill + ceiling.decode
    assert ceiling.requests_per_second == 1 / max(ceiling.arithmetic, ceiling.traffic)
    assert sized(ceiling=False).ceiling is None


def test_the_ceiling_of_a_mix_is_that_of_its_kinds_by_weight() -> None:
    low, high = Kind(640, 480, Detail.LOW, weight=3), Kind(1920, 1080, Detail.HIGH)
    of_low, of_high, of_both = (
        sized(work=Workload(kinds)).ceiling for kinds in ((low,), (high,), (low, high))
    )
    assert of_low and of_high and of_both
    for name in ("encode", "prefill", "decode", "traffic"):
        parts = 3 * getattr(of_low, name) + getattr(of_high, name)
        assert getattr(of_both, name) == pytest.approx(parts / 4)


def test_where_the_engines_tower_encodes_there_is_no_arena_and_less_room() -> None:
    on = machine()
    plan = make_plan(on, NEED, Overrides(images="passthrough"))
    found = size(on, NEED, plan, GEOMETRY, None, WORK, max_inflight=7)
    assert {limit.name for limit in found.limits} == {
        "KV cache",
        "requests in flight",
        "sequences of the engine",
    }
    assert on.gpu is not None and plan.gpu_memory_utilization is not None
    left = int(plan.gpu_memory_utilization * on.gpu.memory_bytes) - ENGINE_MINIMUM_BYTES
    assert found.kv_tokens == (left - NEED.text_bytes - NEED.vision_bytes) // NEED.kv_bytes_per_token


def test_ranks_hold_a_part_each_and_compute_side_by_side() -> None:
    need = replace(NEED, layers=28, kv_heads=4)
    one, two, alone = (
        _sized_by(need, overrides)
        for overrides in (
            Overrides(),
            Overrides(division=Division(2)),
            Overrides(division=Division(2), encoder_gpu="own"),
        )
    )
    # a rank has half of each token's keys and values, and holds half of the weights
    freed = need.text_bytes / need.kv_bytes_per_token
    assert two.kv_tokens == pytest.approx(2 * one.kv_tokens + freed, rel=0.02)
    assert alone.kv_tokens >= two.kv_tokens
    assert one.ceiling and two.ceiling and alone.ceiling
    assert two.ceiling.encode == one.ceiling.encode == alone.ceiling.encode
    assert two.ceiling.prefill == pytest.approx(one.ceiling.prefill / 2)
    assert two.ceiling.decode == pytest.approx(one.ceiling.decode / 2)
    assert two.ceiling.requests_per_second == pytest.approx(
        1 / max(two.ceiling.arithmetic, two.ceiling.traffic)
    )
    spent = max(alone.ceiling.encode, alone.ceiling.prefill + alone.ceiling.decode, alone.ceiling.traffic)
    assert alone.ceiling.requests_per_second == pytest.approx(1 / spent)


def _sized_by(need: Need, overrides: Overrides) -> Sizing:
    on = machine()
    assert on.gpu is not None
    on = replace(on, more_gpus=(on.gpu, on.gpu))
    plan = make_plan(on, need, overrides)
    arena = ArenaSpec.for_budget(plan.arena_bytes, need.soft_width, need.dtype, need.max_tokens)
    return size(on, need, plan, GEOMETRY, arena, WORK, max_inflight=256, peaks=PEAKS)


def test_the_operators_own_bound_on_sequences_is_kept() -> None:
    on = machine()
    plan = make_plan(on, NEED, Overrides())
    found = size(on, NEED, plan, GEOMETRY, None, WORK, max_inflight=300, max_sequences=9)
    assert (found.limits[0].name, found.at_once) == ("sequences of the engine", 9)


@given(less=st.floats(19, 140), more=st.floats(0, 140), side=st.integers(16, 4000))
def test_more_memory_never_holds_less(less: float, more: float, side: int) -> None:
    work = Workload((Kind(side, 1000),))
    small, large = sized(machine(less), work), sized(machine(less + more), work)
    # the share is rounded to a thousandth of the GPU
    assert large.kv_tokens >= small.kv_tokens - 0.001 * (less + more) * GIB / NEED.kv_bytes_per_token
    assert large.costs == small.costs


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_low_never_takes_more_than_high(width: int, height: int) -> None:
    low, high = (sized(work=Workload((Kind(width, height, d),))).mean for d in (Detail.LOW, Detail.HIGH))
    assert low.rows <= high.rows and low.patches <= high.patches
