"""Who runs a native-resolution tower's blocks: chosen once at start, reported, never swapped in silence."""

from __future__ import annotations

import torch

from kernels.backend import BackendUnavailable
from kernels.blocks import BODIES, Body
from kernels.blocks.choice import triton_body


def choose_body(
    requested: str = "auto", *, device: torch.device | str = "cpu", obstacle: str | None = None
) -> Body:
    """Resolve `requested` for a tower on `device`; "auto" is "fused", which runs on every device, unless there is an
    `obstacle`.

    `obstacle` says why the tower's layers cannot be read (`UnsupportedLayer`), or None.

    Raises:
        ValueError: `requested` is neither "auto" nor a body.
        BackendUnavailable: "compiled" was asked for, or "fused" or "triton" and there is an obstacle, or "triton" where
            it cannot run.
    """
    if requested not in ("auto", *BODIES):
        raise ValueError(f"body: got {requested!r}, allowed are 'auto', {', '.join(map(repr, BODIES))}")
    if requested == "compiled":
        raise BackendUnavailable(
            "body 'compiled' is for towers that compute each tile by itself, and in this one patches see the whole "
            "image: choose body 'fused' or 'transformers'"
        )
    if requested == "triton":
        return triton_body(torch.device(device), obstacle)
    if requested == "fused" and obstacle is not None:
        raise BackendUnavailable(f"body 'fused' cannot run: {obstacle}; choose body 'transformers'")
    return "transformers" if requested == "transformers" or obstacle is not None else "fused"
