import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.arena.values import representable

INFINITE_OR_NAN = {
    "float32": [0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001],
    "bfloat16": [0x7F80, 0xFF80, 0x7FC0, 0xFF81],
    "float16": [0x7C00, 0xFC00, 0x7E00, 0xFC01],
}
LARGEST = {"float32": 0x7F7FFFFF, "bfloat16": 0x7F7F, "float16": 0x7BFF}


def rows(bits: list[int], dtype: str) -> np.ndarray:
    return np.array([bits], "<u4" if dtype == "float32" else "<u2").view("u1")


@pytest.mark.parametrize("dtype", LARGEST)
def test_infinities_and_nans_are_refused_of_either_sign(dtype: str) -> None:
    for bits in INFINITE_OR_NAN[dtype]:
        for target in LARGEST:
            assert not representable(rows([0, bits, 1], dtype), dtype, target)


@pytest.mark.parametrize("dtype", LARGEST)
def test_the_largest_number_of_either_sign_is_taken_as_itself(dtype: str) -> None:
    sign = 0x80000000 if dtype == "float32" else 0x8000
    assert representable(rows([0, LARGEST[dtype], LARGEST[dtype] | sign], dtype), dtype, dtype)


@given(st.floats(width=32))
@example(65504.0)
@example(-65520.0)  # rounds to infinity
def test_a_float32_passes_when_it_stays_finite_as_float16(number: float) -> None:
    with np.errstate(over="ignore"):
        halved = abs(np.float32(number)) <= 65504
    assert representable(np.array([[number]], "<f4").view("u1"), "float32", "float16") == halved


def test_a_number_too_large_for_the_model_is_refused() -> None:
    assert not representable(rows([0x7F7FFFFF], "float32"), "float32", "bfloat16")
    assert not representable(rows([0x4780], "bfloat16"), "bfloat16", "float16")
    assert representable(rows([0x477F], "bfloat16"), "bfloat16", "float16")
    assert representable(rows([0x7BFF], "float16"), "float16", "bfloat16")


def test_an_unknown_dtype_is_named() -> None:
    with pytest.raises(ValueError, match="'int8'; allowed are float32, bfloat16, float16"):
        representable(rows([0], "bfloat16"), "int8", "float32")
