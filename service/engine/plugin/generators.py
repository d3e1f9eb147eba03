"""Seeded sampling on a CPU.

vLLM draws a token for every chunk of a prompt and, when the chunk was not the last one, sets the request's generator
back by what the draw took. CUDA's generators can do that. A CPU's raises an error instead, which ends the engine: one
request with a `seed` and a prompt longer than a step would take it down for everybody.
"""

from __future__ import annotations

import torch


class RewindableGenerator(torch.Generator):
    """A CPU generator that can be set back to its seed, which is where it was before a prompt's first token."""

    def get_offset(self) -> int:
        return 0

    def set_offset(self, offset: int) -> torch.Generator:
        return self.manual_seed(self.initial_seed())


def make_rewindable() -> None:
    """Gives this process such generators if vLLM runs on a CPU here."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        torch.Generator = RewindableGenerator  # type: ignore[misc]
