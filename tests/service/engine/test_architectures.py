"""What vLLM's registry says, from a small one and from the one that is installed."""

from __future__ import annotations

import pytest

from service.engine.architectures import NEVER, installed, read
from service.errors import ConfigurationError

SOURCE = """
import torch
_TEXT_GENERATION_MODELS = {
    # a comment
    "LlamaForCausalLM": ("llama", "LlamaForCausalLM"),
    "AquilaForCausalLM": ("llama", "LlamaForCausalLM"),
}
_EMBEDDING_MODELS = {"BertModel": ("bert", "BertEmbeddingModel"), "LlamaForCausalLM": ("llama", "x")}
_MULTIMODAL_MODELS: dict = {"Gemma3ForConditionalGeneration": ("gemma3_mm", "Gemma3")}
_VLLM_MODELS = {**_TEXT_GENERATION_MODELS, **_MULTIMODAL_MODELS}
_PREVIOUSLY_SUPPORTED_MODELS = {"LamaForCausalLM": "0.9.2", "OddModel": "0.1"}
"""
SMALL = read(SOURCE)


def refused(architecture: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        SMALL.check(architecture)
    return error.value.message


def test_the_tables_are_read_without_being_run() -> None:
    assert SMALL.generating == {"LlamaForCausalLM", "AquilaForCausalLM", "Gemma3ForConditionalGeneration"}
    assert SMALL.multimodal == {"Gemma3ForConditionalGeneration"}
    assert SMALL.others == {"BertModel"}
    assert SMALL.dropped == {"LamaForCausalLM": "0.9.2", "OddModel": "0.1"}


def test_what_generates_is_served_and_what_nobody_lists_is_tried() -> None:
    SMALL.check("LlamaForCausalLM")
    SMALL.check("BrandNewForCausalLM")


def test_what_is_not_served_is_told_with_what_is_near() -> None:
    assert refused("LamaForCausalLM") == (
        "model: vLLM 0.9.2 was the last to serve LamaForCausalLM; near it is LlamaForCausalLM"
    )
    assert refused("OddModel") == "model: vLLM 0.1 was the last to serve OddModel"
    assert "answers no chat requests" in refused("BertModel")
    assert "near it is Idefics3" in refused("Idefics2ForConditionalGeneration")


def test_the_installed_vllm_serves_what_the_lists_of_here_say() -> None:
    here = installed()
    assert here is not None
    assert {"Qwen2_5_VLForConditionalGeneration", "InternVLForConditionalGeneration"} <= here.multimodal
    assert {"LlamaForCausalLM", "Qwen3ForCausalLM"} <= here.generating - here.multimodal
    assert not NEVER.keys() & here.generating
    assert set(NEVER.values()) <= here.multimodal
    assert "BertModel" in here.others
