"""`patchbay engine`: the engine alone, in the foreground, for a `patchbay serve --engine-url` on the same machine.

For two containers in one pod, with the same settings and shared memory. The process becomes vLLM's.
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
    """Replaces this process with vLLM's. Raises ConfigurationError."""
    settings = load(given)
    if settings.engine_url is not None or settings.engine_port is None:
        raise ConfigurationError(
            "the engine listens on a loopback port of your choice: set engine_port here, and "
            "engine_url=http://127.0.0.1:PORT for the server"
        )
    made = launch(prepare(settings, encoder_elsewhere=True).engine, os.environ)
    os.execve(made.argv[0], made.argv, dict(made.environment))
