"""The packed blocks against the reference in fp64, and the reference against transformers, for images of any sizes."""

from __future__ import annotations

from inspect import signature
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from kernels.backend import BackendUnavailable, product_dtype
from kernels.blocks import UnsupportedLayer
from kernels.blocks.reference import Affine
from kernels.eight_bit import Precision
from kernels.eight_bit.choice import obstacle_to_int8
from kernels.measure import relative_error
from kernels.varlen import (
    Grid,
    VarlenBlocks,
    Way,
    bounds,
    choose_body,
    choose_way,
    pack,
    read_layer,
    reference,
)
from kernels.varlen.bounds import bounds_of, obstacle_to_one_call
from kernels.varlen.sequence import Segments
from tests.kernels.varlen.cases import (
    GRIDS,
    WINDOW,
    hidden_states,
    through_transformers,
    tower,
    whole_image_tower,
)

WHOLE = (1,)
NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16
NO_INT8 = obstacle_to_int8(torch.device("cpu"), torch.float32)
EACH = pytest.mark.parametrize("grids", GRIDS.values(), ids=GRIDS.keys())
WAYS = {
    "per thread": None,
    "together": Way(),
    "kernels": Way("reference"),
    "one call": Way(one_call=True),
    "kernels, one call": Way("cpu", one_call=True),
}
EACH_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@pytest.fixture(autouse=True)
def one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.varlen.bounds.varlen_attn", lambda: dense_varlen_attn)


def dense_varlen_attn(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ends: torch.Tensor,
    key_ends: torch.Tensor,
    longest: int,
    longest_key: int,
) -> torch.Tensor:
    """What PyTorch's computes on a GPU, one segment after another; [tokens, heads, width] each."""
    assert (ends.dtype, ends[0], ends[-1]) == (torch.int32, 0, len(query))
    assert longest == longest_key == int(ends.diff().max())
    made = torch.empty_like(value)
    for begin, end in pairwise(ends.tolist()):
        parts = (one[begin:end].transpose(0, 1) for one in (query, key, value))
        made[begin:end] = F.scaled_dot_product_attention(*parts).transpose(0, 1)
    return made


def ours(
    grids: list[Grid],
    dtype: torch.dtype,
    *,
    way: Way | None = None,
    threads: int | None = None,
    precision: Precision = "full",
) -> torch.Tensor:
    """In the order in which cells were given."""
    layers = [read_layer(layer) for layer in tower().blocks]
    blocks = VarlenBlocks(layers, WHOLE, dtype, "cpu", way=way, precision=precision)
    sequence = pack(grids, window=WINDOW)
    cells = torch.unflatten(hidden_states(grids).to(dtype), 0, (-1, 4))[sequence.order]
    kept = torch.get_num_threads()
    torch.set_num_threads(threads or kept)
    try:
        made = blocks(cells.flatten(0, 1), sequence)
    finally:
        torch.set_num_threads(kept)
    return made.view(cells.shape)[sequence.order.argsort()].flatten(0, 1)


@EACH_WAY
def test_stages_hand_over_what_there_is_after_a_layer_and_at_the_end(way: Way | None) -> None:
    grids = GRIDS["mixed"]
    layers = [read_layer(layer) for layer in tower().blocks]
    sequence = pack(grids, window=WINDOW)

    def after(count: int) -> torch.Tensor:
        return VarlenBlocks(layers[:count], WHOLE, torch.float32, "cpu")(hidden_states(grids), sequence)

    blocks = VarlenBlocks(layers, WHOLE, torch.float32, "cpu", stops=(0, 3), way=way)
    made = [stage.clone() for stage in blocks.stages(hidden_states(grids), sequence)]
    # one after the first layer, one after the last, and the end, which is the same
    errors = [relative_error(one, after(count)) for one, count in zip(made, (1, 4, 4), strict=True)]
    assert max(errors) < 1e-6
    assert relative_error(made[0], made[1]) > 0.1


def exact(grids: list[Grid]) -> torch.Tensor:
    return through_transformers(tower(), hidden_states(grids).double(), grids)


def seen(groups: tuple[Segments, ...], tokens: int) -> torch.Tensor:
    """bool [tokens, tokens]"""
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for group in groups:
        for piece in group.where.view(group.count, group.length):
            mask[piece[:, None], piece] = True
    return mask


@EACH
@pytest.mark.parametrize(
    ("precision", "least", "most"),
    [
        pytest.param("int8", 1e-3, 0.03, marks=pytest.mark.skipif(NO_INT8 is not None, reason=str(NO_INT8))),
        ("fp8", 1e-2, 0.1),
    ],
)
def test_in_8_bits_they_are_near(grids: list[Grid], precision: Precision, least: float, most: float) -> None:
    made = ours(grids, torch.float32, precision=precision)
    assert least < relative_error(made, exact(grids)) < most


@EACH
def test_the_reference_is_transformers(grids: list[Grid]) -> None:
    sequence = pack(grids, window=WINDOW)
    hidden = torch.unflatten(hidden_states(grids).double(), 0, (-1, 4))[sequence.order].flatten(0, 1)
    turn = reference.angles(sequence.positions, 16)
    for number, layer in enumerate(tower().blocks):
        groups = sequence.images if number in WHOLE else sequence.windows
        hidden = reference.block(hidden, read_layer(layer), seen(groups, len(hidden)), turn)
    made = hidden.view(-1, 4, 48)[sequence.order.argsort()].flatten(0, 1)
    # transformers keeps the angles in fp32
    assert relative_error(made, exact(grids)) < 1e-6


@EACH
@EACH_WAY
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_fp32_is_the_reference(grids: list[Grid], way: Way | None, threads: int) -> None:
    assert relative_error(ours(grids, torch.float32, way=way, threads=threads), exact(grids)) < 2e-6


@EACH
@EACH_WAY
@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bf16_is_as_near_as_the_bf16_chain(grids: list[Grid], way: Way | None) -> None:
    hidden = hidden_states(grids).bfloat16()
    theirs = relative_error(through_transformers(tower(torch.bfloat16), hidden, grids), exact(grids))
    assert relative_error(ours(grids, torch.bfloat16, way=way), exact(grids)) < 1.1 * theirs


@EACH_WAY
def test_an_image_is_the_same_in_any_company(way: Way | None) -> None:
    grids = GRIDS["mixed"]
    together = ours(grids, torch.float32, way=way)
    blocks = VarlenBlocks([read_layer(layer) for layer in tower().blocks], WHOLE, torch.float32, "cpu")
    begin = 0
    for grid in grids:
        end = begin + 4 * grid.rows * grid.columns
        sequence = pack([grid], window=WINDOW)
        alone = torch.unflatten(hidden_states(grids)[begin:end], 0, (-1, 4))[sequence.order].flatten(0, 1)
        alone = blocks(alone, sequence).view(-1, 4, 48)[sequence.order.argsort()].flatten(0, 1)
        assert torch.allclose(together[begin:end], alone, atol=1e-5)
        begin = end


def test_the_result_lies_where_the_input_lay_and_weights_are_copies() -> None:
    layers = [read_layer(layer) for layer in tower(torch.float32).blocks]
    blocks = VarlenBlocks(layers, WHOLE, torch.float32, "cpu")
    sequence = pack(GRIDS["edges"], window=WINDOW)
    first, second = hidden_states(GRIDS["edges"]), hidden_states(GRIDS["edges"])
    made = blocks(first, sequence)
    assert made.data_ptr() == first.data_ptr()
    for block in layers:
        block.out.weight.fill_(torch.nan)
        block.norm_before.weight.fill_(torch.nan)
    assert torch.equal(blocks(second, sequence), made)


def test_weights_that_are_not_packed_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = ours(GRIDS["mixed"], torch.float32)
    monkeypatch.setattr("kernels.varlen.fold.obstacle_to_packing", lambda *_: "no oneDNN")
    assert torch.allclose(ours(GRIDS["mixed"], torch.float32), packed, atol=1e-5)


def test_long_pieces_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    by_products = ours(GRIDS["mixed"], torch.float32)
    monkeypatch.setattr("kernels.blocks.cpu.SCORES_BYTES", 0)
    assert torch.allclose(ours(GRIDS["mixed"], torch.float32), by_products, atol=1e-5)


def test_other_layers_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedLayer, match="Linear is none of Qwen2VLVisionBlock, Qwen2_5_VLVisionBlock"):
        read_layer(torch.nn.Linear(2, 2))
    layer = tower().blocks[0]
    layer.mlp.act_fn = torch.nn.ReLU()
    with pytest.raises(UnsupportedLayer, match="its activation is ReLU"):
        read_layer(layer)
    del layer.attn.proj
    layer.mlp.act_fn = torch.nn.SiLU()
    with pytest.raises(UnsupportedLayer, match="laid out otherwise"):
        read_layer(layer)


def test_heads_of_an_odd_width_are_refused() -> None:
    block = read_layer(tower().blocks[0])
    small = Affine(torch.zeros(18, 48), None)
    odd = reference.VarlenBlock(
        **{name: getattr(block, name) for name in ("norm_before", "out", "norm_after", "gate", "up", "down")},
        **dict.fromkeys(("query", "key", "value"), small),
        heads=3,
        eps=(1e-6, 1e-6),
        norm="rms",
        activation="silu",
    )
    with pytest.raises(ValueError, match="a multiple of four"):
        VarlenBlocks([odd], (), torch.float32, "cpu")


def test_segments_of_one_call_lie_one_after_the_other() -> None:
    sequence = pack(GRIDS["mixed"], window=WINDOW)
    windows, images = (
        bounds_of(groups, torch.device("cpu")) for groups in (sequence.windows, sequence.images)
    )
    assert windows.index is None
    assert windows.ends.diff().tolist() == [
        group.length for group in sequence.windows for _ in range(group.count)
    ]
    assert images.index is not None  # windows of other images stand between an image's own
    assert images.index.sort().values.tolist() == list(range(sequence.tokens))
    assert images.longest == 4 * 64
    assert bounds_of(pack([Grid(3, 4)] * 2).images, torch.device("cpu")).index is None


def test_pytorchs_takes_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    arguments = "query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"
    needed = {
        name
        for name, parameter in signature(bounds.varlen_attn()).parameters.items()
        if parameter.default is parameter.empty
    }
    assert needed == set(arguments)
    assert tuple(signature(bounds.varlen_attn()).parameters)[:7] == arguments


def test_one_call_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert obstacle_to_one_call(gpu, torch.bfloat16) is None
    assert obstacle_to_one_call(torch.device("cpu"), torch.bfloat16) == (
        "it runs on CUDA devices and the tower is on cpu"
    )
    assert obstacle_to_one_call(gpu, torch.float32) == "it takes bfloat16 and float16, not float32"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "has no torch.nn.attention.varlen, which came with 2.11" in str(
        obstacle_to_one_call(gpu, torch.bfloat16)
    )


def test_heads_that_flash_attention_does_not_take_are_refused() -> None:
    block = read_layer(whole_image_tower("qwen3_vl", num_heads=4).blocks[0])
    VarlenBlocks([block], (0,), torch.float32, "cpu", way=Way())
    with pytest.raises(
        BackendUnavailable, match="heads of a multiple of 8 up to 256 numbers, and these have 12"
    ):
        VarlenBlocks([block], (0,), torch.float32, "cpu", way=Way(one_call=True))


def test_bodies() -> None:
    assert [choose_body(), choose_body("fused"), choose_body("transformers")] == [
        "fused",
        "fused",
        "transformers",
    ]
    assert choose_body(obstacle="it is another") == "transformers"
    with pytest.raises(BackendUnavailable, match="it is another"):
        choose_body("fused", obstacle="it is another")
    with pytest.raises(BackendUnavailable, match="'compiled' is for towers"):
        choose_body("compiled")
    with pytest.raises(ValueError, match="allowed are 'auto'"):
        choose_body("best")


def test_triton_is_for_those_who_ask_and_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_body("triton", device="cuda") == "triton"
    assert choose_body(device="cuda") == "fused"
    with pytest.raises(
        BackendUnavailable, match="'triton' cannot run: it is another; choose body 'transformers'"
    ):
        choose_body("triton", device="cuda", obstacle="it is another")
    monkeypatch.setattr("kernels.backend._interpreted", lambda: False)
    with pytest.raises(BackendUnavailable, match="'triton' got a tensor on cpu"):
        choose_body("triton")


def test_ways() -> None:
    assert choose_way("fused", False) is None
    assert choose_way("fused", True) == Way(None, one_call=True)
    assert choose_way("triton", False) == Way("triton")
    assert choose_way("triton", True) == Way("triton", one_call=True)
