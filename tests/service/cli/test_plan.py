"""`patchbay plan` prints what serve would plan on such a machine, and reads no weights to do it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.app.prepare import dtype_of, need_of, overrides_of
from service.cli.main import main
from service.cli.measured import Measured, Replicas
from service.cli.plan import parse_kinds
from service.cli.plan_report import _replicas
from service.domain import Detail
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.planning.gpus import DATA_SHEETS
from service.planning.machine import Machine
from service.planning.plan import make_plan
from service.planning.resources import GIB
from service.planning.sizing import Kind
from service.settings import load
from tests.service.tiny_qwen_vl import write_checkpoint

MODEL = Path("demo/model")
HD = ["--image", "1920x1080"]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 1
    return capsys.readouterr().err


def test_the_plan_is_the_one_that_serve_would_make(capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "--gpu",
        "l4",
        "--cores",
        "8",
        "--memory",
        "32",
        "--shared-memory",
        "4",
        "--max-model-len",
        "2048",
    ]
    found = json.loads(told(capsys, *HD, *given, "--json"))["plan"]
    settings = load({"max_model_len": "2048"}, {})
    checkpoint = load_checkpoint(settings.model)
    geometry = load_geometry(checkpoint.path)
    need = need_of(checkpoint, geometry, dtype_of(settings, checkpoint, geometry))
    machine = Machine(tuple(range(8)), 32 * GIB, 4 * GIB, DATA_SHEETS["l4"].gpu)
    plan = make_plan(machine, need, overrides_of(settings, "handles"))
    assert found == {name: value for name, value in asdict(plan).items() if name != "lines"}
    assert found["max_model_len"] == 2048 and found["device"] == "cuda"


def test_people_see_the_bound_and_its_knob(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, *HD, "--gpu", "h200", "--max-inflight", "7")
    assert "7  requests in flight        <- the limit: max_inflight" in out
    assert "1920x1080       1    high      9      576          144" in out
    assert "ceiling from the data sheet, assuming that no image or text repeats" in out


def test_without_a_gpu_there_is_no_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No ceiling can be calculated for a CPU: measure it with a load test." in told(capsys, *HD)
    assert json.loads(told(capsys, *HD, "--json"))["ceiling"] is None


def test_weights_need_not_be_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    here = json.loads(told(capsys, *HD, "--json"))["weights"]
    assert json.loads(told(capsys, str(folder), *HD, "--json"))["weights"] == here


def test_a_configuration_that_makes_no_model_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["model_type"] = "no such model"
    (folder / "config.json").write_text(json.dumps(config))
    assert f"transformers makes no model of {folder / 'config.json'}" in refused(capsys, str(folder), *HD)


def test_of_a_model_with_cells_an_image_is_told_in_cells(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, tokenizer=True)
    out = told(capsys, str(tmp_path), "--image", "640x480", "--gpu", "l4")
    assert "640x480       1     low     54      216           54" in out
    assert "requests/s; each takes" in out


def test_an_image_that_the_model_does_not_take_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, tokenizer=True)
    words = (
        "image: got 2001x10; this model takes no side shorter than 1 px or longer than 200 times the other"
    )
    assert words in refused(capsys, str(tmp_path), "--image", "2001x10")
    told(capsys, str(tmp_path), "--image", "2000x10")
    told(capsys, "--image", "2001x10")


def test_kinds_are_read_as_they_are_written() -> None:
    assert parse_kinds(["1920x1080", "640x480:2.5", "10x20:3:low"]) == (
        Kind(1920, 1080, Detail.AUTO, 1.0),
        Kind(640, 480, Detail.AUTO, 2.5),
        Kind(10, 20, Detail.LOW, 3.0),
    )


@pytest.mark.parametrize(
    "text", ["", "1920", "1920x", "1920x1080:", "1920x1080:1:best", "-1x3", "0x3", "3x3:0", "1x1:x"]
)
def test_other_kinds_are_refused_with_what_came(text: str) -> None:
    with pytest.raises(ConfigurationError, match="image: got"):
        parse_kinds([text])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpu", "h300"], "gpu: got 'h300'; known GPUs are"),
        (["--cores", "0"], "cores: got 0; allowed is 1 or more"),
        (["--memory", "0"], "memory: got 0; allowed is more than 0 GiB"),
        (["--memory", "nan"], "memory: got nan"),
        (["--shared-memory", "-1"], "shared-memory: got -1"),
        (["--rate", "0", "--measured", "1"], "rate: got 0; allowed is more than 0 requests/s"),
        (["--rate", "5"], "rate and measured go together"),
        (["--measured", "5"], "rate and measured go together"),
        (["--rate", "5", "--measured", "0"], "measured: got 0"),
        (["--values", "--engine-url", "http://a:1"], "engine_url names an engine elsewhere"),
        (["--", "--max-num-seqs", "many"], "--max-num-seqs must be a whole number above 0; got 'many'"),
        (["--", "--max-num-seqs"], "--max-num-seqs must be a whole number above 0; got ''"),
        (["--images-per-request", "9"], "images-per-request: got 9, but max_images allows 8"),
        (["--answer-tokens", "0"], "answer-tokens: got 0"),
        (["--max-inflight", "0"], "max_inflight"),
        (["--arena-bytes", "1"], "arena_bytes"),
    ],
)
def test_impossible_options_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in refused(capsys, *HD, *arguments)


def test_demo_is_the_embedded_model_wherever_one_stands(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = told(capsys, *HD)
    monkeypatch.chdir(tmp_path)
    assert told(capsys, "demo", *HD) == default
    assert "name        patchbay-demo" in default
    assert load({"model": "./demo"}, {}).embedded is False


def test_replicas_follow_from_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--rate", "100", "--measured", "12.5"]
    out = told(capsys, *HD, "--gpu", "l4", *wanted)
    assert "12  for 100 requests/s and 50% on top, where one sustains 12.5 (as given)" in out
    assert "13  so that one can be down" in out
    bare = told(capsys, *HD, *wanted, "--headroom", "0")
    assert "8  for 100 requests/s and 0% on top" in bare
    assert "above the ceiling" not in out
    found = json.loads(told(capsys, *HD, *wanted, "--json"))["replicas"]
    assert found == {
        "count": 12,
        "rate": 100,
        "headroom": 0.5,
        "measured": {"rate": 12.5, "source": "as given", "at_least": False},
    }


def test_a_rate_that_a_test_did_not_exceed_is_told_as_such() -> None:
    """Such as the calm of a spike."""
    replicas = Replicas.of(100, 0.5, Measured(12.5, "a soak", at_least=True))
    sizing = SimpleNamespace(ceiling=None)
    assert "where one sustains at least 12.5 (a soak)" in "\n".join(_replicas(sizing, replicas))  # type: ignore[arg-type]


def test_a_measured_rate_above_the_ceiling_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, *HD, "--gpu", "l4", "--rate", "100", "--measured", "1e9")
    assert "The measured rate is above the ceiling" in out


@pytest.mark.parametrize("flags", [["--max-num-seqs", "5"], ["--max-num-seqs=5"], ["--max_num_seqs", "5"]])
def test_the_engines_flags_bound_the_plan(capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    out = told(capsys, *HD, "--gpu", "l4", "--", "--enable-lora", *flags)
    assert "5  sequences of the engine   <- the limit: -- --max-num-seqs" in out


def test_a_mixture_of_experts_gets_no_ceiling(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_experts"] = 8
    (folder / "config.json").write_text(json.dumps(config))
    assert "No ceiling can be calculated for a mixture of experts" in told(
        capsys, str(folder), *HD, "--gpu", "l4"
    )
