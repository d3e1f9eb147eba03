"""The steps that need the checkout alone: facts and ceilings, each kernel once, tests, benchmarks, memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.step import Step

PYTHON = sys.executable
ROOT = Path(__file__).parents[2]
TESTS = (
    "tests/kernels",
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("tests/service/**/test_*gpu.py"))),
)
"""Not all of the service's: some of those need what a machine with a GPU may lack."""
TESTERS = 8
"""Processes, where there are as many cores."""
HANGS_SECONDS = 60
"""After which a test says where it is."""


def steps(results: Path, commit: str, *, rehearsal: bool) -> list[Step]:
    """In the order of what is lost least if time ends early."""
    device = "cpu" if rehearsal else "cuda"

    def own(name: str) -> tuple[str, ...]:
        return (
            *_module(f"benchmarks.gpu.steps.{name}"),
            "--device",
            device,
            "--write",
            str(results / f"{name}.jsonl"),
        )

    def kernels(name: str, *flags: str) -> tuple[str, ...]:
        return (
            *_module("kernels.bench"),
            *_common(results / f"{name}.csv", commit, device, rehearsal),
            *flags,
        )

    def encoders(name: str, *flags: str) -> tuple[str, ...]:
        patience = ("--patience", "0.1" if rehearsal else "3")
        common = _common(results / f"{name}.csv", commit, device, rehearsal)
        return (*_module("benchmarks.encoders"), *common, *patience, *flags)

    clip = _encoder("demo/14-112" if rehearsal else "CLIP-ViT-L/14-336", 1, 2 if rehearsal else 64)
    mixed = "Qwen-small/14-mixed" if rehearsal else "Qwen2.5-VL/14-mixed"
    one = "Qwen-small/14-mixed" if rehearsal else "Qwen2.5-VL/14-448"
    towers = ("demo/14-112",) if rehearsal else ("ViT-L/14-336", "InternViT-300M/14-448")
    batch = ("--batch", "8" if rehearsal else "64")
    shapes = tuple(word for tower in towers for word in ("--shape", tower))
    # a CPU compiles nothing here, and has one attention
    compiled = ("--body", "transformers" if rehearsal else "compiled")
    cudnn = ("--attention", "math" if rehearsal else "cudnn")
    triton = ("--body", "transformers" if rehearsal else "triton")
    triton_packed = () if rehearsal else (*triton, "--attention", "varlen")
    return [
        Step(
            name="ceilings",
            what="bytes copied and products computed at best",
            command=own("ceilings"),
            seconds=40,
        ),
        Step(
            name="once",
            what="each kernel once against fp64",
            command=own("once"),
            seconds=60,
            environment={"CUDA_LAUNCH_BLOCKING": "1"},
        ),
        Step(
            name="patch-embed",
            what="against the eager chain, torch.compile and the bare product",
            command=kernels("patch-embed", "--kernel", "patch_embed", *shapes, *batch),
            seconds=70,
        ),
        Step(
            name="encoder",
            what="a tower of tiles against transformers",
            command=encoders("encoder", *clip),
            seconds=70,
        ),
        Step(
            name="tests",
            what="tests that need a GPU",
            command=tests(),
            seconds=120,
            environment=TEST_ENVIRONMENT,
        ),
        Step(
            name="packed",
            what="a tower of pictures of any sizes: eight mixed, and one",
            command=encoders("packed", *_encoder(mixed, 8)),
            seconds=60,
        ),
        Step(
            name="packed-one",
            what="a tower of pictures of any sizes: one small picture",
            command=encoders("packed-one", *_encoder(one, 1)),
            seconds=45,
        ),
        Step(
            name="encoder-triton",
            what="a tower of tiles with our kernels between the products",
            command=encoders("encoder-triton", *clip, *triton),
            seconds=60,
        ),
        Step(
            name="packed-triton",
            what="one small picture with our kernels between the products, and one attention call a layer",
            command=encoders("packed-triton", *_encoder(one, 1), *triton_packed),
            seconds=45,
        ),
        Step(
            name="between",
            what="the kernels between the products against torch's and a copy",
            command=kernels("between", *BETWEEN, "--batch", "1" if rehearsal else "64"),
            seconds=60,
        ),
        Step(
            name="encoder-compiled",
            what="the same with compiled blocks",
            command=encoders("encoder-compiled", *clip, *compiled),
            seconds=70,
        ),
        Step(
            name="encoder-cudnn",
            what="the same with cuDNN's attention",
            command=encoders("encoder-cudnn", *clip, *cudnn),
            seconds=45,
        ),
        Step(
            name="memory", what="what an encoder takes, against the plan", command=own("memory"), seconds=40
        ),
    ]


BETWEEN = tuple(word for name in ("rotary", "activation", "add_norm") for word in ("--kernel", name))

TEST_ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Plugins of a machine that is not ours warn of what we cannot mend, and warnings are errors."""


def tests(parallel: bool | None = None) -> tuple[str, ...]:
    """Each result is in the log as it comes; side by side where pytest-xdist is installed."""
    parallel = find_spec("xdist") is not None if parallel is None else parallel
    side_by_side = ("-p", "xdist", "-n", str(min(TESTERS, os.cpu_count() or 1))) if parallel else ()
    hangs = ("-o", f"faulthandler_timeout={HANGS_SECONDS}")
    return (
        *_module("pytest"),
        *side_by_side,
        "-v",
        "-m",
        "gpu",
        "--continue-on-collection-errors",
        "-o",
        "filterwarnings=default",
        *hangs,
        *TESTS,
    )


def _module(name: str) -> tuple[str, ...]:
    return (PYTHON, "-m", name)


def _common(rows: Path, commit: str, device: str, rehearsal: bool) -> tuple[str, ...]:
    rounds = ("--rounds", "2") if rehearsal else ()
    return ("--device", device, "--commit", commit, "--write", str(rows), *rounds)


def _encoder(name: str, *batches: int) -> Sequence[str]:
    return ("--encoder", name, *(word for batch in batches for word in ("--batch", str(batch))))
