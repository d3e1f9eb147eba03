from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.families.checkpoints import write_files
from tests.service.families.gemma4.hub import CONFIG, PROCESSOR, TOKENIZER

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The folder of gemma-4-26b-a4b-it's files, with some replaced."""

    def files(**replaced: Any) -> Path:
        contents = {"config": CONFIG, "processor_config": PROCESSOR, "tokenizer": TOKENIZER}
        return write_files(tmp_path, contents | replaced)

    return files
