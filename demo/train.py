"""Trains the embedded model from nothing: `python -m demo.train --help`.

Five stages, as the language loss alone does not find the picture. First (`see`) only tower and projector learn, each
soft token told what its cell of a tile holds, by linear heads that are thrown away. Then (`listen`) only the decoder
learns to answer, from a tower that can already see, and at first almost only questions that a look at one shape must
answer: a decoder that starts beside a blind tower, or on a mixture of questions, learns to guess among the colours of a
picture, and never leaves that habit. Then (`speak`) everything learns together, with the first loss
kept on at a smaller weight, then (`polish`) the same at a low rate, asked most of what is learnt last: counts,
positions, whether something is there. Last (`grounds`), tower and projector learn to see through grounds of every
colour: their soft tokens of a picture become those of the same picture on a greyish ground. A step in between is one
batch of pictures seen as one tile, one of numbers, and often one of pictures seen as all their tiles, of pairs of
pictures, or of talk without a picture.

Each worker is a process with one thread, its own scenes and its own part of every step; gradients are averaged. On a
machine that others use too, this loses far less than one process with threads, which meet after every operation.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch.multiprocessing.spawn import spawn
from transformers.utils import logging

from demo.plan import Plan
from demo.pool import Pool
from demo.tokens import save_processor, train_tokenizer
from demo.trainer import Trainer
from demo.validate import accuracy, held_out

RENEW_EVERY = 10  # steps between two renewals of a worker's pool


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory: fresh pages for every activation cost more than the arithmetic."""
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):
        for option, value in ((-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 1 << 28)):
            libc.mallopt(option, value)


def run(trainer: Trainer, pool: Pool, out: Path, state: Path, every: int) -> None:
    """Steps to the end of the plan; worker 0 logs every 50, and measures and saves every `every`."""
    total = trainer.plan.steps
    held = held_out(300) if trainer.rank == 0 else []
    began, mean = time.monotonic(), {}  # type: float, dict[str, float]
    while trainer.step < total:
        for name, loss in trainer.take_step(pool).items():
            mean[name] = 0.95 * mean.get(name, loss) + 0.05 * loss
        if trainer.step % RENEW_EVERY == 0 and trainer.step < trainer.plan.grounds_from:
            pool.renew(RENEW_EVERY)
        if trainer.rank > 0:
            continue
        if trainer.step % 50 == 0:
            shown = "  ".join(f"{name} {loss:.3f}" for name, loss in mean.items())
            print(f"step {trainer.step}/{total}  {time.monotonic() - began:.0f} s  {shown}", flush=True)
        if trainer.step % every == 0 or trainer.step == total:
            trainer.save(out, state)
            if trainer.step > trainer.plan.see_steps:
                found = accuracy(trainer.learnt, trainer.writer, held)
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
    # the last stage draws what it needs by itself
    in_use = trainer.step < plan.grounds_from
    pool = Pool(plan.seed, args.pool // plan.workers if in_use else 1, rank, plan.workers, trainer.step)
    run(trainer, pool, args.out, args.state, args.every)
    dist.destroy_process_group()


def arguments() -> argparse.Namespace:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.train",
        description="Train the embedded vision-language model from nothing, on scenes drawn as it goes.",
        epilog="How the committed weights were made is told in the model card, demo/README.md. "
        "Two processor cores take about two and a half hours. Stop it at any time and go on with "
        "--resume, or go on from committed weights with --start demo/model and 0 steps of the stages behind them.",
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
    add("--polish-steps", type=int, default=2000, help="steps of the fourth stage: the same, slowly")
    add("--grounds-steps", type=int, default=600, help="steps of the last stage: grounds of every colour")
    add("--pairs", type=int, default=20, help="pictures a step in the last stage")
    add("--ground-share", type=float, default=0.7, help="share of these on grounds of any colour")
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
