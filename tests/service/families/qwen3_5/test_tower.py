"""What Qwen3.5's tower refuses; the rest is that of all families of native resolution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from service.errors import ConfigurationError
from tests.service.families.checkpoints import edit_tensors
from tests.service.families.native.towers import TINY, load


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_heads": 32}, "hidden_size 32 and num_heads 32; each head needs"),
        ({"out_hidden_size": 24}, "out_hidden_size 24 and the language model's hidden_size is 64"),
        ({"num_position_embeddings": 35}, "num_position_embeddings 35; needed is a square number"),
        ({"hidden_size": "wide"}, "config.json is not Qwen3.5's: .*hidden_size"),
    ],
)
@pytest.mark.parametrize("name", ["qwen3_5", "qwen3_5_moe"])
def test_a_tower_that_cannot_be_is_refused(
    tmp_path: Path, name: str, fields: dict[str, Any], message: str
) -> None:
    TINY[name].write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"] |= fields
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path)


def test_levels_of_deepstack_are_tensors_left_over(tmp_path: Path) -> None:
    TINY["qwen3_5"].write(tmp_path)
    edit_tensors(tmp_path, model__visual__deepstack_merger_list__0__norm__bias=torch.ones(128))
    with pytest.raises(ConfigurationError, match=r"does not account for: deepstack_merger_list\.0"):
        load(tmp_path)
