import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import LargeSteps
from service.errors import ConfigurationError
from service.planning.machine import Machine
from service.planning.parallel import Division
from service.planning.plan import make_plan
from service.planning.resources import GIB, MIB, Need, Overrides
from service.planning.visible_gpu import GPU

DEMO = Need(
    vision_bytes=6 * MIB,
    text_bytes=8 * MIB,
    vision_hidden=128,
    soft_width=192,
    max_tokens=160,
    max_positions=162,
    max_patches=640,
    tile_patches=64,
    tile_pixel_bytes=3 * 112 * 112,
    tile_rows=16,
    kv_bytes_per_token=6144,
    context=4096,
    dtype="float32",
)
LLAVA_7B = Need(
    vision_bytes=650 * MIB,
    text_bytes=14 * GIB,
    vision_hidden=1024,
    soft_width=4096,
    max_tokens=576,
    max_positions=576,
    max_patches=577,
    tile_patches=577,
    tile_pixel_bytes=3 * 336 * 336,
    tile_rows=576,
    kv_bytes_per_token=524_288,
    context=4096,
    dtype="bfloat16",
)
LAPTOP = Machine(cores=(0, 1), memory_bytes=24 * GIB, shared_memory_bytes=12 * GIB, gpu=None)
H200 = Machine(tuple(range(16)), 128 * GIB, 64 * GIB, GPU("NVIDIA H200", 140 * GIB, 139 * GIB))
T4 = Machine(tuple(range(8)), 32 * GIB, 16 * GIB, GPU("Tesla T4", 15 * GIB, 15 * GIB))
BROKEN = dataclasses.replace(LAPTOP, gpu_fault="its memory cannot be read")


LLAVA_70B = dataclasses.replace(
    LLAVA_7B,
    text_bytes=140 * GIB,
    soft_width=8192,
    kv_bytes_per_token=2 * 80 * 8 * 128 * 2,
    layers=80,
    kv_heads=8,
    table_bytes=GIB,
)


def several(count: int, *, free: int = 139) -> Machine:
    """So many H200; of all but the first, `free` GiB are free."""
    return dataclasses.replace(H200, more_gpus=(GPU("NVIDIA H200", 140 * GIB, free * GIB),) * (count - 1))


def held(gibibytes: int) -> Machine:
    """The same card, of which other processes hold so much."""
    return dataclasses.replace(H200, gpu=GPU("NVIDIA H200", 140 * GIB, (140 - gibibytes) * GIB))


def unified(free: int) -> Machine:
    """GPU and processes share 120 GiB, of which so many are free."""
    gpu = GPU("NVIDIA GB10", 120 * GIB, free * GIB, unified=True)
    return Machine(tuple(range(20)), 120 * GIB, 60 * GIB, gpu)


def test_two_cores_serve_the_embedded_model() -> None:
    plan = make_plan(LAPTOP, DEMO, Overrides())
    assert (plan.device, plan.encoder_threads, plan.decode_workers) == ("cpu", 1, 2)
    assert plan.engine_threads == 1
    assert plan.gpu_memory_utilization is None
    assert plan.encoder_batch_patches >= DEMO.max_patches


def test_a_tower_of_some_size_gets_every_core() -> None:
    wide = dataclasses.replace(DEMO, vision_hidden=384)
    native = dataclasses.replace(DEMO, tile_patches=4, independent_tiles=False, max_patches=4096)
    for need in (wide, native):
        assert make_plan(LAPTOP, need, Overrides()).encoder_threads == 2
        assert make_plan(LAPTOP, need, Overrides(encoder_threads=1)).encoder_threads == 1
    assert make_plan(LAPTOP, DEMO, Overrides(encoder_threads=2)).encoder_threads == 2


def test_a_language_model_of_some_size_gets_every_core() -> None:
    plan = make_plan(LAPTOP, dataclasses.replace(DEMO, text_bytes=GIB), Overrides())
    assert (plan.engine_threads, plan.large_steps) == (2, None)


def test_a_small_language_model_gets_every_core_in_large_steps() -> None:
    small = dataclasses.replace(DEMO, hidden=512)
    plan = make_plan(LAPTOP, small, Overrides())
    assert (plan.engine_threads, plan.large_steps) == (1, LargeSteps(tokens=64, threads=2))
    assert "1 compute thread(s), 2 in steps of 64 tokens or more" in "\n".join(plan.lines)
    alone = dataclasses.replace(LAPTOP, cores=(0,))
    divided = Overrides(division=Division(tensor_parallel_size=2))
    assert make_plan(alone, small, Overrides()).large_steps is None
    assert make_plan(LAPTOP, small, divided).large_steps is None, "a core for each rank"
    assert make_plan(H200, small, Overrides()).large_steps is None
    assert make_plan(LAPTOP, DEMO, Overrides()).large_steps is None, "config.json does not say how wide it is"


@pytest.mark.parametrize(
    ("machine", "asked", "stages", "compiled"),
    [
        (LAPTOP, "auto", 1, False),
        (LAPTOP, "on", 1, True),
        (LAPTOP, "off", 1, False),
        (LAPTOP, "auto", 2, True),
        (H200, "auto", 1, True),
        (H200, "off", 1, False),
    ],
)
def test_whether_the_engine_is_compiled(machine: Machine, asked: Any, stages: int, compiled: bool) -> None:
    need = dataclasses.replace(DEMO, layers=4, kv_heads=6)
    plan = make_plan(machine, need, Overrides(engine_compile=asked, division=Division(1, stages)))
    assert plan.engine_compiled is compiled
    told = [line for line in plan.lines if line.startswith("engine ")]
    assert ("compiled" in told[0]) is (compiled is (machine is LAPTOP)), "said where it is not what is usual"


def test_stages_on_a_cpu_need_vllms_warm_up_which_only_a_compiled_engine_has() -> None:
    asked = Overrides(engine_compile="off", division=Division(1, 2))
    with pytest.raises(ConfigurationError, match="engine_compile: got off, but pipeline_parallel_size is 2"):
        make_plan(LAPTOP, dataclasses.replace(DEMO, layers=4, kv_heads=6), asked)


def test_one_gpu_is_divided_between_encoder_and_engine() -> None:
    plan = make_plan(H200, LLAVA_7B, Overrides())
    assert plan.device == "cuda"
    assert plan.gpu_memory_utilization is not None
    assert plan.encoder_gpu_bytes > LLAVA_7B.vision_bytes
    # a CUDA context each, weights, and a batch's activations; all the rest is the engine's, up to 95 %
    assert plan.encoder_gpu_bytes > (700 + 650) * MIB
    left = 139 * GIB - plan.encoder_gpu_bytes - 700 * MIB
    assert plan.gpu_memory_utilization == pytest.approx(min(0.95, left / (140 * GIB)), abs=0.001)
    small = make_plan(dataclasses.replace(H200, gpu=GPU("a GPU", 24 * GIB, 24 * GIB)), LLAVA_7B, Overrides())
    left = 24 * GIB - small.encoder_gpu_bytes - 700 * MIB
    assert small.gpu_memory_utilization == pytest.approx(left / (24 * GIB), abs=0.001)


def test_what_other_processes_hold_of_a_gpu_is_not_given_out() -> None:
    plan = make_plan(held(60), LLAVA_7B, Overrides())
    left = 80 * GIB - plan.encoder_gpu_bytes - 700 * MIB
    assert plan.gpu_memory_utilization == pytest.approx(left / (140 * GIB), abs=0.001)
    assert "140.0 GiB, of which other processes hold 60.0 GiB" in "\n".join(plan.lines)
    # what a driver keeps for itself is not worth a word
    assert "other processes" not in "\n".join(make_plan(H200, LLAVA_7B, Overrides()).lines)


def test_an_engine_that_somebody_else_starts_may_hold_the_card_already() -> None:
    asked = Overrides(engine_elsewhere=True)
    assert (
        make_plan(held(120), LLAVA_7B, asked).gpu_memory_utilization
        == make_plan(held(0), LLAVA_7B, asked).gpu_memory_utilization
    )


def test_on_unified_memory_the_arena_and_the_processes_take_their_part_of_it() -> None:
    plan = make_plan(unified(100), LLAVA_7B, Overrides())
    left = 100 * GIB - plan.arena_bytes - plan.pinned_bytes - 2 * GIB - plan.encoder_gpu_bytes - 700 * MIB
    assert plan.gpu_memory_utilization == pytest.approx(left / (120 * GIB), abs=0.001)
    assert "120.0 GiB, the machine's own, of which 100.0 GiB are free" in "\n".join(plan.lines)


def test_a_gpu_that_no_plan_can_be_made_with_is_in_nobodys_way_on_a_cpu() -> None:
    assert make_plan(BROKEN, DEMO, Overrides(device="cpu")).device == "cpu"
    gateway = Overrides(images="passthrough", engine_elsewhere=True)
    assert make_plan(BROKEN, DEMO, gateway).device == "cpu"


def test_on_a_cpu_the_engine_gets_a_sixteenth_of_the_memory_for_its_cache() -> None:
    plan = make_plan(LAPTOP, DEMO, Overrides())
    assert plan.kv_cache_bytes == min(64 * 4096 * DEMO.kv_bytes_per_token, 24 * GIB // 16)
    assert make_plan(H200, LLAVA_7B, Overrides()).kv_cache_bytes is None


def test_a_state_of_each_sequence_is_room_beside_its_keys() -> None:
    """Two of them: vLLM with prefix caching holds the one at the end of the last block as well."""
    small = dataclasses.replace(LAPTOP, memory_bytes=8 * GIB)
    recurrent = dataclasses.replace(DEMO, kv_bytes_per_token=64 * 1024, state_bytes=100 * MIB)
    plan = make_plan(small, recurrent, Overrides())
    assert plan.kv_cache_bytes == 2 * (4096 * 64 * 1024 + 2 * 100 * MIB)


def test_a_tower_that_the_engine_loads_as_well_takes_memory_twice() -> None:
    twice = dataclasses.replace(DEMO, tower_loaded_twice=True, vision_bytes=GIB)
    once = dataclasses.replace(twice, tower_loaded_twice=False)
    assert (once.engine_bytes, twice.engine_bytes) == (once.text_bytes, once.text_bytes + GIB)
    tight = dataclasses.replace(LAPTOP, memory_bytes=11 * GIB // 2)
    assert make_plan(tight, once, Overrides())
    with pytest.raises(ConfigurationError, match="serving this checkpoint takes about"):
        make_plan(tight, twice, Overrides())
    gpu = dataclasses.replace(H200, gpu=GPU("a GPU", 4 * GIB, 4 * GIB))
    assert make_plan(gpu, once, Overrides())
    with pytest.raises(ConfigurationError, match="but it needs"):
        make_plan(gpu, twice, Overrides())


def test_a_model_larger_than_a_gpu_is_divided_among_several() -> None:
    with pytest.raises(ConfigurationError, match="raise tensor_parallel_size"):
        make_plan(several(4), LLAVA_70B, Overrides())
    plan = make_plan(several(4), LLAVA_70B, Overrides(division=Division(4)))
    assert plan.gpus == plan.division.ranks == 4
    # the encoder is on the first, and vLLM takes the same fraction of each
    left = 139 * GIB - plan.encoder_gpu_bytes - 700 * MIB
    assert plan.gpu_memory_utilization == pytest.approx(min(0.95, left / (140 * GIB)), abs=0.001)
    told = "\n".join(plan.lines)
    assert "4 of them, the encoder on the first" in told and "each holds 35.0 GiB of weights" in told
    stages = make_plan(several(4), LLAVA_70B, Overrides(division=Division(2, 2)))
    assert stages.gpu_memory_utilization == plan.gpu_memory_utilization


def test_a_rank_holds_its_part_of_weights_and_cache() -> None:
    quarter = LLAVA_70B.of_rank(Division(4))
    assert (quarter.text_bytes, quarter.kv_bytes_per_token) == (35 * GIB, LLAVA_70B.kv_bytes_per_token // 4)
    sixteenth = LLAVA_70B.of_rank(Division(16))
    assert sixteenth.kv_bytes_per_token == LLAVA_70B.kv_bytes_per_token // 8  # 8 heads, each on two ranks
    stage = LLAVA_70B.of_rank(Division(1, 3))
    assert stage.text_bytes == pytest.approx(138 * GIB * 27 / 80 + GIB, abs=1)
    assert LLAVA_70B.of_rank(Division()) is LLAVA_70B
    recurrent = dataclasses.replace(LLAVA_70B, state_bytes=800)
    assert recurrent.of_rank(Division(4)).state_bytes == 200


def test_the_fullest_gpu_decides_for_all() -> None:
    plan = make_plan(several(2, free=80), LLAVA_7B, Overrides(division=Division(2)))
    assert plan.gpu_memory_utilization == pytest.approx((80 * GIB - 700 * MIB) / (140 * GIB), abs=0.001)
    with pytest.raises(ConfigurationError, match="is more than is free"):
        asked = Overrides(division=Division(2), gpu_memory_utilization=0.7)
        make_plan(several(2, free=80), LLAVA_7B, asked)


def test_an_encoder_on_a_gpu_of_its_own_leaves_the_others_to_the_engine() -> None:
    small = GPU("NVIDIA L4", 22 * GIB, 22 * GIB)
    machine = dataclasses.replace(several(3), gpu=small)
    plan = make_plan(machine, LLAVA_70B, Overrides(encoder_gpu="own", division=Division(2)))
    assert (plan.gpus, plan.gpu_memory_utilization) == (3, 0.95)
    assert 0 < plan.encoder_gpu_bytes < 22 * GIB
    assert "2 GPU(s) other than the encoder's" in "\n".join(plan.lines)
    with pytest.raises(
        ConfigurationError, match=r"2 GPU\(s\) and the encoder one of its own, 3 in all, .* sees 2"
    ):
        make_plan(several(2), LLAVA_70B, Overrides(encoder_gpu="own", division=Division(2)))


def test_in_two_containers_each_plans_its_own_gpus() -> None:
    """A server that sees one small GPU, and the engine's container with two large ones."""
    apart = Overrides(encoder_gpu="own", division=Division(2))
    small = dataclasses.replace(H200, gpu=GPU("NVIDIA L4", 22 * GIB, 22 * GIB))
    server = make_plan(small, LLAVA_70B, dataclasses.replace(apart, engine_elsewhere=True))
    assert server.gpus == 1 and server.encoder_gpu_bytes > 0
    engine = make_plan(several(2), LLAVA_70B, dataclasses.replace(apart, encoder_elsewhere=True))
    assert (engine.gpus, engine.encoder_gpu_bytes, engine.gpu_memory_utilization) == (2, 0, 0.95)
    with pytest.raises(ConfigurationError, match="that leaves the engine .* on each of its GPUs"):
        tight = dataclasses.replace(small, more_gpus=(small.gpu,) if small.gpu else ())
        make_plan(tight, LLAVA_70B, dataclasses.replace(apart, encoder_elsewhere=True))


def test_ranks_on_a_cpu_share_cores_cache_and_shared_memory() -> None:
    large = dataclasses.replace(DEMO, text_bytes=GIB, kv_heads=6, layers=4)
    one, two = (make_plan(LAPTOP, large, Overrides(division=Division(ranks))) for ranks in (1, 2))
    assert (one.engine_threads, two.engine_threads) == (2, 1)
    assert one.kv_cache_bytes is not None and two.kv_cache_bytes == one.kv_cache_bytes // 2
    container = dataclasses.replace(LAPTOP, shared_memory_bytes=GIB + 64 * MIB)
    assert make_plan(container, large, Overrides(division=Division(2))).arena_bytes == 32 * MIB
    with pytest.raises(ConfigurationError, match="besides the 1.0 GiB of the engine's 2 ranks"):
        full = dataclasses.replace(LAPTOP, shared_memory_bytes=GIB)
        make_plan(full, large, Overrides(division=Division(2)))


def test_passthrough_leaves_the_gpu_to_the_engine() -> None:
    assert make_plan(H200, LLAVA_7B, Overrides(images="passthrough")).encoder_gpu_bytes == 0


def test_the_start_warms_up_with_the_largest_batch_but_on_a_cpu() -> None:
    large = dataclasses.replace(DEMO, max_patches=65_536)
    assert make_plan(LAPTOP, large, Overrides()).encoder_batch_patches == 65_536
    assert make_plan(LAPTOP, large, Overrides()).warm_up_patches == 2048
    assert make_plan(H200, large, Overrides()).warm_up_patches == 65_536


def test_a_batch_that_memory_does_not_hold_is_refused() -> None:
    # 65,536 patches × 1280 × 20 values of 4 bytes: 6.25 GiB
    large = dataclasses.replace(DEMO, max_patches=65_536, vision_hidden=1280)
    assert make_plan(dataclasses.replace(LAPTOP, memory_bytes=10 * GIB), large, Overrides())
    with pytest.raises(ConfigurationError, match="lower arena_bytes, .* or max_image_tokens"):
        make_plan(dataclasses.replace(LAPTOP, memory_bytes=7 * GIB), large, Overrides())
    assert make_plan(dataclasses.replace(LAPTOP, memory_bytes=7 * GIB), DEMO, Overrides())


def test_a_containers_shared_memory_is_enough_and_not_filled() -> None:
    container = dataclasses.replace(LAPTOP, shared_memory_bytes=64 * MIB)
    assert make_plan(container, DEMO, Overrides()).arena_bytes == 32 * MIB


def test_a_gateway_alone_needs_room_for_no_model() -> None:
    small = Machine(cores=(0,), memory_bytes=GIB // 2, shared_memory_bytes=0, gpu=None)
    plan = make_plan(small, LLAVA_7B, Overrides(images="passthrough", engine_elsewhere=True))
    assert plan.max_model_len == 4096
    assert [line.split()[0] for line in plan.lines] == ["gateway", "context"]


@pytest.mark.parametrize("overrides", [Overrides(engine_elsewhere=True), Overrides(images="passthrough")])
def test_one_that_is_not_alone_does(overrides: Overrides) -> None:
    small = Machine(cores=(0,), memory_bytes=GIB // 2, shared_memory_bytes=GIB, gpu=None)
    with pytest.raises(ConfigurationError, match="of memory"):
        make_plan(small, LLAVA_7B, overrides)


@pytest.mark.parametrize(
    ("machine", "need", "overrides", "words"),
    [
        (LAPTOP, DEMO, Overrides(device="cuda"), ["device=cuda", "no NVIDIA GPU"]),
        (LAPTOP, DEMO, Overrides(encoder_batch_patches=639), ["encoder_batch_patches (639)", "640"]),
        (LAPTOP, DEMO, Overrides(max_model_len=162), ["max_model_len (162)", "162 tokens"]),
        (LAPTOP, DEMO, Overrides(max_model_len=5000), ["max_model_len (5000)", "4096"]),
        (LAPTOP, DEMO, Overrides(arena_bytes=MIB // 2), ["arena_bytes"]),
        (LAPTOP, DEMO, Overrides(arena_bytes=13 * GIB), ["shared memory", "arena_dir"]),
        (T4, LLAVA_7B, Overrides(), ["Tesla T4", "larger GPU"]),
        (H200, LLAVA_7B, Overrides(gpu_memory_utilization=0.99), ["gpu_memory_utilization (0.99)"]),
        (held(138), LLAVA_7B, Overrides(), ["other processes hold 138.0 GiB", "the encoder alone"]),
        (held(124), LLAVA_7B, Overrides(), ["other processes hold 124.0 GiB", "leaves the engine"]),
        (
            held(60),
            LLAVA_7B,
            Overrides(gpu_memory_utilization=0.9),
            ["gpu_memory_utilization (0.9)", "other processes hold 60.0 GiB"],
        ),
        (held(138), LLAVA_7B, Overrides(engine_elsewhere=True), ["the encoder alone"]),
        (H200, LLAVA_7B, Overrides(division=Division(2)), ["needs 2 GPU(s)", "sees 1", "nvidia.com/gpu"]),
        (LAPTOP, DEMO, Overrides(division=Division(2, 2)), ["4 ranks", "2 CPU cores"]),
        (LAPTOP, DEMO, Overrides(encoder_gpu="own"), ["encoder_gpu=own", "on a CPU"]),
        (
            several(2),
            LLAVA_7B,
            Overrides(encoder_gpu="own", images="passthrough"),
            ["encoder_gpu=own", "passthrough"],
        ),
        (BROKEN, LLAVA_7B, Overrides(), ["its memory cannot be read", "device=cpu"]),
        (BROKEN, LLAVA_7B, Overrides(device="cuda"), ["its memory cannot be read"]),
        (unified(16), LLAVA_7B, Overrides(), ["the machine's own", "16.0 GiB are free", "engine"]),
        (LAPTOP, dataclasses.replace(DEMO, text_bytes=40 * GIB), Overrides(), ["of memory", "arena_bytes"]),
    ],
)
def test_a_plan_that_cannot_work_names_the_knob(
    machine: Machine, need: Need, overrides: Overrides, words: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make_plan(machine, need, overrides)
    assert all(word in refused.value.message for word in words)


@given(
    cores=st.integers(1, 64),
    memory=st.integers(4, 512),
    gpu=st.none() | st.integers(16, 192),
    free=st.integers(0, 100),
    is_unified=st.booleans(),
    need=st.sampled_from([DEMO, LLAVA_7B]),
)
def test_a_plan_never_gives_out_more_than_there_is(
    cores: int, memory: int, gpu: int | None, free: int, is_unified: bool, need: Need
) -> None:
    card = None if gpu is None else GPU("card", gpu * GIB, gpu * GIB * free // 100, is_unified)
    machine = Machine(tuple(range(cores)), memory * GIB, memory * GIB // 2, card)
    try:
        plan = make_plan(machine, need, Overrides())
    except ConfigurationError:
        return
    assert 1 <= plan.encoder_threads <= cores
    assert 2 <= plan.decode_workers <= max(2, cores)
    assert plan.arena_bytes <= machine.shared_memory_bytes
    assert plan.arena_bytes + plan.pinned_bytes + (plan.kv_cache_bytes or 0) <= machine.memory_bytes
    if card:
        taken = (plan.gpu_memory_utilization or 0) * card.memory_bytes + plan.encoder_gpu_bytes
        assert taken + (plan.arena_bytes + plan.pinned_bytes if is_unified else 0) <= card.free_bytes


def test_the_plan_is_told_in_words() -> None:
    text = "\n".join(make_plan(H200, LLAVA_7B, Overrides()).lines)
    assert all(word in text for word in ("NVIDIA H200", "encoder", "decoding", "arena", "engine", "context"))


def test_graphs_and_staging_are_part_of_what_the_encoder_takes() -> None:
    plans = {
        bytes_: make_plan(H200, LLAVA_7B, Overrides(encoder_graph_bytes=bytes_))
        for bytes_ in (None, 0, 3 * GIB)
    }
    assert {bytes_: plan.encoder_graph_bytes for bytes_, plan in plans.items()} == {
        None: 16 * plans[0].tile_bytes + 128 * MIB,  # a batch of 64 in four chunks
        0: 0,
        3 * GIB: 3 * GIB,
    }
    assert plans[3 * GIB].encoder_gpu_bytes - plans[0].encoder_gpu_bytes == 3 * GIB
    plain = make_plan(H200, LLAVA_7B, Overrides(encoder_copies="plain"))
    ring = 4 * 16 * (3 * 336 * 336 + 576 * 4096 * 2)
    assert plans[0].encoder_gpu_bytes - plain.encoder_gpu_bytes == ring
    assert plain.encoder_graph_bytes == 0
    # tiles that see each other cannot go in chunks
    whole = make_plan(
        H200, dataclasses.replace(LLAVA_7B, independent_tiles=False), Overrides(encoder_graph_bytes=GIB)
    )
    assert (whole.encoder_gpu_bytes, whole.encoder_graph_bytes) == (plain.encoder_gpu_bytes, 0)
    assert "at most 3.0 GiB of it for CUDA graphs" in "\n".join(plans[3 * GIB].lines)


@pytest.mark.parametrize(
    "overrides",
    [
        Overrides(encoder_copies="staged"),
        Overrides(encoder_graph_bytes=1),
        Overrides(encoder_attention="flash"),
    ],
)
def test_what_is_for_a_gpu_is_refused_without_one(overrides: Overrides) -> None:
    with pytest.raises(ConfigurationError, match="is for a GPU, but the encoder runs on a CPU"):
        make_plan(LAPTOP, DEMO, overrides)
    make_plan(H200, DEMO, overrides)
