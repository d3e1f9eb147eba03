"""The packed blocks against the reference in fp64, and the reference against transformers, for images of any sizes."""

from __future__ import annotations

import pytest
import torch

from kernels.backend import BackendUnavailable, product_dtype
from kernels.blocks import UnsupportedLayer
from kernels.blocks.reference import Affine
from kernels.eight_bit import Precision
from kernels.eight_bit.choice import obstacle_to_int8
from kernels.measure import relative_error
from kernels.varlen import Grid, VarlenBlocks, choose_body, pack, read_layer, reference
from kernels.varlen.sequence import Segments
from tests.kernels.varlen.cases import GRIDS, WINDOW, hidden_states, through_transformers, tower

WHOLE = (1,)
NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16
NO_INT8 = obstacle_to_int8(torch.device("cpu"), torch.float32)
EACH = pytest.mark.parametrize("grids", GRIDS.values(), ids=GRIDS.keys())
WAYS = pytest.mark.parametrize("per_thread", [True, False], ids=["per thread", "together"])


def ours(
    grids: list[Grid],
    dtype: torch.dtype,
    *,
    per_thread: bool | None = None,
    threads: int | None = None,
    precision: Precision = "full",
) -> torch.Tensor:
    """In the order in which cells were given."""
    layers = [read_layer(layer) for layer in tower().blocks]
    blocks = VarlenBlocks(layers, WHOLE, dtype, "cpu", per_thread=per_thread, precision=precision)
    sequence = pack(grids, window=WINDOW)
    cells = torch.unflatten(hidden_states(grids).to(dtype), 0, (-1, 4))[sequence.order]
    kept = torch.get_num_threads()
    torch.set_num_threads(threads or kept)
    try:
        made = blocks(cells.flatten(0, 1), sequence)
    finally:
        torch.set_num_threads(kept)
    return made.view(cells.shape)[sequence.order.argsort()].flatten(0, 1)


def test_stages_hand_over_what_there_is_after_a_layer_and_at_the_end() -> None:
    grids = GRIDS["mixed"]
    layers = [read_layer(layer) for layer in tower().blocks]
    sequence = pack(grids, window=WINDOW)

    def after(count: int) -> torch.Tensor:
        return VarlenBlocks(layers[:count], WHOLE, torch.float32, "cpu")(hidden_states(grids), sequence)

    blocks = VarlenBlocks(layers, WHOLE, torch.float32, "cpu", stops=(0, 3))
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
@WAYS
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_fp32_is_the_reference(grids: list[Grid], per_thread: bool, threads: int) -> None:
    assert (
        relative_error(ours(grids, torch.float32, per_thread=per_thread, threads=threads), exact(grids))
        < 2e-6
    )


@EACH
@WAYS
@pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")
def test_bf16_is_as_near_as_the_bf16_chain(grids: list[Grid], per_thread: bool) -> None:
    hidden = hidden_states(grids).bfloat16()
    theirs = relative_error(through_transformers(tower(torch.bfloat16), hidden, grids), exact(grids))
    assert relative_error(ours(grids, torch.bfloat16, per_thread=per_thread), exact(grids)) < 1.1 * theirs


@WAYS
def test_an_image_is_the_same_in_any_company(per_thread: bool) -> None:
    grids = GRIDS["mixed"]
    together = ours(grids, torch.float32, per_thread=per_thread)
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
