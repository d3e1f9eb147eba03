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
    polish_steps=1,
    grounds_steps=2,
    rate=1e-3,
    see_batch=4,
    pictures=2,
    numbers=2,
    tiles=4,
    cell_weight=0.4,
    small_share=0.5,
    pages=0.5,
    pairs=3,
    ground_share=0.7,
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
    # see, lookup, listen, speak, polish, grounds
    assert taught == [{TOWER}, {DECODER}, {DECODER}, {TOWER, DECODER}, {TOWER, DECODER}, {TOWER}]

    trainer.save(tmp_path / "model", tmp_path / "state.pt")
    resumed = Trainer(PLAN, TOKENIZER, 0)
    resumed.load(tmp_path / "state.pt")
    assert resumed.step == trainer.step
    for one in (trainer, resumed):
        one.take_step(pool)
    assert changed(weights(trainer), resumed) == set()
    for ours, theirs in zip(trainer.learnt.parameters(), resumed.learnt.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_last_stage_keeps_an_average_and_the_others_what_they_have_learnt(pool: Pool) -> None:
    trainer = Trainer(PLAN, TOKENIZER, 0)
    trainer.step = PLAN.grounds_from
    assert trainer.learnt is trainer.model
    trainer.take_step(pool)
    first = weights(trainer)
    trainer.take_step(pool)
    last = weights(trainer)
    for name, kept in trainer.learnt.state_dict().items():
        assert torch.allclose(kept, first[name] + 0.02 * (last[name] - first[name]), atol=1e-7)


def test_a_teacher_is_imitated_the_better_the_longer(pool: Pool) -> None:
    """On greyish grounds alone there is nothing to learn; on others there is."""
    values = {name: getattr(PLAN, name) for name in Plan.__slots__}
    begin = {"see_steps": 0, "lookup_steps": 0, "listen_steps": 0, "speak_steps": 0, "polish_steps": 0}
    losses = {}
    for share in (0.0, 1.0):
        plan = Plan(**values | begin | {"grounds_steps": 30, "ground_share": share})
        trainer = Trainer(plan, TOKENIZER, 0)
        losses[share] = [trainer.take_step(pool)["imitation"] for _ in range(12)]
    assert losses[0.0][0] < 1e-6 < losses[1.0][0]
    assert min(losses[1.0][-3:]) < losses[1.0][0]


def test_the_rate_falls_to_the_end_of_each_wave_and_polish_and_grounds_are_slow() -> None:
    longer = {"see_steps": 1000, "polish_steps": 500, "grounds_steps": 400}
    plan = Plan(**{name: getattr(PLAN, name) for name in Plan.__slots__} | longer)
    rates = [learning_rate(plan, step) for step in range(plan.steps)]
    seeing, grounds = rates[:1000], rates[plan.grounds_from :]
    polish = rates[plan.polish_from : plan.grounds_from]
    assert seeing[0] < seeing[99] == max(seeing) == plan.rate and seeing[-1] < 0.04 * plan.rate
    for slow in (polish, grounds):
        assert 0.45 * plan.rate < max(slow) < 0.55 * plan.rate and slow[-1] < 0.02 * plan.rate
    assert set(grounds[19:200]) == {max(grounds)}
