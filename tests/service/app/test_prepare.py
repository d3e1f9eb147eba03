from __future__ import annotations

import sys
from pathlib import Path

import pytest

from service.app.pipelines import fingerprint_of
from service.app.prepare import need_of, prepare
from service.errors import ConfigurationError
from service.families import load_checkpoint, load_geometry
from service.families.towers import TileTower
from service.settings import EMBEDDED_MODEL, load
from tests.service import tiny_llava, tiny_qwen3_5, tiny_qwen3_vl
from tests.service.families.checkpoints import tower_of
from tests.service.tiny_qwen_vl import write_checkpoint

ELSEWHERE = {"images": "passthrough", "engine_url": "http://engine:8000"}


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_an_encoder_needs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch")
    with pytest.raises(ConfigurationError, match="images=handles .* PyTorch is not installed"):
        prepare(load({"images": "handles", "engine_url": "http://engine:8000"}, {}))


def test_an_engine_of_ones_own_needs_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "vllm")
    with pytest.raises(ConfigurationError, match="vLLM is not installed"):
        prepare(load({"images": "passthrough"}, {}))


def test_a_gateway_alone_needs_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "vllm")
    prepared = prepare(load(ELSEWHERE, {}))
    assert prepared.external and prepared.engine_url == "http://engine:8000"
    assert prepared.engine.tower == "present" and prepared.engine.handles is None


def test_keys_make_the_engine_schedule_by_priority_unless_the_operator_chooses(tmp_path: Path) -> None:
    def by_priority(**settings: object) -> bool:
        return prepare(load({"images": "passthrough", "device": "cpu", **settings}, {})).engine.by_priority

    assert not by_priority()
    assert by_priority(api_keys="a,b") and by_priority(api_keys_file=tmp_path / "keys")
    assert not by_priority(api_keys="a,b", engine_args=("--scheduling-policy", "fcfs"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"tensor_parallel_size": 4},
            "tensor_parallel_size: got 4, .*num_attention_heads .6.*allowed are 1, 2",
        ),
        ({"pipeline_parallel_size": 5}, "pipeline_parallel_size: got 5; .* 4 layers"),
        ({"engine_args": ("--data-parallel-size", "2")}, "--data-parallel-size is not allowed: .*`replicas`"),
        ({"engine_args": ("--nnodes", "2")}, "--nnodes is not allowed: .*shared memory of this machine"),
    ],
)
def test_a_model_that_cannot_be_divided_so_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        prepare(load({"device": "cpu", **given}, {}))


def test_the_engine_is_told_how_the_model_is_divided() -> None:
    prepared = prepare(load({"device": "cpu", "tensor_parallel_size": 2}, {}))
    assert (prepared.engine.tensor_parallel_size, prepared.engine.pipeline_parallel_size) == (2, 1)
    need = need_of(prepared.checkpoint, prepared.geometry, "float32")
    assert (need.layers, need.kv_heads, need.tables, need.table_bytes) == (4, 6, 1, 640 * 192 * 4)


def test_gated_delta_attention_is_bfloat16_on_a_cpu(tmp_path: Path) -> None:
    given = {"model": str(tmp_path), "device": "cpu"}
    tiny_qwen3_5.write_checkpoint(tmp_path, tokenizer=True)
    for dtype in ("auto", "float32", "float16"):
        with pytest.raises(ConfigurationError, match=f"dtype: got {dtype}.* in bfloat16 alone"):
            prepare(load({**given, "dtype": dtype}, {}))
    assert prepare(load({**given, "dtype": "bfloat16"}, {})).engine.dtype == "bfloat16"
    elsewhere = {"dtype": "float32", "engine_url": "http://engine:8000"}
    assert prepare(load(given | elsewhere, {})).dtype == "float32"
    tiny_qwen3_vl.write_checkpoint(tmp_path, tokenizer=True)
    assert prepare(load({**given, "dtype": "float32"}, {})).engine.dtype == "float32"


def test_what_cells_ask_for(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tokenizer=True)
    geometry = load_geometry(tmp_path)
    need = need_of(load_checkpoint(str(tmp_path)), geometry, "float32")
    assert (need.tile_patches, need.tile_pixel_bytes) == (4, 3 * 28 * 28)
    assert need.max_tokens == need.max_positions == geometry.max_tokens
    assert need.max_patches == 4 * geometry.max_tokens and not need.independent_tiles
    assert (need.vision_hidden, need.soft_width, need.context) == (32, 64, 4096)


def test_a_geometry_knows_whether_its_tower_takes_single_tiles(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tokenizer=True)
    for path in (tmp_path, Path(EMBEDDED_MODEL)):
        tower = tower_of(path, device="cpu", dtype="float32")
        assert load_geometry(path).facts.independent_tiles == isinstance(tower, TileTower)


def test_nothing_is_reduced_where_the_engine_encodes() -> None:
    with pytest.raises(ConfigurationError, match="auto_detail_backlog=2 is for images that Patchbay encodes"):
        prepare(load({**ELSEWHERE, "auto_detail_backlog": 2}, {}))
    with pytest.raises(
        ConfigurationError, match="encoder_precision=int8 is for images that Patchbay encodes"
    ):
        prepare(load({**ELSEWHERE, "encoder_precision": "int8"}, {}))


def test_what_the_engines_own_tower_cannot_apply_is_refused_at_the_start(tmp_path: Path) -> None:
    tiny_llava.write_checkpoint(tmp_path, anyres=True)
    asked = {**ELSEWHERE, "model": str(tmp_path)}
    assert prepare(load(asked, {})).geometry.max_tokens == 88
    with pytest.raises(ConfigurationError, match="images=passthrough: max_image_tokens cannot be applied"):
        prepare(load({**asked, "max_image_tokens": 80}, {}))


def test_soft_tokens_of_another_precision_have_other_keys() -> None:
    auto, full, int8 = (
        fingerprint_of(prepare(load({"device": "cpu", "encoder_precision": precision}, {})))
        for precision in ("auto", "full", "int8")
    )
    assert auto == full != int8
