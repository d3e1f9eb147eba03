from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.families.checkpoints import write_files
from tests.service.families.paddleocr_vl.hub import CONFIG, PROCESSOR, TOKENIZER


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """The folder of PaddleOCR-VL's files; a keyword replaces one, None leaves it out."""

    def files(**replaced: Any) -> Path:
        contents = {
            "config": CONFIG,
            "preprocessor_config": PROCESSOR,
            "processor_config": None,
            "tokenizer": TOKENIZER,
            "tokenizer_config": {},
        }
        return write_files(tmp_path, contents | replaced)

    return files
