"""What is read of a checkpoint of no known family, and what nobody may count by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.domain import Detail, ImageBytes, ImageRef
from service.errors import ConfigurationError
from service.families import load_opaque
from service.families.fitting import fit
from service.families.opaque import OpaqueGeometry, media_tokens


def folder_of(path: Path, **files: dict[str, Any]) -> Path:
    for name, content in ({"config": {"architectures": ["NewForCausalLM"]}} | files).items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def test_tokens_for_media_are_found_by_name_and_by_number(tmp_path: Path) -> None:
    added = [
        {"id": 1, "content": "<|im_start|>", "special": True},
        {"id": 2, "content": "<|image_pad|>", "special": True},
        {"id": 3, "content": "<|odd|>", "special": True},
        {"id": 4, "content": "[IMG_BREAK]", "special": True},
    ]
    decoder = {"5": {"content": "<|audio|>"}, "x": {}, "6": {"content": "</s>"}}
    config = {"image_token_index": 3, "eos_token_id": 6, "other_token_id": "no number"}
    folder = folder_of(
        tmp_path,
        config=config,
        tokenizer={"added_tokens": added},
        tokenizer_config={"added_tokens_decoder": decoder},
    )
    assert media_tokens(folder, config) == ("<|audio|>", "<|image_pad|>", "<|odd|>", "[IMG_BREAK]")


def test_a_checkpoint_without_tokenizer_files_has_no_such_tokens(tmp_path: Path) -> None:
    assert OpaqueGeometry.from_checkpoint(folder_of(tmp_path)).facts.placeholders == ()


def test_nothing_is_counted(tmp_path: Path) -> None:
    geometry = OpaqueGeometry.from_checkpoint(folder_of(tmp_path))
    assert not geometry.facts.counted and geometry.facts.architecture == "NewForCausalLM"
    image = ImageBytes(b"", "png", 6000, 4000, "data")
    ref = ImageRef("u", Detail.AUTO, 0, 0, "p")
    (plan,) = fit(geometry, [ref], [image], context=1)
    assert (plan.tokens, plan.tiles, plan.patches) == (0, 0, 0)
    with pytest.raises(ConfigurationError, match=r"max_image_tokens \(9\) cannot be applied"):
        geometry.limited(9)


def test_what_is_not_where_it_is_expected_is_left_open(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"x" * 100)
    checkpoint, _ = load_opaque(str(folder), None, None, takes_images=True)
    assert (checkpoint.dtype, checkpoint.context, checkpoint.hidden_size) == ("auto", 0, 0)
    assert (checkpoint.kv_bytes_per_token, checkpoint.text_bytes) == (0, 100)


@pytest.mark.parametrize(
    ("file", "told"), [("a.gguf", "GGUF files alone are not served"), ("a.txt", "has no weights")]
)
def test_a_folder_without_weights_is_refused(tmp_path: Path, file: str, told: str) -> None:
    folder = folder_of(tmp_path)
    (folder / file).write_bytes(b"x")
    with pytest.raises(ConfigurationError, match=told):
        load_opaque(str(folder), None, None, takes_images=True)
