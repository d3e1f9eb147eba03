"""What the `gateway` image runs, without the image: its files in a tree that nobody may write to, its packages in an
environment of their own, and a user who owns none of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import free_port
from tests.deploy.images import ROOT, context, environment, inherited
from tests.deploy.processes import said_until
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.e2e
NOBODY = 10001


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that others may enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="patchbay-image-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(place: Path) -> Path:
    """`opt/patchbay` and `opt/venv`, made by the Dockerfile's own steps."""
    code = place / "opt" / "patchbay"
    for file in context():
        (code / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, code / file)
    python = place / "opt" / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    variables = {**os.environ, "PIP_CONSTRAINT": str(code / "deploy" / "constraints" / "cpu.txt")}
    subprocess.run([code / "deploy" / "install.sh", python, "gateway", "otel"], env=variables, check=True)
    for path in [*place.rglob("*"), place / "opt"]:
        if not path.is_symlink():
            path.chmod((path.stat().st_mode | 0o444) & ~0o222)
    for name in ("cache", "tmp"):
        (place / name).mkdir()
        if os.getuid() == 0:
            os.chown(place / name, NOBODY, NOBODY)
    return place


def as_nobody(*command: str | Path) -> list[str | Path]:
    """The command as a user who may read everything, for this Python may lie in root's home, and owns nothing."""
    if os.getuid() != 0:
        return [*command]
    who = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    return ["setpriv", *who, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *command]


@pytest.fixture(scope="module")
def variables(image: Path) -> dict[str, str]:
    """Those of the image, for this place."""
    places = {"/var/cache/patchbay": "cache", "/tmp": "tmp", "/opt/": "opt/"}
    given = environment("gateway") | {"PATCHBAY_HOST": "127.0.0.1", "PATH": "/opt/venv/bin:/usr/bin:/bin"}
    for inside, here in places.items():
        given = {name: value.replace(inside, f"{image}/{here}") for name, value in given.items()}
    return given | {
        "PATCHBAY_PORT": str(free_port()),
        "PATCHBAY_ENGINE_URL": f"http://127.0.0.1:{free_port()}",
    }


@pytest.fixture(scope="module")
def served(image: Path, variables: dict[str, str]) -> Iterator[str]:
    assert inherited("gateway", "ENTRYPOINT") + inherited("gateway", "CMD") == ['["patchbay"]', '["serve"]']
    before = {path: path.lstat().st_mtime_ns for path in (image / "opt").rglob("*")}
    process = subprocess.Popen(
        as_nobody(image / "opt" / "venv" / "bin" / "patchbay", "serve"),
        cwd=image / "opt" / "patchbay",
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = said_until(process, "expecting an engine")
    yield f"http://127.0.0.1:{variables['PATCHBAY_PORT']}"
    process.send_signal(signal.SIGTERM)
    said += process.communicate(timeout=DEADLOCK)[0]
    assert "draining" in said and "Traceback" not in said
    assert {path: path.lstat().st_mtime_ns for path in (image / "opt").rglob("*")} == before


def test_it_lives_and_waits_for_its_engine(served: str) -> None:
    assert httpx.get(f"{served}/livez").status_code == 200
    assert httpx.get(f"{served}/readyz").json()["reasons"]["service"] == "starting"


def test_its_health_check_agrees(served: str, image: Path, variables: dict[str, str]) -> None:
    script = image / "opt" / "patchbay" / "deploy" / "healthcheck.py"
    asked = subprocess.run(as_nobody("python", script), env=variables, capture_output=True, text=True)
    assert (asked.returncode, asked.stdout) == (0, "/livez: 200\n")


def test_neither_torch_nor_vllm_is_there(image: Path) -> None:
    (site,) = (image / "opt" / "venv" / "lib").glob("python*/site-packages")
    installed = {path.name for path in site.iterdir()}
    assert "fastapi" in installed and not {"torch", "vllm", "triton", "transformers"} & installed
    assert sum(path.lstat().st_size for path in site.rglob("*")) < 256 * 2**20
