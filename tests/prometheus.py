"""A real Prometheus on loopback, configured like the one of docker-compose.yml, and promtool."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.processes import free_port
from tests.waiting import DEADLOCK

ROOT = Path(__file__).parent.parent
RULES = sorted((ROOT / "helm" / "patchbay" / "files" / "rules").glob("*.yaml"))
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"


def found(name: str) -> str | None:
    """Where `prometheus` or `promtool` is, if it is here."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def tool(name: str) -> str:
    """The same; skips the test where it is not."""
    if (program := found(name)) is None:
        pytest.skip(f"no {name} here: `make setup-test` fetches it from Debian's packages")
    return program


class Prometheus:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The vector that an expression comes to now. Fails on an error or a warning."""
        reply = self._client.post("/api/v1/query", data={"query": expr}).json()
        assert reply["status"] == "success" and not reply.get("warnings"), f"{expr}: {reply}"
        result: list[dict[str, Any]] = reply["data"]["result"]
        assert reply["data"]["resultType"] == "vector", expr
        return result

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.get("/api/v1/targets").json()["data"]["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def until(self, happened: Callable[[], bool], what: Callable[[], object]) -> None:
        """Asks until it is so, and no longer than is allowed; `what` tells what is still amiss."""
        deadline = time.monotonic() + DEADLOCK
        while not happened():
            assert time.monotonic() < deadline, what()
            time.sleep(0.05)  # Prometheus tells nobody when it has scraped: it can only be asked again

    def until_answered(self, queries: Sequence[str]) -> None:
        """Until each of them, one right after the other, comes to something."""
        self.until(
            lambda: all(self.query(expr) for expr in queries),
            lambda: [expr for expr in queries if not self.query(expr)],
        )


def config(address: str, *, hurried: bool = True) -> dict[str, Any]:
    """The committed one, unless `hurried` with its intervals, with the chart's rules, one address in place of the names
    of compose, and nobody to tell of alerts."""
    made: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    if hurried:
        made["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
    del made["alerting"]
    made["rule_files"] = [str(file) for file in RULES]
    for job in made["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [address]}]
    return made


@contextmanager
def scraping(address: str, folder: Path, *, hurried: bool = True) -> Iterator[Prometheus]:
    """Prometheus, ready, that scrapes `address` (host:port); its data lie in `folder`. See `config`."""
    program = tool("prometheus")
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config(address, hurried=hurried)))
    own = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={own}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{own}", timeout=DEADLOCK) as client:
            prometheus = Prometheus(client)
            prometheus.until(prometheus.ready, lambda: (folder / "log").read_text()[-2000:])
            yield prometheus
    finally:
        process.terminate()
        process.wait(DEADLOCK)
