"""What `images` comes to for checkpoints of all sorts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from service.app.mode import ImageMode, choose_mode
from service.errors import ConfigurationError
from service.settings import EMBEDDED_MODEL, load
from tests.service import tiny_idefics2, tiny_others
from tests.service.tiny_qwen_vl import write_checkpoint
from tests.service.tiny_unknown import change_config, write_text_model


def mode(folder: Path | str, images: str = "auto", **settings: object) -> ImageMode:
    return choose_mode(load({"model": str(folder), "images": images, **settings}, {}), Path(folder))


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path, tokenizer=True)
    return tmp_path


@pytest.fixture
def idefics2(tmp_path: Path) -> Path:
    tiny_idefics2.write_checkpoint(tmp_path)
    return tmp_path


def rename(folder: Path, old: str, new: str) -> None:
    file = folder / "model.safetensors"
    save_file(
        {name.replace(old, new): tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"}
    )


def test_a_known_family_is_encoded_here() -> None:
    chosen = mode(EMBEDDED_MODEL)
    assert (chosen.images, chosen.why) == ("handles", "Patchbay encodes the family internvl itself")
    assert mode(EMBEDDED_MODEL, "passthrough").geometry.facts.counted


def test_an_unknown_family_goes_to_the_engine_and_says_why(tmp_path: Path) -> None:
    write_text_model(tmp_path)
    chosen = mode(tmp_path)
    assert chosen.images == "passthrough" and "model_type 'llama'" in chosen.why
    assert not chosen.geometry.facts.counted and not chosen.geometry.facts.takes_images
    assert chosen.checkpoint.context == 4096
    with pytest.raises(ConfigurationError, match="model_type 'llama'"):
        mode(tmp_path, "handles")


def test_a_layout_of_a_known_family_that_is_not_known_goes_to_the_engine(qwen: Path) -> None:
    change_config(qwen, vision_config={"patch_size": "odd"})
    chosen = mode(qwen)
    assert chosen.images == "passthrough" and chosen.geometry.facts.takes_images
    assert not chosen.geometry.facts.counted


def test_a_quantised_tower_goes_to_the_engine_with_what_is_known(qwen: Path) -> None:
    rename(qwen, "blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.weight_packed")
    chosen = mode(qwen)
    assert chosen.images == "passthrough" and "is quantised" in chosen.why
    assert chosen.geometry.facts.counted
    with pytest.raises(ConfigurationError, match="is quantised"):
        mode(qwen, "handles")


def test_a_quantised_language_model_beside_a_plain_tower_is_no_obstacle(qwen: Path) -> None:
    rename(qwen, "self_attn.q_proj.weight", "self_attn.q_proj.weight_packed")
    assert mode(qwen).images == "handles"


def test_a_tower_without_tensors_is_left_to_an_engine_elsewhere(qwen: Path) -> None:
    rename(qwen, "visual.", "elsewhere.")
    chosen = mode(qwen, engine_url="http://engine:8000")
    assert chosen.images == "passthrough" and "no tensors of its vision tower" in chosen.why


@pytest.mark.parametrize("images", ["auto", "passthrough"])
def test_a_tower_without_tensors_is_no_more_to_an_engine_here(qwen: Path, images: str) -> None:
    rename(qwen, "visual.", "elsewhere.")
    with pytest.raises(
        ConfigurationError, match="no tensors of its vision tower, and vLLM starts no qwen2_5_vl"
    ):
        mode(qwen, images)


def test_without_pytorch_it_goes_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    chosen = mode(EMBEDDED_MODEL, engine_url="http://engine:8000")
    assert chosen.images == "passthrough" and "PyTorch is not installed" in chosen.why
    assert chosen.geometry.facts.counted


@pytest.mark.parametrize("images", ["auto", "passthrough"])
def test_what_vllm_does_not_serve_is_refused_with_what_is_near(tmp_path: Path, images: str) -> None:
    write_text_model(tmp_path)
    change_config(tmp_path, architectures=["MllamaForConditionalGeneration"], model_type="mllama")
    with pytest.raises(ConfigurationError, match="does not serve Mllama.*; near it is Llama4"):
        mode(tmp_path, images)


def test_a_bound_that_cannot_be_applied_is_refused(tmp_path: Path) -> None:
    write_text_model(tmp_path)
    with pytest.raises(ConfigurationError, match="max_image_tokens"):
        mode(tmp_path, max_image_tokens=100)


def test_what_only_writes_down_speech_is_refused(tmp_path: Path) -> None:
    tiny_others.write_whisper(tmp_path)
    with pytest.raises(ConfigurationError, match="Whisper.* writes down speech and answers no chat requests"):
        mode(tmp_path)


def test_what_embeds_texts_is_refused_unless_it_is_to_generate(tmp_path: Path) -> None:
    tiny_others.write_embedder(tmp_path)
    with pytest.raises(ConfigurationError, match=r"embeds texts .* \(modules.json names a pooling layer\)"):
        mode(tmp_path)
    assert mode(tmp_path, engine_args=("--runner", "generate")).images == "passthrough"


def test_what_takes_audio_or_videos_alone_takes_no_images(tmp_path: Path) -> None:
    write_text_model(tmp_path)
    for architecture, takes_images in (
        ("Qwen2AudioForConditionalGeneration", False),
        ("LlavaNextVideoForConditionalGeneration", False),
        ("Cohere2VisionForConditionalGeneration", True),
        ("BrandNewForConditionalGeneration", True),
    ):
        change_config(tmp_path, architectures=[architecture], model_type="new")
        assert mode(tmp_path).geometry.facts.takes_images == takes_images


@pytest.mark.parametrize("images", ["auto", "handles", "passthrough"])
def test_a_blip2_with_t5_is_served_nowhere(tmp_path: Path, images: str) -> None:
    tiny_others.write_blip2_with_t5(tmp_path)
    with pytest.raises(
        ConfigurationError, match="model_type 't5'; only 'opt' is supported, here and by vLLM"
    ):
        mode(tmp_path, images)


def test_images_of_a_model_that_vllm_does_not_have_are_encoded_here(idefics2: Path) -> None:
    chosen = mode(idefics2)
    assert (chosen.images, chosen.why) == ("handles", "Patchbay encodes the family idefics2 itself")
    with pytest.raises(ConfigurationError, match="was asked for; but vLLM serves no Idefics2For"):
        mode(idefics2, "passthrough")
    # an engine elsewhere may be another one
    assert mode(idefics2, "passthrough", engine_url="http://127.0.0.1:1").images == "passthrough"


def test_without_its_tower_it_is_refused_with_both_reasons(idefics2: Path) -> None:
    rename(idefics2, "layer_norm1.weight", "layer_norm1.weight_scale")
    with pytest.raises(
        ConfigurationError, match="vision tower in .* is quantised .*; but vLLM serves no Ide"
    ):
        mode(idefics2)
    change_config(idefics2, text_config={"model_type": "llama"})
    with pytest.raises(ConfigurationError, match="'llama'; only 'mistral' is supported, and vLLM serves no"):
        mode(idefics2)
