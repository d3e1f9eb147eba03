"""Values that `patchbay plan` prints: the chart takes them, and its pods make the same plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from service.app.prepare import dtype_of, need_of, overrides_of
from service.cli.main import main
from service.cli.plan_options import imagined, left_for_a_pod
from service.cli.values import OWN
from service.families import load_checkpoint, load_geometry
from service.planning.gpus import DATA_SHEETS
from service.planning.machine import Machine
from service.planning.plan import make_plan
from service.planning.resources import GIB, MIB, ResourcePlan
from service.settings import Settings, load
from tests.helm.charts import CHART, objects, over, pod, profile, server, variables

SCHEMA = yaml.safe_load((CHART / "values.schema.json").read_text())
MODEL = Path("demo/model")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["plan", *arguments[:1], "--image", "1920x1080", "--values", *arguments[1:]]) == 0
    values: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    jsonschema.Draft202012Validator(SCHEMA).validate(values)
    return values


def number(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": MIB, "Gi": GIB}[quantity[-2:]]


def plan_of(settings: Settings, machine: Machine) -> ResourcePlan:
    checkpoint = load_checkpoint(settings.model)
    geometry = load_geometry(checkpoint.path)
    return make_plan(
        machine,
        need_of(checkpoint, geometry, dtype_of(settings, checkpoint, geometry)),
        overrides_of(settings, "handles"),
    )


@pytest.mark.parametrize("gpu", ["l4", None])
def test_a_pod_of_the_chart_makes_the_plan_that_was_printed(
    capsys: pytest.CaptureFixture[str], gpu: str | None
) -> None:
    given = ["--cores", "6", "--memory", "24", "--shared-memory", "4", "--max-images", "3"]
    values = printed(capsys, "demo", *given, *(["--gpu", gpu] if gpu else []))
    made = objects(over(profile("one-gpu"), values) if gpu else values)
    container = server(made)
    shm = next(volume for volume in pod(made)["volumes"] if volume["name"] == "shm")["emptyDir"]
    environment = {name: value for name, value in variables(container).items() if value is not None}
    sheet = DATA_SHEETS[gpu].gpu if gpu else None
    settings = load({}, {name: value for name, value in environment.items() if name.startswith("PATCHBAY_")})
    memory = number(container["resources"]["limits"]["memory"])
    # the node has more cores than were asked for, and the pod sees them all
    there = plan_of(settings, Machine(tuple(range(96)), memory, int(shm["sizeLimit"]), sheet))
    here = plan_of(load({}, {}), Machine(tuple(range(5)), memory, 4 * GIB, sheet))
    assert settings.max_images == 3 and settings.embedded
    assert container["resources"]["limits"].get("nvidia.com/gpu") == (1 if gpu else None)
    # less than the node has: 1 core, and of 24 GiB a quarter of 4, a fifth of 4, a tenth of 8, 6 % of 8, and 1 GiB
    assert container["resources"]["requests"]["cpu"] == "5"
    assert 24 * GIB - memory == pytest.approx((1 + 0.8 + 0.8 + 0.48 + 1) * GIB, abs=MIB)
    for name in (
        *("device", "decode_workers", "encoder_threads", "encoder_batch_patches"),
        *("encoder_gpu_bytes", "gpu_memory_utilization", "kv_cache_bytes", "max_model_len"),
    ):
        assert getattr(there, name) == getattr(here, name), name
    assert 0 <= there.arena_bytes - here.arena_bytes < MIB


@pytest.mark.parametrize(("flags", "gpus"), [((), 2), (("--encoder-gpu", "own"), 3)])
def test_a_model_for_several_gpus_gets_them(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], gpus: int
) -> None:
    """And the pod's /dev/shm is as large as the plan wants it."""
    asked = ("--gpu", "l4", "--tensor-parallel-size", "2", *flags)
    values = printed(capsys, "demo", *asked, "--memory", "24", "--shared-memory", "4")
    made = objects(over(profile("one-gpu"), values))
    assert server(made)["resources"]["limits"]["nvidia.com/gpu"] == gpus
    given = {key: value for key, value in variables(server(made)).items() if value is not None}
    settings = load({}, {key: value for key, value in given.items() if key.startswith("PATCHBAY_")})
    assert settings.tensor_parallel_size == 2
    shm = next(volume for volume in pod(made)["volumes"] if volume["name"] == "shm")["emptyDir"]
    sheet = DATA_SHEETS["l4"].gpu
    there = Machine(tuple(range(16)), 24 * GIB, int(shm["sizeLimit"]), sheet, more_gpus=(sheet,) * (gpus - 1))
    assert plan_of(settings, there).gpus == gpus


def test_a_claim_of_one_pod_is_given_up_before_its_successor_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = objects(printed(capsys, str(MODEL), "--cores", "6", "--memory", "24", "--shared-memory", "4"))
    assert made["persistentvolumeclaim.yaml"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert made["deployment.yaml"]["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 0,
        "maxUnavailable": 1,
    }


def test_replicas_and_flags_are_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    values = printed(
        capsys,
        str(MODEL),
        *(
            "--gpu",
            "l4",
            "--rate",
            "30",
            "--measured",
            "12.5",
            "--drain-timeout",
            "90",
            "--admin-port",
            "9100",
        ),
        *("--engine-start-timeout", "1200", "--", "--max-num-seqs", "64"),
    )
    made = objects(over(profile("one-gpu"), values))
    assert made["deployment.yaml"]["spec"]["replicas"] == 4  # 30 and a half on top, by 12.5
    assert server(made)["args"] == ["--", "--max-num-seqs", "64"]
    found = variables(server(made))
    assert found["PATCHBAY_MODEL"] == "/models/model"
    assert (found["PATCHBAY_DRAIN_TIMEOUT"], found["PATCHBAY_ADMIN_PORT"]) == ("90", "9100")
    assert found["PATCHBAY_ENGINE_START_TIMEOUT"] == "1200"
    # several pods, one claim
    assert made["persistentvolumeclaim.yaml"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_no_key_is_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--image", "8x8", "--values", "--api-keys", "sesame"])
    assert "sesame" not in capsys.readouterr().out


def test_how_it_is_used_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", str(MODEL), "--image", "8x8", "--values", "--gpu", "l4"])
    out = capsys.readouterr().out
    assert out.startswith(
        "# helm install patchbay helm/patchbay -f helm/patchbay/profiles/one-gpu.yaml -f THIS --set image."
    )
    assert "# The checkpoint's folder is expected at /models/model" in out
    assert "# For nodes of 16 cores and 64 GiB, which keep a part for themselves.\n" in out


def test_what_the_chart_has_under_other_names_is_known() -> None:
    assert set(Settings.model_fields) - set(SCHEMA["$defs"]["settings"]["properties"]) == OWN


def test_a_node_that_leaves_nothing_for_a_pod_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for little in (["--cores", "1"], ["--memory", "2"]):
        assert main(["plan", "--image", "8x8", "--values", *little]) == 1
        assert "describe a larger one with cores and memory" in capsys.readouterr().err


@given(st.floats(2.7, 4096), st.floats(0, 64))
def test_a_larger_node_never_leaves_less(memory: float, more: float) -> None:
    small, large = (
        left_for_a_pod(imagined(None, 8, gibibytes, None)).memory_bytes
        for gibibytes in (memory, memory + more)
    )
    assert 0.25 * GIB < small <= large < (memory + more) * GIB


def test_a_mix_that_cannot_be_served_gets_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    crowd = ["--image", "1920x1080:1:high", "--images-per-request", "8", "--max-model-len", "512"]
    assert main(["plan", "--values", *crowd]) == 1
    told = capsys.readouterr()
    assert told.out == "" and "the model's context is 512" in told.err
