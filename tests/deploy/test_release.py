"""`make release`, in a copy of the source tree, with bills of materials that are there already."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.locks import extras
from service import __version__
from tests.deploy.images import ROOT

BILLS = {f"patchbay-{extra}.cdx.json" for extra in extras()}
WHEEL, CHART, SUMS = f"patchbay-{__version__}-py3-none-any.whl", f"patchbay-{__version__}.tgz", "SHA256SUMS"
NOT_COPIED = (".git", ".venv", "build", "dist", "tests", "docs")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it fills, in which something lay before."""
    copy = tmp_path_factory.mktemp("release") / "patchbay"
    shutil.copytree(ROOT, copy, ignore=lambda folder, _: NOT_COPIED if Path(folder) == ROOT else ())
    (copy / "build" / "sbom").mkdir(parents=True)
    for bill in BILLS:
        (copy / "build" / "sbom" / bill).write_text(f'{{"of": "{bill}"}}')
    (copy / "dist").mkdir()
    (copy / "dist" / "patchbay-0.0.1-py3-none-any.whl").write_text("of an older release")
    # -o: the target sbom counts as made
    command = ["make", "-C", copy, "-o", "sbom", "release", f"VENV={Path(sys.executable).parent}"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return copy / "dist"


def test_it_is_the_wheel_the_chart_a_bill_for_each_extra_and_the_sums(dist: Path) -> None:
    assert {file.name for file in dist.iterdir()} == {WHEEL, CHART, SUMS} | BILLS


def test_every_file_has_its_sum(dist: Path) -> None:
    lines = (line.split("  ") for line in (dist / SUMS).read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    assert sums == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in dist.iterdir()
        if file.name != SUMS
    }
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=dist, check=True)


def test_the_wheel_has_what_patchbay_reads_of_itself(dist: Path) -> None:
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = wheel.namelist()
    ours = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert ours == {"service", "kernels", "demo"}
    for file in (
        "service/playground/static/index.html",
        "demo/model/model.safetensors",
        "kernels/patch_embed/tuned.json",
    ):
        assert (file in names) is (ROOT / file).is_file() is True, file
    (points,) = [name for name in names if name.endswith("entry_points.txt")]
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        text = wheel.read(points).decode()
    assert "patchbay = service.cli:main" in text and "vllm.general_plugins" in text


def test_the_package_of_the_chart_is_the_chart(dist: Path) -> None:
    chart = ROOT / "helm" / "patchbay"
    with tarfile.open(dist / CHART) as package:
        packed = {
            member.name: package.extractfile(member).read()  # type: ignore[union-attr]
            for member in package.getmembers()
            if member.isfile()
        }
    ours = {
        str(Path("patchbay") / file.relative_to(chart)): file.read_bytes()
        for file in chart.rglob("*")
        if file.is_file()
    }
    # .helmignore: a page for those who have the repository
    assert set(packed) == set(ours) - {"patchbay/README.md"}
    assert packed["patchbay/values.yaml"] == ours["patchbay/values.yaml"]
    assert f"version: {__version__}" in packed["patchbay/Chart.yaml"].decode()
