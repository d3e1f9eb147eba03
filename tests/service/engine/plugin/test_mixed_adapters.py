"""Tokens with and without an adapter, in vLLM's own operations."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from service.engine.plugin.mixed_adapters import for_adapted_tokens

PROGRAM = """
import torch
{first}
from service.engine.plugin import register

register()
import vllm.lora.punica_wrapper.punica_cpu as cpu

torch.manual_seed(0)
WIDTH, RANK = 8, 2
down, up = torch.randn(2, 1, RANK, WIDTH), torch.randn(2, 1, WIDTH, RANK)
indices = torch.tensor([1, -1, 0])


def added(tokens, indices, prompts):
    said = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))[tokens]
    between, output = torch.randn(len(said), RANK), torch.zeros(len(said), WIDTH)
    if prompts:
        starts = torch.arange(len(said))
        rest = (starts, torch.ones_like(starts), indices, len(said), 1, len(said))
        cpu.sgmv_shrink(said, down, between, *rest, 1.0)
        cpu.sgmv_expand(between, up, output, *rest, True)
        cpu.sgmv_expand_slice(between, up, output, *rest, 0, WIDTH, True)
    else:
        cpu.bgmv_shrink(said, down, between, indices, 1.0)
        cpu.bgmv_expand(between, up, output, indices, True)
        cpu.bgmv_expand_slice(between, up, output, indices, 0, WIDTH, True)
    return output


for prompts in (False, True):
    together = added([0, 1, 2], indices, prompts)
    alone = added([0, 2], torch.tensor([1, 0]), prompts)
    assert together[[0, 2]].abs().sum() > 0 and together[[0, 2]].allclose(alone)
    print("spared" if together[1].abs().sum() == 0 else "adapted")
"""


def ran(environment: dict[str, str], first: str = "") -> list[str]:
    command = [sys.executable, "-c", PROGRAM.format(first=first)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("first", ["", "import vllm.lora.punica_wrapper.punica_cpu"])
def test_an_engine_that_patchbay_starts_spares_who_asks_the_model_itself(first: str) -> None:
    assert ran({"PATCHBAY_ENGINE": "1"}, first)[-2:] == ["spared", "spared"]


def test_vllm_itself_does_not() -> None:
    assert ran({})[-2:] == ["adapted", "adapted"], "no mend is needed any more"


def test_only_tokens_without_an_adapter_change() -> None:
    seen: list[torch.Tensor] = []

    @for_adapted_tokens
    def operation(inputs: torch.Tensor, *others: object, **named: object) -> str:
        seen.append(inputs)
        return f"{others[-1]} {named}"

    said = torch.tensor([[1.0, float("inf")], [2.0, float("nan")], [3.0, 4.0]])
    told = operation(said, said, said, torch.tensor([0, -1, 2]), 0.5, add=True)
    assert told == "0.5 {'add': True}"
    assert seen[0].tolist() == [[1.0, float("inf")], [0.0, 0.0], [3.0, 4.0]]
    assert said[1, 0] == 2.0
