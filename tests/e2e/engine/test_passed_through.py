"""Images that are passed through: vLLM's own processor brings them to the sizes that the geometry has planned."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.domain import Detail
from service.families import load_geometry
from service.families.base import Geometry
from service.settings import EMBEDDED_MODEL
from tests.service.tiny_qwen_vl import write_checkpoint

pytestmark = pytest.mark.e2e
SIZES = pytest.mark.parametrize("size", [(640, 480), (1600, 1200), (2000, 10), (17, 9)])
DETAILS = pytest.mark.parametrize("detail", [Detail.LOW, Detail.HIGH])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its largest image has 2000 cells, and `low` of it 334."""
    folder = tmp_path_factory.mktemp("qwen_vl")
    write_checkpoint(folder, tokenizer=True)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_pixels": 2000 * 28 * 28}))
    return folder


def processor_of(checkpoint: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and vLLM about themselves
        from vllm.config import ModelConfig
        from vllm.multimodal import MULTIMODAL_REGISTRY

        return MULTIMODAL_REGISTRY.create_processor(
            ModelConfig(model=str(checkpoint), max_model_len=4096, dtype="float32")
        )


def seen(
    processor: Any, prompt: str, size: tuple[int, int], geometry: Geometry, detail: Detail
) -> tuple[Any, Any]:
    """What vLLM's processor makes of the image, and the place that it takes in the prompt."""
    items = processor.info.parse_mm_data({"image": [Image.new("RGB", size)]})
    options = dict(geometry.processor_options(detail))
    made = processor(prompt=prompt, mm_items=items, hf_processor_mm_kwargs=options)
    (image,), (place,) = made["mm_kwargs"]["image"], made["mm_placeholders"]["image"]
    return image, place


@pytest.fixture(scope="module")
def qwen(checkpoint: Path) -> Any:
    return processor_of(checkpoint)


@pytest.fixture(scope="module")
def internvl() -> Any:
    return processor_of(EMBEDDED_MODEL)


@SIZES
@DETAILS
@pytest.mark.parametrize("limit", [None, 700])
def test_an_image_is_resized_as_planned(
    qwen: Any, checkpoint: Path, size: tuple[int, int], detail: Detail, limit: int | None
) -> None:
    geometry = load_geometry(checkpoint, limit)
    layout = geometry.plan(*size, detail).layout
    image, place = seen(qwen, "<|vision_start|><|image_pad|><|vision_end|>", size, geometry, detail)
    assert tuple(image["image_grid_thw"].data.tolist()) == layout.grid
    assert place.length == layout.tokens


@SIZES
@DETAILS
@pytest.mark.parametrize("limit", [None, 80, 16])
def test_an_image_is_tiled_as_planned(
    internvl: Any, size: tuple[int, int], detail: Detail, limit: int | None
) -> None:
    geometry = load_geometry(EMBEDDED_MODEL, limit)
    plan = geometry.plan(*size, detail)
    image, place = seen(internvl, "<IMG_CONTEXT>", size, geometry, detail)
    assert len(image["pixel_values"].data) == plan.tiles
    assert place.length == plan.layout.positions
