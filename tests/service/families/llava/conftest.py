from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.families.checkpoints import write_files
from tests.service.families.llava.hub import CONFIG, PROCESSOR, TOKENIZER

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The folder of llava-1.5-7b-hf's files, with some replaced."""

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
