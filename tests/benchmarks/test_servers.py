"""Both servers serve the same model with the same flags of vLLM's; one of them alone, on all cores."""

from __future__ import annotations

import pytest

from benchmarks.servers import patchbay, vllm_alone, vllm_by_an_expert, vllm_by_default
from service.settings import EMBEDDED_MODEL


def test_vllm_alone_keeps_its_tower_and_knows_nothing_of_patchbay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    server = vllm_alone(EMBEDDED_MODEL, ["--max-num-seqs", "7"], threads=5)
    words = " ".join(server.argv)
    assert "ec-transfer-config" not in words and "limit-mm-per-prompt" not in words
    assert not {"PATCHBAY_PLUGIN", "PATCHBAY_LARGE_STEPS"} & server.environment.keys()
    assert server.environment["OMP_NUM_THREADS"] == "5"
    assert words.endswith("--max-num-seqs 7") and f"--port {server.url.rpartition(':')[2]}" in words


def test_patchbay_gets_the_same_model_and_flags() -> None:
    server = patchbay(EMBEDDED_MODEL, ["--max-num-seqs", "7"])
    assert list(server.argv[-3:]) == ["--", "--max-num-seqs", "7"] and EMBEDDED_MODEL in server.argv
    assert server.ready == f"{server.url}/readyz"
    compiled = patchbay(EMBEDDED_MODEL, (), ["--engine-compile", "on"])
    assert list(compiled.argv[-2:]) == ["--engine-compile", "on"]


def test_by_default_vllm_is_told_the_model_and_the_size_of_its_cache_alone() -> None:
    server = vllm_by_default(EMBEDDED_MODEL)
    flags = {word for word in server.argv if word.startswith("--")}
    assert flags == {
        *("--model", "--host", "--port"),
        *("--kv-cache-memory-bytes", "--disable-uvicorn-access-log"),
    }
    assert "VLLM_CPU_OMP_THREADS_BIND" not in server.environment


def test_an_expert_binds_every_core_and_shares_images_through_memory() -> None:
    server = vllm_by_an_expert(EMBEDDED_MODEL, [2, 5])
    assert server.environment["VLLM_CPU_OMP_THREADS_BIND"] == "2,5"
    assert "--mm-processor-cache-type shm" in " ".join(server.argv)
    assert server.ready == f"{server.url}/health"
