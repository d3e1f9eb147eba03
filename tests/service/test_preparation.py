from __future__ import annotations

import sys

import pytest

from service.errors import ConfigurationError
from service.preparation import prepare
from service.settings import load

ELSEWHERE = {"images": "passthrough", "engine_url": "http://engine:8000"}


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_an_encoder_needs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch")
    with pytest.raises(ConfigurationError, match="images=handles .* PyTorch is not installed"):
        prepare(load({"engine_url": "http://engine:8000"}, {}))


def test_an_engine_of_ones_own_needs_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "vllm")
    with pytest.raises(ConfigurationError, match="vLLM is not installed"):
        prepare(load({"images": "passthrough"}, {}))


def test_a_gateway_alone_needs_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "vllm")
    prepared = prepare(load(ELSEWHERE, {}))
    assert prepared.external and prepared.engine_url == "http://engine:8000"
    assert prepared.engine.tower == "present" and prepared.engine.handles is None
