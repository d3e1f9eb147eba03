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
from tests.service.tiny_qwen_vl import write_checkpoint

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its largest image has 2000 cells, and `low` of it 334."""
    folder = tmp_path_factory.mktemp("qwen_vl")
    write_checkpoint(folder, tokenizer=True)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_pixels": 2000 * 28 * 28}))
    return folder


@pytest.fixture(scope="module")
def processor(checkpoint: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and vLLM about themselves
        from vllm.config import ModelConfig
        from vllm.multimodal import MULTIMODAL_REGISTRY

        return MULTIMODAL_REGISTRY.create_processor(
            ModelConfig(model=str(checkpoint), max_model_len=4096, dtype="float32")
        )


@pytest.fixture(scope="module")
def geometry(checkpoint: Path) -> Geometry:
    return load_geometry(checkpoint)


@pytest.mark.parametrize("detail", [Detail.LOW, Detail.HIGH])
@pytest.mark.parametrize("size", [(640, 480), (1600, 1200), (2000, 10), (17, 9)])
def test_an_image_is_resized_as_planned(
    processor: Any, geometry: Geometry, size: tuple[int, int], detail: Detail
) -> None:
    layout = geometry.layout(geometry.plan(*size, detail))
    options = dict(geometry.processor_options(detail))
    items = processor.info.parse_mm_data({"image": [Image.new("RGB", size)]})
    seen = processor(
        prompt="<|vision_start|><|image_pad|><|vision_end|>", mm_items=items, hf_processor_mm_kwargs=options
    )
    (image,), (place,) = seen["mm_kwargs"]["image"], seen["mm_placeholders"]["image"]
    assert tuple(image["image_grid_thw"].data.tolist()) == layout.grid
    assert place.length == layout.rows
