from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.families.checkpoints import write_files
from tests.service.families.lighton_ocr import hub

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The folder of LightOnOCR-1B's files; a keyword replaces one, None leaves it out."""

    def files(**replaced: Any) -> Path:
        contents = {
            "config": hub.CONFIG,
            "preprocessor_config": hub.PROCESSOR,
            "processor_config": hub.WHOLE,
            "tokenizer": hub.TOKENIZER,
            "tokenizer_config": {},
        }
        return write_files(tmp_path, contents | replaced)

    return files
