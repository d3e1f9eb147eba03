"""Each stage teaches the parts it should, and a run that was stopped goes on as if it never had been."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tokenizers import Tokenizer

from demo.plan import Plan, learning_rate
from demo.pool import Pool
from demo.trainer import Trainer

TOKENIZER = Tokenizer.from_file(str(Path("demo/model/tokenizer.json")))
PLAN = Plan(
    seed=3,
    see_steps=1,
    lookup_steps=1,
    listen_steps=1,
    speak_steps=1,
    polish_steps=2,
    rate=1e-3,
    see_batch=4,
    pictures=2,
    numbers=2,
    tiles=4,
    cell_weight=0.4,
    small_share=0.5,
    pages=0.5,
    workers=1,
)
TOWER, DECODER = "vision_tower", "language_model"


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(PLAN.seed, 24, 0, 1, 0)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """A group of one worker."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], trainer: Trainer) -> set[str]:
    return {
        part
        for name, value in trainer.model.state_dict().items()
        for part in (TOWER, DECODER)
        if part in name and not torch.equal(value, before[name])
    }


def test_each_stage_teaches_its_parts_and_a_resumed_run_is_the_unbroken_one(
    pool: Pool, tmp_path: Path
) -> None:
    trainer = Trainer(PLAN, TOKENIZER, 0)
    taught = []
    for _ in range(PLAN.steps - 1):
        before = weights(trainer)
        trainer.take_step(pool)
        taught.append(changed(before, trainer))
    # see, lookup, listen, speak, polish
    assert taught == [{TOWER}, {DECODER}, {DECODER}, {TOWER, DECODER}, {TOWER, DECODER}]

    trainer.save(tmp_path / "model", tmp_path / "state.pt")
    resumed = Trainer(PLAN, TOKENIZER, 0)
    resumed.load(tmp_path / "state.pt")
    assert resumed.step == trainer.step
    for one in (trainer, resumed):
        one.take_step(pool)
    assert changed(weights(trainer), resumed) == set()


def test_the_rate_falls_to_the_end_of_each_wave_and_the_polish_is_slow() -> None:
    plan = Plan(
        **{name: getattr(PLAN, name) for name in Plan.__slots__} | {"see_steps": 1000, "polish_steps": 500}
    )
    rates = [learning_rate(plan, step) for step in range(plan.steps)]
    seeing, polish = rates[:1000], rates[plan.polish_from :]
    assert seeing[0] < seeing[99] == max(seeing) == plan.rate and seeing[-1] < 0.04 * plan.rate
    assert 0.45 * plan.rate < max(polish) < 0.55 * plan.rate and polish[-1] < 0.02 * plan.rate
