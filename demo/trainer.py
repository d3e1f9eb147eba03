"""One worker of a training run: model, heads that are thrown away, optimisers, and the step that each stage takes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import InternVLForConditionalGeneration

from demo.batches import ALL, LOOKUP, POLISH, Batch, Writer, picture_batch
from demo.losses import CellHead, answer_loss, imitation_loss, see, speak
from demo.pairs import pair_tiles
from demo.plan import Plan, learning_rate
from demo.pool import Pool
from demo.shape import DECODER_HIDDEN, save, untrained
from demo.steps import see_batch, speak_batches


class Trainer:
    """One worker of a run: model, throw-away heads, optimiser, step. All workers hold the same after every step.

    The last stage has a teacher, the model as it was before, and keeps a moving average of the weights.
    """

    def __init__(self, plan: Plan, tokenizer: Tokenizer, rank: int) -> None:
        self.plan, self.rank = plan, rank
        self.model: InternVLForConditionalGeneration = untrained(tokenizer, plan.seed)
        # twice as fast as SDPA on a CPU when training
        self.model.model.vision_tower.set_attn_implementation("eager")
        self.model.model.language_model.set_attn_implementation("eager")
        self.heads = CellHead(DECODER_HIDDEN)
        self.writer = Writer(tokenizer)
        self.teacher: InternVLForConditionalGeneration | None = None
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.98))
        self.step = 0
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        inner = [p for name, p in self.model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
        chosen = {id(p) for p in inner}
        others = [p for p in self.parameters if id(p) not in chosen]
        self.optimisers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(inner, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        )

    @property
    def learnt(self) -> InternVLForConditionalGeneration:
        """The model to keep: in the last stage the average, over about fifty steps."""
        return self.average.module if self.average.n_averaged > 0 else self.model

    def take_step(self, pool: Pool) -> dict[str, float]:
        """One update; returns this worker's losses by name."""
        rng = np.random.default_rng((self.plan.seed, self.step, self.rank))
        for optimiser, factor in zip(self.optimisers, (2.0, 1.0), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = factor * learning_rate(self.plan, self.step)
        if self.step < self.plan.see_steps:
            losses = self._see(rng, pool, self.plan.see_batch, 1.0)
        elif self.step < self.plan.see_steps + self.plan.lookup_steps:
            samples = pool.pick(rng, self.plan.pictures // self.plan.workers)
            batch = picture_batch(rng, self.writer, samples, full=False, asking=LOOKUP)
            losses = self._answer([batch], decoder_alone=True)
        elif self.step < self.plan.polish_from - self.plan.speak_steps:
            batches = speak_batches(rng, self.writer, pool, self.plan, ALL)
            losses = self._answer(batches, decoder_alone=True)
        elif self.step >= self.plan.grounds_from:
            losses = self._imitate()
        else:
            asking = ALL if self.step < self.plan.polish_from else POLISH
            batches = speak_batches(rng, self.writer, pool, self.plan, asking)
            losses = self._answer(batches, decoder_alone=False)
            losses |= self._see(rng, pool, self.plan.see_batch // 2, self.plan.cell_weight)
        self._average()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if self.step >= self.plan.grounds_from:
            self.average.update_parameters(self.model)
        self.step += 1
        return losses

    def _average(self) -> None:
        """Every worker gets the mean of all gradients; a stage that leaves a part alone has none for it."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient) / self.plan.workers)

    def _see(self, rng: np.random.Generator, pool: Pool, size: int, weight: float) -> dict[str, float]:
        tiles, targets = see_batch(rng, pool, size // self.plan.workers, self.plan.pages)
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.heads(see(self.model, tiles), targets)
        (weight * loss).backward()
        return {"cells": loss.item()}

    def _imitate(self) -> dict[str, float]:
        """Soft tokens on a ground of any colour become those of the teacher on a greyish one."""
        if self.teacher is None:
            self.teacher = deepcopy(self.model).requires_grad_(False)
        first = (self.step - self.plan.grounds_from) * self.plan.pairs
        numbers = range(first + self.rank, first + self.plan.pairs, self.plan.workers)
        seen, plain = pair_tiles(self.plan.seed, numbers, self.plan.ground_share)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = see(self.teacher, plain)
            loss = imitation_loss(see(self.model, seen), wanted)
        loss.backward()
        return {"imitation": loss.item()}

    def _answer(self, batches: list[Batch], decoder_alone: bool) -> dict[str, float]:
        losses = {}
        for name, batch in zip(("one tile", "numbers", "other"), batches, strict=False):
            with torch.autocast("cpu", torch.bfloat16):
                with torch.set_grad_enabled(not decoder_alone):
                    soft = None if batch.tiles is None else see(self.model, batch.tiles)
                loss = answer_loss(speak(self.model, batch, soft), batch)
                losses[name] = loss.item()
                if soft is not None and batch.targets is not None and not decoder_alone:
                    cells = self.heads(soft, batch.targets)
                    losses[name + ", cells"] = cells.item()
                    loss = loss + self.plan.cell_weight * cells
            loss.backward()
        return losses

    def save(self, out: Path, state: Path) -> None:
        """The checkpoint for everyone, and all that `--resume` needs."""
        save(self.learnt, out)
        fresh = state.with_suffix(".writing")
        torch.save(
            {
                "model": self.model.state_dict(),
                "heads": self.heads.state_dict(),
                "teacher": None if self.teacher is None else self.teacher.state_dict(),
                "average": self.average.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                "step": self.step,
            },
            fresh,
        )
        fresh.replace(state)

    def start(self, checkpoint: Path) -> None:
        """Takes the weights of a checkpoint in Hugging Face format; heads and optimisers start anew."""
        kept = InternVLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
        self.model.load_state_dict(kept.state_dict())

    def load(self, state: Path) -> None:
        """Goes on where `save` left off."""
        kept = torch.load(state, weights_only=True)
        self.model.load_state_dict(kept["model"])
        self.heads.load_state_dict(kept["heads"])
        self.average.load_state_dict(kept["average"])
        if kept["teacher"] is not None:
            self.teacher = deepcopy(self.model).requires_grad_(False)
            self.teacher.load_state_dict(kept["teacher"])
        for optimiser, state_dict in zip(self.optimisers, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state_dict)
        self.step = kept["step"]
