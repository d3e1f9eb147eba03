"""The locustfile: `locust -f loadtests/locustfile.py`, or preferably `python -m loadtests`."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

# Locust puts this file's folder on the path, not its parent
sys.path.insert(0, str(Path(__file__).parent.parent))

from locust import events, runners
from locust.env import Environment

from loadtests.conductor import Conductor
from loadtests.flags import add_options, from_namespace
from loadtests.users import Broken, Chat, Conversation, Gallery, Huge, Repeated, Text

__all__ = ["Broken", "Chat", "Conversation", "Gallery", "Huge", "Repeated", "Text"]


# seconds of silence after which a worker counts as lost; a busy one needs more than Locust's default of 3
runners.HEARTBEAT_LIVENESS = 30


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    add_options(parser)


@events.init.add_listener
def _init(environment: Environment, **_: Any) -> None:
    assert environment.parsed_options is not None
    if isinstance(environment.runner, runners.LocalRunner):
        # it logs four lines per change of the level, among which ours would be lost
        logging.getLogger("locust.runners").setLevel(logging.WARNING)
    Conductor(environment, from_namespace(environment.parsed_options)).attach()
