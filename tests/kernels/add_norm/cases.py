"""Hidden states whose mean is not 0, what a layer adds to them, and parameters of a norm."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F

from kernels.add_norm import NORMS, NormKind

EPS = 1e-5


class Case(NamedTuple):
    tokens: int
    width: int
    kind: NormKind
    biased: bool


CASES = [
    Case(*shape, kind, biased)
    for shape, kind, biased in product(
        ((1, 2), (5, 7), (3, 130), (17, 1024), (2, 1664)), NORMS, (True, False)
    )
]
ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}

Parameters = tuple[torch.Tensor, torch.Tensor | None, float, NormKind]


def drawn(
    case: Case, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor, Parameters]:
    """hidden, update, and what add_norm takes besides."""
    random = torch.Generator().manual_seed(case.tokens + case.width)
    hidden, update = (1 + torch.randn(case.tokens, case.width, generator=random) for _ in range(2))
    weight, bias = (torch.randn(case.width, generator=random) for _ in range(2))
    placed = [one.to(device, dtype) for one in (hidden, update, weight, bias)]
    return placed[0], placed[1], (placed[2], placed[3] if case.biased else None, EPS, case.kind)


def exact(
    hidden: torch.Tensor, update: torch.Tensor, parameters: Parameters
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum and its norm, torch's own in fp64 on the CPU."""
    total = hidden.double().cpu() + update.double().cpu()
    weight, bias, eps, kind = parameters
    w, b = weight.double().cpu(), torch.zeros(1).double() if bias is None else bias.double().cpu()
    if kind == "layer":
        return total, F.layer_norm(total, w.shape, w, None, eps) + b
    return total, F.rms_norm(total, w.shape, w, eps) + b
