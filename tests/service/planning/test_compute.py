"""What is reckoned from sizes against what PyTorch counts while the model runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText

from service.app.prepare import need_of
from service.checkpoint.summary import Checkpoint
from service.families import load_checkpoint, load_geometry
from service.planning.compute import Compute, compute_of
from service.planning.resources import Need
from service.settings import EMBEDDED_MODEL
from tests.service.tiny_qwen_vl import write_checkpoint

PATH = Path(EMBEDDED_MODEL)
GEOMETRY = load_geometry(EMBEDDED_MODEL)
CHECKPOINT = load_checkpoint(EMBEDDED_MODEL)
NEED: Need = need_of(CHECKPOINT, GEOMETRY, "float32")
TOKENS = 96


def computed(need: Need = NEED, checkpoint: Checkpoint = CHECKPOINT) -> Compute:
    found = compute_of(checkpoint, need)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    with torch.device("meta"):
        made = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(PATH))
    assert isinstance(made, torch.nn.Module)
    return made.eval()


def counted(part: torch.nn.Module, **inputs: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        part(**inputs)
    return int(counter.get_total_flops())


def test_a_patch_is_what_the_tower_computes_and_not_more(model: torch.nn.Module) -> None:
    side = 112
    tower = model.model.vision_tower
    whole = counted(tower, pixel_values=torch.zeros(1, 3, side, side, device="meta"))
    reckoned = computed().patch * NEED.tile_patches
    # the tower embeds patches and has a class token beside them
    assert 0.9 * whole < reckoned <= whole


def test_a_token_is_what_the_language_model_computes(model: torch.nn.Module) -> None:
    ids = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
    whole = counted(model.model.language_model, input_ids=ids)
    compute = computed()
    # PyTorch counts all pairs where the mask leaves half of them
    reckoned = TOKENS * compute.token + 2 * compute.looks(TOKENS) * compute.look
    assert reckoned == pytest.approx(whole, rel=0.01)
    config = json.loads((PATH / "config.json").read_text())["text_config"]
    assert compute.head == 2 * config["vocab_size"] * config["hidden_size"]


def test_a_step_reads_all_weights_but_a_table_that_is_only_looked_up() -> None:
    assert computed().step_bytes == NEED.text_bytes
    half = replace(NEED, text_bytes=NEED.text_bytes // 2, dtype="bfloat16")
    assert computed(half).step_bytes == pytest.approx(NEED.text_bytes / 2)
    assert computed(half).token == pytest.approx(computed().token)


def changed(**text: object) -> Checkpoint:
    return replace(CHECKPOINT, text_config={**CHECKPOINT.text_config, **text})


def test_tables_that_are_not_shared_are_two() -> None:
    untied = computed(checkpoint=replace(CHECKPOINT, tied=False))
    assert untied.token == computed().token - computed().head
    assert untied.step_bytes == NEED.text_bytes - 4 * computed().head / 2


def test_a_mixture_of_experts_is_not_reckoned() -> None:
    assert compute_of(changed(num_experts=128), NEED) is None


def test_only_layers_of_attention_look_back() -> None:
    layers = CHECKPOINT.text_config["num_hidden_layers"]
    mixed = changed(layer_types=["linear_attention"] * (layers - 1) + ["full_attention"])
    assert computed(checkpoint=mixed).look == computed().look / layers


def test_a_window_bounds_how_far_a_token_looks() -> None:
    near = computed(checkpoint=changed(sliding_window=10, use_sliding_window=True))
    assert near.looks(8) == computed().looks(8) == 32
    assert near.looks(30) == 50 + 20 * 10 and computed().looks(30) == 450


def test_a_window_that_is_not_used_bounds_nothing() -> None:
    wide = computed(checkpoint=changed(sliding_window=10, use_sliding_window=False))
    assert wide.looks(30) == 450


def test_a_patch_of_gated_layers_is_what_they_compute_and_not_more(tmp_path: Path) -> None:
    side = 8  # cells
    tower = write_checkpoint(tmp_path, tokenizer=True).model.visual
    tower.set_attn_implementation("eager")  # whose products PyTorch counts
    whole = counted(
        tower,
        hidden_states=torch.zeros(4 * side**2, 3 * 2 * 14 * 14),
        grid_thw=torch.tensor([[1, 2 * side, 2 * side]]),
    )
    merger = counted(tower.merger, x=torch.zeros(4 * side**2, 32))
    embedding = 2 * 4 * side**2 * 3 * 2 * 14 * 14 * 32
    checkpoint = load_checkpoint(str(tmp_path))
    need = need_of(checkpoint, load_geometry(tmp_path), "float32")
    reckoned = computed(need, checkpoint).patch * 4 * side**2
    blocks = whole - merger - embedding
    attention = 3 * 4 * (4 * side**2) * 32  # of three layers, for each patch that one looks at
    assert 0 < reckoned <= blocks
    # of attention, what a patch sees of its own cell
    assert reckoned == pytest.approx(blocks - attention * ((2 * 64 + 256) / 3 - 4), rel=1e-6)
