from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.families.native.geometry import NativeGeometry
from service.families.qwen_vl.geometry import read_geometry
from tests.service.families.checkpoints import write_files
from tests.service.families.native.hub import CONFIG, PROCESSOR, TOKENIZER, Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A checkpoint's files in one folder; a keyword replaces one, None leaves it out."""

    def files(**replaced: Any) -> Path:
        contents = {
            "config": CONFIG,
            "preprocessor_config": PROCESSOR,
            "processor_config": None,
            "tokenizer": TOKENIZER,
            "tokenizer_config": {"additional_special_tokens": ["<|image_pad|>"]},
        } | replaced
        return write_files(tmp_path, contents)

    return files


@pytest.fixture
def geometry(write: Write) -> NativeGeometry:
    return read_geometry(write())
