"""The steps of each part: they can run from the checkout alone, rehearsed with the same names, and are ordered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.encoders.bench import _selection
from benchmarks.gpu import engine, kernels
from benchmarks.gpu.__main__ import SECONDS
from benchmarks.gpu.step import Step
from kernels.patch_embed.bench import ON_CPU, ON_GPU
from kernels.selection import Selection

ROOT = Path(__file__).parents[3]
ABSENT = (
    "pydantic",
    "fastapi",
    "blake3",
    "msgspec",
    "vllm",
    "uvicorn",
    "openai",
    "pybase64",
    "prometheus_client",
)
"""Of the project's packages, those that a machine with a GPU may lack."""


def plan(part: str, *, rehearsal: bool) -> list[Step]:
    if part == "kernels":
        return kernels.steps(Path("/results"), "abc", rehearsal=rehearsal)
    return engine.steps(Path("/results"), Path("vllm.tar.xz"), Path("/unpacked"), rehearsal=rehearsal)


PARTS = pytest.mark.parametrize("part", SECONDS)


@PARTS
def test_a_rehearsal_has_the_same_steps(part: str) -> None:
    real, rehearsal = (plan(part, rehearsal=rehearsal) for rehearsal in (False, True))
    assert [(step.name, step.after) for step in real] == [(step.name, step.after) for step in rehearsal]
    assert all("cuda" not in step.command and "TRITON_ATTN" not in step.command for step in rehearsal)


@PARTS
def test_each_step_comes_after_those_that_it_needs(part: str) -> None:
    steps = plan(part, rehearsal=False)
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    for place, step in enumerate(steps):
        assert set(step.after) <= set(names[:place])
        assert step.seconds <= SECONDS[part]


@PARTS
def test_each_step_is_a_module_that_is_there(part: str) -> None:
    for step in plan(part, rehearsal=False):
        assert step.command[:2] == (sys.executable, "-m")
        assert find_spec(step.command[2]) is not None


def given(step: Step, flag: str) -> list[str]:
    words = step.command
    return [value for name, value in zip(words, words[1:], strict=False) if name == flag]


@pytest.mark.parametrize("rehearsal", [False, True])
def test_every_shape_and_batch_is_one_of_the_benchmarks(rehearsal: bool) -> None:
    for step in plan("kernels", rehearsal=rehearsal):
        batches = tuple(map(int, given(step, "--batch")))
        if shapes := given(step, "--shape"):
            for shape in shapes:
                only = Selection((shape,), batches)
                assert only.of(ON_CPU if rehearsal else ON_GPU), (step.name, shape)
        if encoders := given(step, "--encoder"):
            (sizes,) = _selection(not rehearsal, encoders, batches).values()
            assert sizes == list(batches)


def test_tests_of_gpus_warn_of_foreign_plugins_and_do_not_fail_of_them() -> None:
    (step,) = (step for step in plan("kernels", rehearsal=False) if step.name == "tests")
    assert step.environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] == "1"
    assert "filterwarnings=default" in step.command
    assert kernels.tests(parallel=True)[3:6] == ("-p", "xdist", "-n")
    assert "xdist" not in kernels.tests(parallel=False)


def test_rungs_leave_out_one_crutch_after_the_other() -> None:
    flags = {
        step.name: step.command[step.command.index("--") + 1 :] if "--" in step.command else ()
        for step in plan("engine", rehearsal=False)
    }
    assert flags["text"] == flags["picture"] == ("--enforce-eager", "--attention-backend", "TRITON_ATTN")
    assert flags["attention"] == ("--enforce-eager",)
    assert flags["captured"] == ()


def test_what_is_unpacked_goes_before_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "DRIVER", tmp_path)
    base: Mapping[str, str] = {"PYTHONPATH": "/own", "LD_LIBRARY_PATH": "/lib"}
    made = engine.environment(base, Path("/checkout"), Path("/unpacked"))
    assert made["PYTHONPATH"] == "/unpacked:/checkout:/own"
    assert made["LD_LIBRARY_PATH"] == f"{tmp_path}:/lib"
    assert engine.environment({}, Path("/checkout"), None)["PYTHONPATH"] == "/checkout"


def test_without_an_archive_nothing_is_unpacked() -> None:
    steps = engine.steps(Path("/results"), None, Path("/unpacked"), rehearsal=False)
    assert [step.name for step in steps] == ["library", "text", "picture", "attention", "captured"]
    assert steps[0].after == ()


def test_the_kernels_steps_import_without_what_serves_requests() -> None:
    """As a machine has it that knows PyTorch and Transformers, and nothing of the service."""
    modules = {step.command[2] for step in plan("kernels", rehearsal=False)} - {"pytest"}
    code = (
        "import importlib, sys\n"
        f"for name in {ABSENT!r}: sys.modules[name] = None\n"
        f"for name in {sorted(modules | {'benchmarks.gpu.__main__', 'benchmarks.gpu.machine'})!r}:\n"
        "    importlib.import_module(name if name != 'benchmarks.encoders' else name + '.__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_test_that_is_marked_for_gpus_is_run() -> None:
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text()]
    run = [ROOT / place for place in kernels.TESTS]
    missed = [
        path
        for path in marked
        if path != Path(__file__) and not any(path.is_relative_to(place) for place in run)
    ]
    assert len(marked) > 5 and missed == []


def test_tests_of_gpus_are_collected_without_what_serves_requests() -> None:
    words = kernels.tests(parallel=False)[3:]
    code = (
        "import sys\n"
        f"for name in {ABSENT!r}: sys.modules[name] = None\n"
        "import pytest\n"
        f"sys.exit(pytest.main(['--collect-only', '-q', *{words!r}]))\n"
    )
    environment = {**os.environ, **kernels.TEST_ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    for name in ("test_gpu.py", "test_blocks_gpu.py", "test_tower_gpu.py"):
        assert f"<Module {name}>" in done.stdout
    assert "ERROR" not in done.stdout
