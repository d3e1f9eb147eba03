"""Which of PyTorch's attention kernels runs, for people who measured: by default PyTorch chooses per shape."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

from torch.nn.attention import SDPBackend, sdpa_kernel

Attention = Literal["auto", "flash", "cudnn", "efficient", "math", "varlen"]
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)

_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def attend(attention: Attention) -> AbstractContextManager[None]:
    """Where `scaled_dot_product_attention` runs as asked, or raises RuntimeError: no other stands in for it.

    "varlen" is another function, `kernels.varlen`'s one call a layer, and nothing is set for it.
    The choice is the process's own while it lasts, not the thread's. Raises ValueError for an unknown name.
    """
    if attention in ("auto", "varlen"):
        return nullcontext()
    if attention not in _BACKENDS:
        raise ValueError(f"attention: got {attention!r}, allowed are {', '.join(map(repr, ATTENTIONS))}")
    return sdpa_kernel(_BACKENDS[attention])
