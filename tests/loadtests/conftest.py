import argparse
from collections.abc import Callable

import pytest

from loadtests.flags import add_options, from_namespace
from loadtests.options import Options


@pytest.fixture
def options() -> Callable[..., Options]:
    """Options as a command line gives them."""

    def parsed(*flags: str) -> Options:
        parser = argparse.ArgumentParser()
        add_options(parser)
        return from_namespace(parser.parse_args(flags))

    return parsed
