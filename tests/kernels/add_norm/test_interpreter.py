"""The fused kernel in Triton's interpreter."""

from __future__ import annotations

from pathlib import Path

from tests.kernels.interpreter import interpreted


def test_the_fused_kernel_in_the_interpreter() -> None:
    assert interpreted(Path(__file__).with_name("test_fused.py")) > 40
