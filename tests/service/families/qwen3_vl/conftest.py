from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.families.checkpoints import write_files
from tests.service.families.qwen3_vl.hub import CONFIG, PROCESSOR, TOKENIZER


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint's files in one folder; a keyword replaces one, None leaves it out."""

    def files(**replaced: Any) -> Path:
        contents = {"config": CONFIG, "preprocessor_config": PROCESSOR, "tokenizer": TOKENIZER}
        return write_files(tmp_path, contents | replaced)

    return files
