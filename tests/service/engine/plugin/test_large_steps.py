"""How many threads a step computes on, in vLLM's own worker."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

from service.domain import LargeSteps
from service.engine.plugin.large_steps import on_its_threads

PROGRAM = """
import torch
from types import SimpleNamespace
from service.engine.plugin import register

register()
from vllm.v1.worker.worker_base import WorkerWrapperBase

torch.set_num_threads = lambda threads: None  # as vLLM does on a CPU
computed = SimpleNamespace(execute_model=lambda step: print("threads", torch.get_num_threads()))
worker = SimpleNamespace(worker=computed, mm_receiver_cache=None, _apply_mm_cache=lambda step: None)
for tokens in (1, 64, 63):
    WorkerWrapperBase.execute_model(worker, SimpleNamespace(total_num_scheduled_tokens=tokens))
"""


def threads(**environment: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM]
    environment |= {"OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [line.split()[1] for line in made.stdout.splitlines() if line.startswith("threads ")]


def test_a_step_computes_on_the_threads_that_its_tokens_are_worth() -> None:
    calls: list[int] = []
    execute = on_its_threads(lambda worker, step: (worker, calls[-1]), LargeSteps(64, 4), 1, calls.append)
    for tokens, expected in ((1, 1), (63, 1), (64, 4), (2048, 4), (8, 1)):
        assert execute("worker", SimpleNamespace(total_num_scheduled_tokens=tokens)) == ("worker", expected)


def test_an_engine_that_patchbay_starts_does_so_where_the_launcher_asks() -> None:
    large = json.dumps({"tokens": 64, "threads": 3})
    assert threads(PATCHBAY_ENGINE="1", PATCHBAY_LARGE_STEPS=large) == ["1", "3", "1"]
    assert threads(PATCHBAY_ENGINE="1") == ["1", "1", "1"]
    assert threads(PATCHBAY_LARGE_STEPS=large) == ["1", "1", "1"], "not an engine of Patchbay's"
