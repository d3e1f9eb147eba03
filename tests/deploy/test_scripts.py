"""install.sh and image.sh, with programs in the place of pip and of a container engine that write down their calls."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from service import __version__
from tests.deploy.images import ROOT

WRITES_DOWN = '#!/bin/sh\nprintf "%s\\n" "$*" >> "$CALLS"\n'


class Harness:
    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("bash", "dirname", "sed", "git", "sh", "env"):
            (self.programs / name).symlink_to(f"/usr/bin/{name}")

    def program(self, name: str, text: str = WRITES_DOWN) -> Path:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.programs), "CALLS": str(self.calls_file), **variables}
        return subprocess.run(
            [ROOT / "deploy" / script, *arguments], env=environment, capture_output=True, text=True
        )

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


def pip(arguments: str) -> str:
    return f"-m pip install --quiet --disable-pip-version-check {arguments}"


def test_the_gateway_is_installed_without_torch(harness: Harness) -> None:
    result = harness.run("install.sh", str(harness.program("python")), "gateway")
    assert result.returncode == 0
    assert harness.calls == [pip("--editable .")]


def test_a_cpu_gets_its_torch_first_and_the_shim_last(harness: Harness) -> None:
    python = str(harness.program("python"))
    assert harness.run("install.sh", python, "cpu", "dev", TORCH_INDEX="http://index").returncode == 0
    assert harness.calls == [
        pip("--no-deps --index-url http://index torch==2.13.0+cpu"),
        pip("--no-deps --index-url http://index torchvision==0.28.0+cpu"),
        pip("--editable .[cpu,dev]"),
        "deploy/torchvision_shim.py",
    ]


def test_a_gpu_takes_the_torch_that_vllm_names(harness: Harness) -> None:
    assert harness.run("install.sh", str(harness.program("python")), "cuda").returncode == 0
    assert harness.calls == [pip("--editable .[cuda]"), "deploy/torchvision_shim.py"]


@pytest.mark.parametrize("arguments", [("python", "rocm"), ("python",), ()])
def test_another_build_is_refused(harness: Harness, arguments: tuple[str, ...]) -> None:
    result = harness.run("install.sh", *arguments)
    assert result.returncode == 1 and "gateway|cpu|cuda" in result.stderr


def test_each_target_is_built_and_labelled(harness: Harness) -> None:
    harness.program("docker")
    assert harness.run("image.sh").returncode == 0
    builds = [call for call in harness.calls if call.startswith("build")]
    assert [call.split()[2] for call in builds] == ["cpu", "cuda", "gateway"]
    assert all(f"--label org.opencontainers.image.version={__version__}" in call for call in builds)
    assert f"--tag patchbay:{__version__}-gateway" in builds[2]


def test_torchs_index_reaches_the_target_that_knows_it(harness: Harness) -> None:
    harness.program("podman")
    assert harness.run("image.sh", "cpu", "gateway", TORCH_INDEX="http://index").returncode == 0
    cpu, gateway = [call for call in harness.calls if call.startswith("build")]
    assert "--build-arg TORCH_INDEX=http://index" in cpu and "--build-arg" not in gateway
    # podman's own format would lose the health check
    assert "--format docker" in cpu and "--format docker" in gateway


def test_an_engine_that_does_not_answer_is_passed_over(harness: Harness) -> None:
    harness.program("podman", "#!/bin/sh\nexit 125\n")
    harness.program("docker")
    result = harness.run("image.sh", "cpu")
    assert result.returncode == 0 and "docker builds" in result.stdout


def test_where_no_engine_answers_that_is_told(harness: Harness) -> None:
    assert "install podman or docker." in harness.run("image.sh").stderr
    harness.program("docker", "#!/bin/sh\nexit 1\n")
    result = harness.run("image.sh")
    assert result.returncode == 1
    assert "does not answer: docker." in result.stderr


def test_an_unknown_target_is_refused(harness: Harness) -> None:
    harness.program("docker")
    result = harness.run("image.sh", "tpu")
    assert result.returncode == 1 and "no target 'tpu'" in result.stderr
