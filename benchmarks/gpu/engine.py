"""The whole service on a real engine, as a ladder: each rung asks for a little more than the one before.

A rung that fails does not say that the next must: another attention may work. Only the last is left out where the one
before it failed.

vLLM is installed, or comes in an archive of `benchmarks/gpu/bundle`. The supported stack is that of
`deploy/constraints/cuda.txt`; beside another PyTorch these rungs show that it works, not how fast it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.step import Step

PYTHON = sys.executable
DRIVER = Path("/usr/local/nvidia/lib64")
"""Where some containers have the driver's libraries without telling the linker."""
CAREFUL = ("--enforce-eager", "--attention-backend", "TRITON_ATTN")
"""Flags of vLLM that leave out what most often fails on a stack that it was not built for."""
EAGER = CAREFUL[:1]


def steps(results: Path, archive: Path | None, unpacked: Path, *, rehearsal: bool) -> list[Step]:
    # vLLM's build for CPUs has one attention, and is always eager
    careful, eager = ((), ()) if rehearsal else (CAREFUL, EAGER)
    questions, load = ("6", "4") if rehearsal else ("40", "15")
    asked = ("--questions", questions, "--seconds", load)

    def rung(name: str, *words: str, flags: tuple[str, ...]) -> tuple[str, ...]:
        own = (PYTHON, "-m", "benchmarks.gpu.steps.rung", "--write", str(results / "rungs.jsonl"))
        further = ("--", *flags) if flags else ()
        return (*own, "--logs", str(results), "--name", name, *words, *further)

    ladder = [
        Step(
            name="library",
            what="vLLM's library and one of its kernels",
            command=(
                PYTHON,
                "-m",
                "benchmarks.gpu.steps.library",
                "--device",
                "cpu" if rehearsal else "cuda",
            ),
            seconds=60,
        ),
        Step(
            name="text",
            what="vLLM alone, text",
            command=rung("text", "--server", "vllm", "--do", "text", flags=careful),
            seconds=70,
        ),
        Step(
            name="picture",
            what="Patchbay: a picture, an evaluation, a load; eager",
            command=rung("picture", *_all("picture", "evaluate", "load"), *asked, flags=careful),
            seconds=110,
        ),
        Step(
            name="attention",
            what="with vLLM's own choice of attention",
            command=rung("attention", *_all("picture"), flags=eager),
            seconds=60,
        ),
        Step(
            name="captured",
            what="as it is served: compiled, with CUDA graphs; a picture, an evaluation, a load",
            command=rung("captured", *_all("picture", "evaluate", "load"), *asked, flags=()),
            seconds=150,
            after=("attention",),
        ),
    ]
    if archive is None:
        return ladder
    unpack = Step(
        name="unpack",
        what=f"vLLM out of {archive.name}",
        command=(PYTHON, "-m", "benchmarks.gpu.steps.unpack", str(archive), str(unpacked)),
        seconds=60,
    )
    return [unpack, *(_after(step, "unpack") for step in ladder)]


def environment(base: Mapping[str, str], folder: Path, unpacked: Path | None) -> dict[str, str]:
    """`base` with the checkout, and what was unpacked, where Python and the linker look."""
    paths = [*([str(unpacked)] if unpacked else []), str(folder), base.get("PYTHONPATH", "")]
    made = {**base, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if DRIVER.is_dir():
        made["LD_LIBRARY_PATH"] = os.pathsep.join(
            filter(None, [str(DRIVER), base.get("LD_LIBRARY_PATH", "")])
        )
    return made


def _all(*names: str) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--do", name))


def _after(step: Step, name: str) -> Step:
    return replace(step, after=(name, *step.after))
