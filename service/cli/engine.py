"""`patchbay engine`: the engine alone, in the foreground, for a `patchbay serve --engine-url` beside it.

For two containers in one pod: same settings, same shared memory. Becomes vLLM; knows nothing of its life after that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NoReturn

from service.app.prepare import prepare
from service.engine.launcher import launch
from service.errors import ConfigurationError
from service.settings import load


def engine(given: Mapping[str, Any]) -> NoReturn:
    """Replaces this process by vLLM's. Raises ConfigurationError."""
    settings = load(given)
    if settings.engine_url is not None or settings.engine_port is None:
        raise ConfigurationError(
            "the engine listens on a loopback port of your choice: give engine_port here, and the server "
            "engine_url=http://127.0.0.1:PORT"
        )
    made = launch(prepare(settings).engine, os.environ)
    os.execve(made.argv[0], made.argv, dict(made.environment))
