"""What Locust loads: `locust -f loadtests/locustfile.py`, or better `python -m loadtests`."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

# Locust puts this file's own folder on the path, and not the one above it
sys.path.insert(0, str(Path(__file__).parent.parent))

from locust import events, runners
from locust.env import Environment

from loadtests.conductor import Conductor
from loadtests.flags import add_options, from_namespace
from loadtests.users import Broken, Chat, Conversation, Gallery, Huge, Repeated, Text

__all__ = ["Broken", "Chat", "Conversation", "Gallery", "Huge", "Repeated", "Text"]


# seconds of silence after which a worker counts as gone: a busy one is not gone (Locust's own is 3)
runners.HEARTBEAT_LIVENESS = 30


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    add_options(parser)


@events.init.add_listener
def _init(environment: Environment, **_: Any) -> None:
    assert environment.parsed_options is not None
    if isinstance(environment.runner, runners.LocalRunner):
        # four lines for each change of the level, beside which our one is not found
        logging.getLogger("locust.runners").setLevel(logging.WARNING)
    Conductor(environment, from_namespace(environment.parsed_options)).attach()
