"""Whole blocks with the kernels in Triton's interpreter."""

from __future__ import annotations

from pathlib import Path

from tests.kernels.interpreter import interpreted


def test_blocks_with_triton_kernels_in_the_interpreter() -> None:
    assert interpreted(Path(__file__).with_name("test_kernel_blocks.py")) > 5
