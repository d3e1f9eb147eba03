"""A CPU generator that goes back to its seed, and how it reaches vLLM's processes."""

from __future__ import annotations

import subprocess
import sys

import torch

from service.engine.plugin.generators import RewindableGenerator


def test_it_draws_what_any_generator_draws_and_the_same_again() -> None:
    plain, ours = torch.Generator(), RewindableGenerator()
    plain.manual_seed(5)
    ours.manual_seed(5)
    first = torch.rand(4, generator=ours)
    assert first.equal(torch.rand(4, generator=plain))
    ours.set_offset(ours.get_offset() - 4)
    assert torch.rand(4, generator=ours).equal(first)


def test_an_engine_on_a_cpu_makes_such_generators_and_others_do_not() -> None:
    program = (
        "import torch; from service.engine.plugin import register; register();"
        "print(type(torch.Generator(device='cpu')).__name__)"
    )

    def made(environment: dict[str, str]) -> str:
        command = [sys.executable, "-c", program]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return ran.stdout.strip().splitlines()[-1]

    assert made({}) == "Generator"
    assert made({"PATCHBAY_ENGINE": "1"}) == "RewindableGenerator"
