"""What a rank holds, and which divisions are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm.distributed.utils import get_pp_indices

from service.errors import ConfigurationError
from service.planning.parallel import Division, check_division

SIX_HEADS = {
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "intermediate_size": 512,
}


@pytest.mark.parametrize(
    ("tensor", "kv_heads", "bytes_"),
    [(1, 8, 8000), (2, 8, 4000), (8, 8, 1000), (16, 8, 1000), (4, 1, 8000), (4, 0, 2000)],
)
def test_beyond_the_heads_of_keys_and_values_ranks_hold_the_same(
    tensor: int, kv_heads: int, bytes_: int
) -> None:
    assert Division(tensor, 1).keys_and_values(8000, kv_heads, layers=4) == bytes_


def test_the_longest_stage_is_what_counts() -> None:
    division = Division(1, 3)
    assert division.keys_and_values(10_000, 8, layers=10) == 4000
    # 400 of 1000 bytes of layers, and one of the two tables
    assert division.weights(1200, table=100, tables=2, layers=10) == 500
    assert Division(2, 3).weights(1200, table=100, tables=2, layers=10) == 250
    assert Division(1, 1).weights(1200, table=100, tables=2, layers=10) == 1200


@given(layers=st.integers(1, 100), stages=st.integers(1, 100))
def test_the_longest_stage_is_as_long_as_vllms(layers: int, stages: int) -> None:
    if stages > layers:
        return
    bounds = [get_pp_indices(layers, stage, stages) for stage in range(stages)]
    assert Division(1, stages).stage(layers) * layers == pytest.approx(
        max(end - start for start, end in bounds)
    )


@given(
    whole=st.integers(0, 10**12),
    kv_heads=st.integers(1, 64),
    tensor=st.sampled_from([1, 2, 4, 8]),
    pipeline=st.integers(1, 8),
    layers=st.integers(1, 100),
)
def test_ranks_together_hold_the_whole(
    whole: int, kv_heads: int, tensor: int, pipeline: int, layers: int
) -> None:
    division = Division(tensor, pipeline)
    assert division.ranks * division.weights(whole, 0, 2, layers) >= whole - division.ranks
    held = division.keys_and_values(whole, kv_heads, layers)
    assert whole <= division.ranks * held
    assert held <= whole


@pytest.mark.parametrize(
    ("tensor", "pipeline", "changes", "words"),
    [
        (4, 1, {}, ["tensor_parallel_size: got 4", "num_attention_heads (6)", "allowed are 1, 2"]),
        (3, 1, {"intermediate_size": 513}, ["num_key_value_heads (2)", "allowed are 1"]),
        (2, 1, {"intermediate_size": 511}, ["intermediate_size (511)", "allowed are 1"]),
        (2, 1, {"linear_num_key_heads": 3}, ["linear_num_key_heads (3)"]),
        (1, 5, {}, ["pipeline_parallel_size: got 5", "4 layers", "allowed are 1 to 4"]),
    ],
)
def test_what_cannot_be_divided_is_refused_with_what_can(
    tensor: int, pipeline: int, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_division(Division(tensor, pipeline), SIX_HEADS | changes)
    assert [word for word in words if word not in refused.value.message] == []


@pytest.mark.parametrize(("tensor", "pipeline"), [(1, 1), (2, 1), (2, 4)])
def test_what_can_be_divided_is_not(tensor: int, pipeline: int) -> None:
    check_division(Division(tensor, pipeline), SIX_HEADS)
    # more ranks than heads of keys and values: each holds a whole one
    check_division(Division(8, 1), {"num_attention_heads": 8, "num_key_value_heads": 2})
    check_division(Division(3, 7), {"num_attention_heads": None})
