"""Qwen2.5-VL's tower: windows of all sorts, configurations of either generation, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from tests.service.families.native.towers import TINY, load
from tests.service.families.rows import worst

TINY_QWEN = TINY["qwen_vl"]


def edit(file: Path, part: str, **fields: Any) -> None:
    config = json.loads(file.read_text())
    (config[part] if part else config).update(fields)
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "vision",
    [
        pytest.param({"fullatt_block_indexes": [0, 1, 2]}, id="whole images alone"),
        pytest.param({"fullatt_block_indexes": []}, id="windows alone"),
        pytest.param({"window_size": 56}, id="windows of four cells"),
        pytest.param({"intermediate_size": 64}, id="a width that needs no padding"),
    ],
)
@pytest.mark.parametrize(("backend", "body"), [("cpu", "auto"), ("reference", "transformers")])
def test_equals_transformers(tmp_path: Path, vision: dict[str, Any], backend: str, body: str) -> None:
    model = TINY_QWEN.write(tmp_path, vision=vision)
    rows = load(tmp_path, backend=backend, body=body).encode(TINY_QWEN.tiled())
    assert worst(rows, TINY_QWEN.soft_tokens(model)) < 1e-5


def test_reads_the_configuration_of_the_hub(tmp_path: Path) -> None:
    """Where the language model's fields lie beside the tower's, not in a part of their own."""
    model = TINY_QWEN.write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    text = {name: value for name, value in config.pop("text_config").items() if name != "model_type"}
    (tmp_path / "config.json").write_text(json.dumps({**text, **config}))
    assert worst(load(tmp_path).encode(TINY_QWEN.tiled()), TINY_QWEN.soft_tokens(model)) < 1e-5


def test_layers_that_cannot_be_packed_are_left_to_transformers_or_refused(tmp_path: Path) -> None:
    model = TINY_QWEN.write(tmp_path, vision={"hidden_act": "relu"})
    tower = load(tmp_path)
    assert tower.choice.body == "transformers"
    assert worst(tower.encode(TINY_QWEN.tiled()), TINY_QWEN.soft_tokens(model)) < 1e-5
    with pytest.raises(ConfigurationError, match="encoder_body: body 'fused' cannot run: .*ReLU"):
        load(tmp_path, body="fused")


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("vision_config", {"in_channels": 4}, "in_channels 4; needed are 3"),
        ("vision_config", {"num_heads": 32}, "hidden_size 32 and num_heads 32; each head needs"),
        ("vision_config", {"window_size": 27}, "window_size 27; needed are at least the 28 pixels"),
        ("vision_config", {"out_hidden_size": 24}, "out_hidden_size 24 and the language model's .* is 64"),
        ("vision_config", {"depth": "many"}, "config.json is not Qwen2.5-VL's: .*depth"),
        ("", {"model_type": "mllama"}, "model_type 'mllama'; supported are .*internvl, .*llava"),
    ],
)
def test_refuses_what_it_cannot_compute(
    tmp_path: Path, part: str, fields: dict[str, Any], message: str
) -> None:
    TINY_QWEN.write(tmp_path)
    edit(tmp_path / "config.json", part, **fields)
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path)
