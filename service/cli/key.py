"""`patchbay key NAME`: a new API key, and the entry for it in a file of keys."""

from __future__ import annotations

import re
import secrets
import sys

from service.errors import ConfigurationError
from service.keys.entry import NAME, of_key

PREFIX = "pb-"
"""So that tools that look for leaked secrets can know one."""
BYTES = 32


def key(name: str) -> int:
    """Prints the key as standard error and its entry as standard output. Raises ConfigurationError."""
    if not re.fullmatch(NAME, name):
        raise ConfigurationError(
            f"the name {name!r} may consist of up to 64 letters, digits, dots, hyphens and underscores, and should "
            "begin with a letter or a digit"
        )
    made = PREFIX + secrets.token_urlsafe(BYTES)
    print(f"the key, which is not shown again: {made}", file=sys.stderr)
    print(f'[[keys]]\nname = "{name}"\nsha256 = "{of_key(made, name).sha256}"\n')
    return 0
