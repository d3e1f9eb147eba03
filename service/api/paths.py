"""JSON paths for people: `messages[0].content[1].image_url.url`."""

from __future__ import annotations

MAX_NAME = 64
MAX_PATH = 512


def child(path: str, key: str | int) -> str:
    """The path of a member or element. Long names are cut, odd ones quoted; a path stops growing at 512."""
    if len(path) > MAX_PATH:
        return path
    if isinstance(key, int):
        return f"{path}[{key}]"
    name = key if len(key) <= MAX_NAME else key[:MAX_NAME] + "…"
    if not name.isidentifier():
        return f"{path}[{name!r}]"
    return f"{path}.{name}" if path else name
