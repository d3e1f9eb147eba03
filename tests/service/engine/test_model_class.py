"""What vLLM's classes say of themselves, from small sources and from those that are installed."""

from __future__ import annotations

import pytest

from service.engine.architectures import installed
from service.engine.model_class import UNKNOWN, ModelClass, model_class, read_class

HEARS = """
class Info:
    def get_supported_mm_limits(self):
        return {"audio": 1}
"""


@pytest.mark.parametrize(
    ("source", "takes_images"),
    [
        (HEARS, False),
        (HEARS.replace('"audio": 1', '"video": None, "audio": 1'), False),
        (HEARS.replace('"audio": 1', '"audio": 1, "image": None'), True),
        (HEARS.replace('"audio": 1', '"vision_chunk": None'), True),
        (HEARS.replace('{"audio": 1}', '{**super().get_supported_mm_limits(), "audio": 1}'), True),
        (HEARS.replace('return {"audio": 1}', 'limits = {"audio": 1}\n        return limits'), True),
        (HEARS.replace('{"audio": 1}', "MINE"), True),
        (HEARS + HEARS.replace("Info", "Other").replace("audio", "image"), True),
        ("class Model: ...", True),
    ],
)
def test_images_are_left_out_only_where_the_class_lists_what_it_takes(
    source: str, takes_images: bool
) -> None:
    assert read_class(source, "Model").takes_images == takes_images


@pytest.mark.parametrize(
    ("line", "only"),
    [
        ("supports_transcription_only = True", True),
        ("supports_transcription_only = False", False),
        ("supports_transcription = True", False),
        ("pass", False),
    ],
)
def test_a_class_that_only_transcribes_says_so(line: str, only: bool) -> None:
    source = f"class Model:\n    {line}\n\nclass Other:\n    supports_transcription_only = {not only}\n"
    assert read_class(source, "Model").only_transcribes == only


def test_classes_of_the_installed_vllm() -> None:
    here = installed()
    assert here is not None
    assert model_class(*here.classes["WhisperForConditionalGeneration"]) == ModelClass(False, True)
    assert model_class(*here.classes["Qwen2AudioForConditionalGeneration"]) == ModelClass(False, False)
    assert model_class(*here.classes["LlavaOnevisionForConditionalGeneration"]) == ModelClass(True, False)
    assert model_class("nowhere", "Model") == model_class("vllm.nowhere", "Model") == UNKNOWN
