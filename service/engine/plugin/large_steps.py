"""Large steps of a small language model on a CPU, which compute on more threads than its small ones.

A step that writes one token for each of a few requests is over sooner than a second thread wakes, layer by layer; one
that reads prompts is not. vLLM computes every step on the same number of threads.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Protocol

import torch

from service.domain import LargeSteps
from service.engine.plugin.contract import large_steps


class Step(Protocol):
    total_num_scheduled_tokens: int


Execute = Callable[[Any, Step], Any]


def on_its_threads(
    execute: Execute, large: LargeSteps, few: int, set_threads: Callable[[int], None]
) -> Execute:
    """A worker's `execute_model(self, step)`, which computes large steps on their threads and others on `few`."""

    @functools.wraps(execute)
    def executed(worker: Any, step: Step) -> Any:
        set_threads(large.threads if step.total_num_scheduled_tokens >= large.tokens else few)
        return execute(worker, step)

    return executed


def divide_large_steps() -> None:
    """Has vLLM do so in this process if the launcher asks for it; twice is harmless."""
    if (large := large_steps(os.environ)) is None:
        return
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    # vLLM puts a function that does nothing in the place of torch.set_num_threads
    WorkerWrapperBase.execute_model = on_its_threads(
        WorkerWrapperBase.execute_model, large, torch.get_num_threads(), torch._C.set_num_threads
    )
