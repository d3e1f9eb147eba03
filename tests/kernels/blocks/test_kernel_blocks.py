"""Whole blocks with Triton kernels between the products: on a GPU where there is one, else in the interpreter."""

from __future__ import annotations

import pytest
import torch

from kernels.blocks import KernelBlocks
from kernels.measure import relative_error
from kernels.varlen import VarlenBlocks, pack, read_layer
from kernels.varlen.together import Way
from tests.kernels.blocks.test_blocks import CASES, Case, cast, chain
from tests.kernels.varlen.cases import GRIDS, WINDOW, hidden_states, through_transformers, tower

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
pytestmark = [
    *([pytest.mark.gpu] if GPU else []),
    pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning"),
]
DTYPES = [torch.float32, *([torch.bfloat16] if GPU else [])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES[:-1], ids=str)
def test_blocks_of_tiles_are_as_near_as_the_chain(case: Case, dtype: torch.dtype) -> None:
    blocks, hidden = case.blocks(), case.hidden_states()
    exact = chain(hidden, blocks, torch.float64)
    theirs = relative_error(chain(hidden, blocks, dtype), exact)
    made = KernelBlocks([cast(block, DEVICE) for block in blocks], dtype)(hidden.to(DEVICE, dtype)).cpu()
    assert relative_error(made, exact) < max(1.1 * theirs, 5e-4 if GPU else 1e-6)


@pytest.mark.skipif(GPU, reason="test_blocks_gpu.py has more")
@pytest.mark.parametrize("name", ["edges", "mixed"])
def test_packed_blocks_are_transformers(name: str) -> None:
    grids = GRIDS[name]
    layers = [read_layer(layer) for layer in tower().blocks]
    blocks = VarlenBlocks(layers, (1,), torch.float32, DEVICE, way=Way("triton"))
    sequence = pack(grids, window=WINDOW)
    cells = torch.unflatten(hidden_states(grids), 0, (-1, 4))[sequence.order]
    made = blocks(cells.flatten(0, 1), sequence).view(cells.shape)[sequence.order.argsort()].flatten(0, 1)
    assert relative_error(made, through_transformers(tower(), hidden_states(grids).double(), grids)) < 2e-6
