import re
from pathlib import Path

import pytest
import torch

from kernels.eight_bit.choice import obstacle_to_int8
from service.cli.check import check
from service.errors import ConfigurationError
from service.planning.machine import Machine
from service.planning.resources import MIB
from service.planning.visible_gpu import GPU
from tests.service import tiny_gemma3
from tests.service.planning.test_plan import H200
from tests.service.tiny_qwen_vl import write_checkpoint

OBSTACLE = obstacle_to_int8(torch.device("cpu"), torch.float32)
can_run = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))


def test_it_tells_which_images_the_model_takes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert check({}) == 0
    assert "up to 160 soft tokens each, no side shorter than 1 px\n" in capsys.readouterr().out
    write_checkpoint(tmp_path, tokenizer=True)
    assert check({"model": str(tmp_path), "images": "passthrough"}) == 0
    told = capsys.readouterr().out
    assert (
        "up to 113 soft tokens each, no side shorter than 1 px or longer than 200 times the other\n" in told
    )


def test_it_tells_that_a_cpu_attends_causally_within_images(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny_gemma3.write_checkpoint(tmp_path)
    assert check({"model": str(tmp_path), "device": "cpu"}) == 0
    told = capsys.readouterr().out
    assert "handles: Patchbay encodes the family gemma3 itself" in told
    assert "up to 16 soft tokens each" in told
    assert "attention   causal within images too: vLLM has no other on a CPU" in told
    assert "--enable-mm-embeds" in told
    monkeypatch.setattr("service.cli.check.inspect", lambda _: H200)
    monkeypatch.setattr("service.app.prepare.inspect", lambda _: H200)
    assert check({"model": str(tmp_path), "images": "passthrough"}) == 0
    assert "causal within images" not in capsys.readouterr().out


def test_it_tells_where_metrics_logs_and_traces_go(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"admin_port": "9009", "log_format": "json", "otlp_endpoint": "http://collector:4318"}
    assert check(given) == 0
    told = capsys.readouterr().out
    assert "metrics     /metrics and /metrics/engine on admin port 9009, not on port 8000" in told
    assert "logs        json, level info and above" in told
    assert "traces      http://collector:4318/v1/traces" in told
    assert "--otlp-traces-endpoint http://collector:4318/v1/traces" in told


def test_by_default_all_is_on_one_port_and_nothing_is_traced(capsys: pytest.CaptureFixture[str]) -> None:
    assert check({}) == 0
    told = capsys.readouterr().out
    assert "metrics     /metrics and /metrics/engine with the API on port 8000" in told
    assert "traces      off (otlp_endpoint is unset)" in told
    assert "--otlp-traces-endpoint" not in told


def test_it_tells_how_many_connections_there_may_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server.descriptors.resource.getrlimit", lambda _: (1024, 4096))
    assert check({"max_inflight": "100", "max_connections": "500"}) == 0
    told = capsys.readouterr().out
    assert "clients     500 at most, 100 with a request in flight" in told
    assert "files       984 descriptors when they are all there" in told
    with pytest.raises(ConfigurationError, match=r"max_connections=5000 needs 5640 .* may have 4096.*ulimit"):
        check({"max_connections": "5000"})


def test_it_tells_how_batches_reach_the_device(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check({"device": "cpu"}) == 0
    told = capsys.readouterr().out
    assert "batches     one plain copy each" in told and "attention" not in told
    monkeypatch.setattr("service.cli.check.inspect", lambda _: H200)
    monkeypatch.setattr("service.app.prepare.inspect", lambda _: H200)
    monkeypatch.setattr("service.families.loading.choose_backend", lambda device, requested: "triton")
    assert check({"encoder_graph_bytes": str(20 * MIB), "encoder_attention": "flash"}) == 0
    told = capsys.readouterr().out
    assert "batches     staged in chunks of up to 145 tiles, CUDA graphs for 1, 2" in told
    assert "attention   flash" in told
    assert "at most 20 MiB of it for CUDA graphs" in told


@pytest.mark.parametrize(
    ("gpu", "fault", "line"),
    [
        (GPU("NVIDIA L40S", 45 * 2**30, 3 * 2**30), "", "NVIDIA L40S, 45.0 GiB, 3.0 GiB of it free"),
        (
            GPU("NVIDIA GB10", 120 * 2**30, 2**30, unified=True),
            "",
            "1.0 GiB of it free, shared with the machine",
        ),
        (None, "it says nothing", "GPU         it says nothing"),
        (None, "", "GPU         none"),
    ],
)
def test_it_tells_how_much_of_the_gpu_is_free(
    gpu: GPU | None,
    fault: str,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "service.cli.check.inspect", lambda _: Machine((0,), 2**33, 2**32, gpu=gpu, gpu_fault=fault)
    )
    assert check({"device": "cpu"}) == 0
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "started by serve:"),
        ({"engine_url": "http://127.0.0.1:9000"}, "start it yourself, before or after"),
        (
            {"engine_url": "http://gpu-7.example:9000", "images": "passthrough"},
            "start it on gpu-7.example, with Python and the model as they are called there",
        ),
    ],
)
def test_it_tells_who_starts_the_engine_and_where(
    settings: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check({"device": "cpu", **settings}) == 0
    assert words in capsys.readouterr().out


def test_it_tells_each_of_several_gpus_and_how_the_engine_is_divided(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = GPU("NVIDIA L4", 22 * 2**30, 21 * 2**30)
    machine = Machine((0,), 2**34, 2**33, gpu, more_gpus=(gpu, gpu))
    for module in ("service.cli.check", "service.app.prepare"):
        monkeypatch.setattr(f"{module}.inspect", lambda _: machine)
    monkeypatch.setattr("service.cli.check._kernels", lambda _: [])  # they would load a tower onto a GPU
    assert check({"tensor_parallel_size": 2, "encoder_gpu": "own"}) == 0
    out = capsys.readouterr().out
    assert out.count("NVIDIA L4, 22.0 GiB, 21.0 GiB of it free") == 3
    assert "ranks       2: tensor_parallel_size 2" in out
    assert "CUDA_VISIBLE_DEVICES=1,2" in out and "--tensor-parallel-size 2" in out


@can_run
def test_it_tells_what_int8_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert check({"device": "cpu"}) == 0
    assert "precision   full\n" in capsys.readouterr().out
    assert check({"device": "cpu", "encoder_precision": "int8"}) == 0
    told = re.search(
        r"precision   int8: the soft tokens of a test picture differ from full precision by (\d+\.\d) %\n",
        capsys.readouterr().out,
    )
    assert told is not None and 0.1 < float(told[1]) < 5


@can_run
def test_it_tells_where_a_full_gpu_leaves_nothing_to_compare_with(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("service.app.precision.soft_token_error", full)
    assert check({"device": "cpu", "encoder_precision": "int8"}) == 0
    assert "precision   int8; not compared with full: the GPU has no room for" in capsys.readouterr().out


def test_a_processor_without_int8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_vnni_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    with pytest.raises(ConfigurationError, match="encoder_precision: int8 cannot run: this processor has no"):
        check({"device": "cpu", "encoder_precision": "int8"})
