"""Trains the embedded model from nothing: `python -m demo.train --help`.

Four stages, as the language loss alone does not find the picture. First (`see`) only tower and projector learn, each
soft token told what its cell of a tile holds, by linear heads that are thrown away. Then (`listen`) only the decoder
learns to answer, from a tower that can already see, and at first almost only questions that a look at one shape must
answer: a decoder that starts beside a blind tower, or on a mixture of questions, learns to guess among the colours of a
picture, and never leaves that habit. Then (`speak`) everything learns together, with the first loss
kept on at a smaller weight, and last (`polish`) the same at a low rate, asked most of what is learnt last: counts,
positions, whether something is there. A step of the later stages is one batch of pictures seen as one tile, one of
numbers, and often one of pictures seen as all their tiles, of pairs of pictures, or of talk without a picture.

Each worker is a process with one thread, its own scenes and its own part of every step; gradients are averaged. On a
machine that others use too, this loses far less than one process with threads, which meet after every operation.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch.multiprocessing.spawn import spawn
from transformers import InternVLForConditionalGeneration
from transformers.utils import logging

from demo.batches import (
    LOOKUP_WEIGHTS,
    POLISH_WEIGHTS,
    WEIGHTS,
    Batch,
    Writer,
    pair_batch,
    picture_batch,
    talk_batch,
)
from demo.losses import CellHead, answer_loss, see, speak
from demo.pool import Pool, Sample, rolled
from demo.shape import DECODER_HIDDEN, save, untrained
from demo.targets import COVER_REGION, DIGIT
from demo.tokens import save_processor, train_tokenizer
from demo.validate import accuracy, held_out

RENEW_EVERY = 10  # steps between two renewals of a worker's pool


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast; every figure is a flag of the command."""

    seed: int
    see_steps: int
    lookup_steps: int
    listen_steps: int
    speak_steps: int
    polish_steps: int
    rate: float
    see_batch: int
    pictures: int
    numbers: int
    tiles: int
    cell_weight: float
    small_share: float
    pages: float
    workers: int

    @property
    def steps(self) -> int:
        """Of all stages."""
        return self.polish_from + self.polish_steps

    @property
    def polish_from(self) -> int:
        """The first step of the last stage."""
        return self.see_steps + self.lookup_steps + self.listen_steps + self.speak_steps


def learning_rate(plan: Plan, step: int) -> float:
    """Two waves, one for seeing and one for the rest: warm-up, a plateau to the middle, a cosine to a thirtieth.

    Then a low one for the polish: from a quarter to a hundredth.
    """
    if step >= plan.polish_from:
        at = step - plan.polish_from
        return (
            plan.rate * min(1.0, (at + 1) / 50) * (0.13 + 0.12 * math.cos(math.pi * at / plan.polish_steps))
        )
    seeing = step < plan.see_steps
    at = step if seeing else step - plan.see_steps
    length = plan.see_steps if seeing else plan.polish_from - plan.see_steps
    warm = min(1.0, (at + 1) / 100)
    done = max(0.0, 2 * at / length - 1)
    return plan.rate * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory: fresh pages for every activation cost more than the arithmetic."""
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):
        for option, value in ((-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 1 << 28)):
            libc.mallopt(option, value)


def see_batch(
    rng: np.random.Generator, pool: Pool, size: int, share_of_pages: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tiles uint8 [size, 3, 112, 112] and targets [size, 16, K]: thumbnails, others, those with small writing."""
    tiles, targets = [], []
    pages = int(share_of_pages * size)
    moved = [rolled(rng, page) for page in pool.pages.pick(rng, pages)]
    for one in pool.pick(rng, size - pages) + moved:
        tile = len(one.tiles) - 1
        if tile and one.scene.kind == "small" and rng.random() < 0.85:
            tile = int(one.targets[:-1, :, DIGIT:COVER_REGION].sum((1, 2)).argmax())
        elif tile and rng.random() < 0.3:
            tile = int(rng.integers(tile))
        tiles.append(one.tiles[tile])
        targets.append(one.targets[tile])
    return torch.stack(tiles), torch.from_numpy(np.stack(targets))


def _tiled(rng: np.random.Generator, pool: Pool, plan: Plan) -> list[Sample]:
    """Samples of one number of tiles, as many as the step's budget of tiles allows."""
    groups = sorted(pool.tiled(small=bool(rng.random() < plan.small_share)).items())
    odds = np.array([len(members) for _, members in groups], float)
    tiles, members = groups[rng.choice(len(groups), p=odds / odds.sum())]
    return [members[i] for i in rng.choice(len(members), max(2, plan.tiles // plan.workers // tiles))]


def speak_batches(
    rng: np.random.Generator, writer: Writer, pool: Pool, plan: Plan, weights: Mapping[str, float]
) -> list[Batch]:
    """A worker's two or three batches of one step of the later stages; `weights` of the kinds of questions."""
    numbers = pool.written(rng, plan.numbers // plan.workers)
    batches = [
        picture_batch(
            rng, writer, pool.pick(rng, plan.pictures // plan.workers), full=False, weights=weights
        ),
        picture_batch(rng, writer, numbers, full=False, blocks=1),
    ]
    which = rng.random()
    if which < 0.55:
        batches.append(picture_batch(rng, writer, _tiled(rng, pool, plan), full=True, weights=weights))
    elif which < 0.7:
        shapes = [one for one in pool.pick(rng, 40) if one.scene.things]
        half = min(len(shapes) // 2, 12)
        pairs = list(zip(shapes[:half], shapes[half : 2 * half], strict=True))
        batches.append(pair_batch(rng, writer, pairs, full=False))
    elif which < 0.8:
        batches.append(talk_batch(rng, writer))
    return batches


class Trainer:
    """One worker of a run: model, throw-away heads, optimiser, step. All workers hold the same after every step."""

    def __init__(self, plan: Plan, tokenizer: Tokenizer, rank: int) -> None:
        self.plan, self.rank = plan, rank
        self.model: InternVLForConditionalGeneration = untrained(tokenizer, plan.seed)
        # twice as fast as SDPA on a CPU when training
        self.model.model.vision_tower.set_attn_implementation("eager")
        self.model.model.language_model.set_attn_implementation("eager")
        self.heads = CellHead(DECODER_HIDDEN)
        self.writer = Writer(tokenizer)
        self.step = 0
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        inner = [p for name, p in self.model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
        chosen = {id(p) for p in inner}
        others = [p for p in self.parameters if id(p) not in chosen]
        self.optimisers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(inner, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        )

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
            batch = picture_batch(rng, self.writer, samples, full=False, weights=LOOKUP_WEIGHTS)
            losses = self._answer([batch], decoder_alone=True)
        elif self.step < self.plan.polish_from - self.plan.speak_steps:
            batches = speak_batches(rng, self.writer, pool, self.plan, WEIGHTS)
            losses = self._answer(batches, decoder_alone=True)
        else:
            weights = WEIGHTS if self.step < self.plan.polish_from else POLISH_WEIGHTS
            batches = speak_batches(rng, self.writer, pool, self.plan, weights)
            losses = self._answer(batches, decoder_alone=False)
            losses |= self._see(rng, pool, self.plan.see_batch // 2, self.plan.cell_weight)
        self._average()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
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
        save(self.model, out)
        fresh = state.with_suffix(".writing")
        torch.save(
            {
                "model": self.model.state_dict(),
                "heads": self.heads.state_dict(),
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
        for optimiser, state_dict in zip(self.optimisers, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state_dict)
        self.step = kept["step"]


def run(trainer: Trainer, pool: Pool, out: Path, state: Path, every: int) -> None:
    """Steps to the end of the plan; worker 0 logs every 50, and measures and saves every `every`."""
    total = trainer.plan.steps
    held = held_out(300) if trainer.rank == 0 else []
    began, mean = time.monotonic(), {}  # type: float, dict[str, float]
    while trainer.step < total:
        for name, loss in trainer.take_step(pool).items():
            mean[name] = 0.95 * mean.get(name, loss) + 0.05 * loss
        if trainer.step % RENEW_EVERY == 0:
            pool.renew(RENEW_EVERY)
        if trainer.rank > 0:
            continue
        if trainer.step % 50 == 0:
            shown = "  ".join(f"{name} {loss:.3f}" for name, loss in mean.items())
            print(f"step {trainer.step}/{total}  {time.monotonic() - began:.0f} s  {shown}", flush=True)
        if trainer.step % every == 0 or trainer.step == total:
            trainer.save(out, state)
            if trainer.step > trainer.plan.see_steps:
                found = accuracy(trainer.model, trainer.writer, held)
                print(
                    "  " + "  ".join(f"{name} {100 * share:.0f}" for name, share in found.items()), flush=True
                )


def work(rank: int, plan: Plan, args: argparse.Namespace, meeting: str) -> None:
    """One worker's whole run; workers find each other through the file `meeting`."""
    keep_freed_memory()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=plan.workers)
    trainer = Trainer(plan, Tokenizer.from_file(str(args.out / "tokenizer.json")), rank)
    if args.resume:
        trainer.load(args.state)
    elif args.start is not None:
        trainer.start(args.start)
    pool = Pool(plan.seed, args.pool // plan.workers, rank, plan.workers, trainer.step)
    run(trainer, pool, args.out, args.state, args.every)
    dist.destroy_process_group()


def arguments() -> argparse.Namespace:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.train",
        description="Train the embedded vision-language model from nothing, on scenes drawn as it goes.",
        epilog="How the committed weights were made is told in the model card, demo/README.md. "
        "Two processor cores to themselves take about an hour and a half. Stop it at any time and go on with "
        "--resume, or go on from committed weights with --start demo/model --see-steps 0 --lookup-steps 0.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        default=Path("demo/model"),
        help="where the checkpoint goes, in Hugging Face format",
    )
    add("--state", type=Path, default=Path("train_state.pt"), help="where heads, optimiser and step are kept")
    add("--resume", action="store_true", help="go on from --state; the other flags may differ from before")
    add("--start", type=Path, help="start from this checkpoint's weights, at step 0")
    add("--seed", type=int, default=0, help="of the first weights, the scenes and the order of everything")
    add(
        "--see-steps",
        type=int,
        default=5000,
        help="steps of the first stage: tower and projector, cell by cell",
    )
    add(
        "--lookup-steps",
        type=int,
        default=400,
        help="steps of the second stage that ask for colours of shapes",
    )
    add("--listen-steps", type=int, default=2800, help="further steps of the second stage: the decoder alone")
    add("--speak-steps", type=int, default=1000, help="steps of the third stage: everything together")
    add("--polish-steps", type=int, default=700, help="steps of the last stage: the same, slowly")
    add("--rate", type=float, default=1.5e-3, help="highest learning rate of AdamW")
    add("--see-batch", type=int, default=72, help="tiles a step in the first stage")
    add(
        "--pictures",
        type=int,
        default=24,
        help="one-tile pictures a step in the later stages, six questions each",
    )
    add(
        "--numbers",
        type=int,
        default=32,
        help="pictures a step of the later stages asked for their number alone",
    )
    add("--tiles", type=int, default=56, help="tiles a step of pictures seen at full detail")
    add("--cell-weight", type=float, default=0.4, help="weight of the first stage's loss in the third")
    add("--small-share", type=float, default=0.6, help="share of small writing among full-detail batches")
    add(
        "--pool",
        type=int,
        default=2000,
        help="scenes kept in memory (220 kB each), and twice as many of one tile",
    )
    add("--pages", type=float, default=0.65, help="share of pages full of numbers in the first stage")
    add("--every", type=int, default=200, help="steps between checkpoints")
    add(
        "--workers",
        type=int,
        default=2,
        help="processes of one thread each, between which every step is divided",
    )
    args = parser.parse_args()
    if args.resume and args.start is not None:
        parser.error("--resume and --start were both given; --resume already says where to start")
    if args.resume and not args.state.is_file():
        parser.error(f"--resume was given but --state {args.state} is no file")
    return args


def main() -> None:
    """Runs the command."""
    args = arguments()
    plan = Plan(**{name: getattr(args, name) for name in Plan.__slots__})
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "tokenizer.json").exists():
        given = args.start and Tokenizer.from_file(str(args.start / "tokenizer.json"))
        save_processor(given or train_tokenizer(), args.out)
    print(f"{plan.workers} workers draw {args.pool} scenes, then train", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, (plan, args, f"{folder}/meeting"), nprocs=plan.workers)


if __name__ == "__main__":
    main()
