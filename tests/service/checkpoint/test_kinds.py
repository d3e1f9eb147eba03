"""Folders that only look like checkpoints of a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.checkpoint.kinds import embeds_texts, must_be_a_model
from service.checkpoint.summary import resolve
from service.errors import ConfigurationError
from tests.service.tiny_others import write_adapter_alone, write_gguf_alone


def refused(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        resolve(str(folder), None)
    return error.value.message


def test_an_adapter_names_its_base_and_how_to_give_it_to_vllm(tmp_path: Path) -> None:
    write_adapter_alone(tmp_path)
    assert refused(tmp_path) == (
        f"model: {tmp_path} is an adapter, not a model: serve ibm-granite/granite-3.3-2b-instruct, and give the "
        f"adapter to vLLM with -- --enable-lora --lora-modules NAME={tmp_path}"
    )
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "serve the model that it was trained on" in refused(tmp_path)


def test_gguf_files_alone_are_no_checkpoint(tmp_path: Path) -> None:
    write_gguf_alone(tmp_path)
    assert refused(tmp_path).startswith(f"model: {tmp_path} has GGUF files alone, which are not served: name")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("params.json", "Mistral's own layout"),
        ("model_index.json", "is a pipeline of diffusers"),
        ("model.safetensors", "has no config.json: name a checkpoint"),
    ],
)
def test_other_folders_are_told_apart(tmp_path: Path, file: str, told: str) -> None:
    (tmp_path / file).write_text("{}")
    assert told in refused(tmp_path)


def test_a_folder_with_a_config_is_a_model_whatever_lies_beside_it(tmp_path: Path) -> None:
    write_adapter_alone(tmp_path)
    write_gguf_alone(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    must_be_a_model(tmp_path)
    assert resolve(str(tmp_path), None) == tmp_path


@pytest.mark.parametrize(
    ("modules", "embeds"),
    [
        ('[{"type": "sentence_transformers.models.Transformer"}]', False),
        ('[{"type": "sentence_transformers.models.Pooling"}]', True),
        ('[{"type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling"}]', True),
        ('{"type": "sentence_transformers.models.Pooling"}', False),
        ("[3, null, {}]", False),
    ],
)
def test_a_pooling_layer_makes_an_embedding_model(tmp_path: Path, modules: str, embeds: bool) -> None:
    assert not embeds_texts(tmp_path)
    (tmp_path / "modules.json").write_text(modules)
    assert embeds_texts(tmp_path) == embeds


def test_modules_that_are_not_json_are_told(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(ConfigurationError, match=r"modules\.json is not JSON"):
        embeds_texts(tmp_path)
