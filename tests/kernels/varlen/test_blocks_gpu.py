"""The packed blocks on a GPU against transformers in fp64 on the CPU; nothing in them asks the device for an answer."""

from __future__ import annotations

import pytest
import torch

from kernels.measure import relative_error
from kernels.varlen import Grid, VarlenBlocks, pack, read_layer
from kernels.varlen.bounds import DTYPES
from kernels.varlen.together import Way
from tests.kernels.bounds import SPLIT_K
from tests.kernels.varlen.cases import GRIDS, WINDOW, hidden_states, through_transformers, tower

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


WAYS = {
    "torch": Way(),
    "kernels": Way("triton"),
    "one call": Way(one_call=True),
    "kernels, one call": Way("triton", one_call=True),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("grids", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_blocks_are_as_near_as_the_chain(grids: list[Grid], dtype: torch.dtype, way: Way) -> None:
    if way.one_call and dtype not in DTYPES:
        pytest.skip("FlashAttention takes no fp32")
    exact = through_transformers(tower(), hidden_states(grids).double(), grids)
    theirs = relative_error(through_transformers(tower(dtype), hidden_states(grids).to(dtype), grids), exact)
    blocks = VarlenBlocks([read_layer(layer) for layer in tower().blocks], (1,), dtype, "cuda", way=way)
    sequence = pack(grids, window=WINDOW, device="cuda")
    cells = torch.unflatten(hidden_states(grids).to(dtype), 0, (-1, 4))[sequence.order]
    hidden = cells.flatten(0, 1).cuda()
    try:
        torch.cuda.set_sync_debug_mode("error")
        blocks(hidden, sequence)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    made = hidden.cpu().view(cells.shape)[sequence.order.argsort()].flatten(0, 1)
    assert relative_error(made, exact) < max(SPLIT_K * theirs, 5e-4)
