"""The class for a checkpoint of which vLLM has the language model alone."""

from __future__ import annotations

import json
import warnings
from types import ModuleType

import pytest
import torch
from vllm import ModelRegistry

from service.domain import LanguageModel
from service.engine.handles import PLUGIN_VERSION
from service.engine.plugin import model
from service.engine.plugin.contract import VARIABLE, PluginSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # vLLM's models are written for an older PyTorch

PART = LanguageModel("MistralForCausalLM", "model.text_model.", "<image>")
UNKNOWN = "ModelOfNobody"


@pytest.fixture(scope="module")
def language() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from service.engine.plugin import language
    return language


def test_only_the_language_models_tensors_are_loaded_and_under_its_own_names(language: ModuleType) -> None:
    stored = (
        "lm_head.weight",
        "model.text_model.norm.weight",
        "model.text_model.layers.0.mlp.up_proj.weight_scale",
        "model.vision_model.post_layernorm.weight",
        "model.connector.perceiver_resampler.latents",
        "model.text_models.norm.weight",
    )
    weights = [(name, torch.tensor(number)) for number, name in enumerate(stored)]
    assert [(name, int(tensor)) for name, tensor in language.own_names(weights, PART.prefix)] == [
        ("language_model.lm_head.weight", 0),
        ("language_model.model.norm.weight", 1),
        ("language_model.model.layers.0.mlp.up_proj.weight_scale", 2),
    ]


def test_a_class_knows_its_part_and_takes_images_alone(language: ModuleType) -> None:
    made = language.model_of(PART)
    assert made.get_placeholder_str("image", 1) == "<image>"
    with pytest.raises(ValueError, match="only images are taken"):
        made.get_placeholder_str("audio", 1)
    assert made.packed_modules_mapping["qkv_proj"] == ["q_proj", "k_proj", "v_proj"]
    assert language.model_of(LanguageModel("Qwen2ForCausalLM", "a.", "<b>")).part != made.part


def test_a_class_that_nobody_has_is_made_only_where_the_settings_say_of_what(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=f"has no model class named '{UNKNOWN}'"):
        model.put_in_front(PluginSettings(UNKNOWN, 5))
    settings = {"architecture": UNKNOWN, "max_tokens": 5, "version": PLUGIN_VERSION}
    language = {"architecture": PART.architecture, "prefix": PART.prefix, "placeholder": PART.placeholder}
    monkeypatch.setenv(VARIABLE, json.dumps({**settings, "language": language}))
    monkeypatch.setattr(ModelRegistry, "models", dict(ModelRegistry.models))
    model.put_in_front(PluginSettings.from_environment())
    made = getattr(model, f"{UNKNOWN}__1")
    assert made.part == PART and made.get_placeholder_str("image_embeds", 1) == "<image>"
    with pytest.raises(AttributeError):
        getattr(model, "AnotherModel__1")  # noqa: B009
