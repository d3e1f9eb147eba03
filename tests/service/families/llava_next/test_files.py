"""What a checkpoint says of its geometry, as the hub has it, and files that disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.llava_next.geometry import LlavaNextGeometry
from tests.service.families.checkpoints import write_files
from tests.service.families.llava.hub import NEXT_CONFIG, NEXT_PROCESSOR, TOKENIZER, VISION


def write(folder: Path, **replaced: Any) -> Path:
    contents = {
        "config": NEXT_CONFIG,
        "preprocessor_config": NEXT_PROCESSOR,
        "tokenizer": TOKENIZER,
        "tokenizer_config": {},
    }
    return write_files(folder, contents | replaced)


def test_what_the_hubs_files_say(tmp_path: Path) -> None:
    geometry = load_geometry(write(tmp_path))
    assert isinstance(geometry, LlavaNextGeometry)
    assert (geometry.tile, geometry.grid, geometry.image_token, geometry.max_tokens) == (336, 24, 32000, 2928)
    assert geometry.canvases == ((672, 336), (336, 672), (672, 672), (336, 1008), (1008, 336))
    assert geometry.facts.architecture == "LlavaNextForConditionalGeneration"


def test_pinpoints_that_nobody_names_are_transformers(tmp_path: Path) -> None:
    from transformers import LlavaNextConfig, LlavaNextImageProcessor

    from service.families.llava_next.files import PINPOINTS

    assert (
        LlavaNextConfig().image_grid_pinpoints == LlavaNextImageProcessor().image_grid_pinpoints == PINPOINTS
    )
    silent = {name: value for name, value in NEXT_CONFIG.items() if name != "image_grid_pinpoints"}
    assert load_geometry(write(tmp_path, config=silent)).max_tokens == 2928


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": NEXT_CONFIG | {"image_grid_pinpoints": [[336, 672]]}}, "needed are the same"),
        (
            {
                "config": NEXT_CONFIG | {"image_grid_pinpoints": [[336, 600]]},
                "preprocessor_config": NEXT_PROCESSOR | {"image_grid_pinpoints": [[336, 600]]},
            },
            r"image_grid_pinpoint \[336, 600\]; needed are height and width in whole tiles",
        ),
        (
            {"config": NEXT_CONFIG | {"vision_feature_select_strategy": "full"}},
            "which has no place in the grid",
        ),
        ({"config": NEXT_CONFIG | {"vision_config": VISION | {"image_size": 224}}}, "tower takes 224×224"),
        ({"preprocessor_config": NEXT_PROCESSOR | {"resample": 1}}, "resample = 1; only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_disagree_are_refused(tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_geometry(write(tmp_path, **replaced))
