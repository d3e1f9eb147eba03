"""Both servers serve the same model with the same flags of vLLM's; one of them alone, on all cores."""

from __future__ import annotations

import pytest

from benchmarks.servers import patchbay, vllm_alone
from service.settings import EMBEDDED_MODEL


def test_vllm_alone_keeps_its_tower_and_knows_nothing_of_patchbay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    server = vllm_alone(EMBEDDED_MODEL, ["--max-num-seqs", "7"], threads=5)
    words = " ".join(server.argv)
    assert "ec-transfer-config" not in words and "limit-mm-per-prompt" not in words
    assert "PATCHBAY_PLUGIN" not in server.environment
    assert server.environment["OMP_NUM_THREADS"] == "5"
    assert words.endswith("--max-num-seqs 7") and f"--port {server.url.rpartition(':')[2]}" in words


def test_patchbay_gets_the_same_model_and_flags() -> None:
    server = patchbay(EMBEDDED_MODEL, ["--max-num-seqs", "7"])
    assert list(server.argv[-3:]) == ["--", "--max-num-seqs", "7"] and EMBEDDED_MODEL in server.argv
    assert server.ready == f"{server.url}/readyz"
