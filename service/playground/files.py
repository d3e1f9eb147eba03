"""The playground's files, read once into one table: nothing else can be requested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"
OFFER = "scenes.json"
"""The scenes and questions that the page offers."""
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    content: bytes = field(repr=False)
    media_type: str
    etag: str


def read_files(scenes: Path | None) -> Mapping[str, StaticFile]:
    """The page's files by the name under which they are requested.

    `scenes` is a folder whose `scenes.json` lists pictures beside it, which are served as `scenes/<name>`. Without it
    the page offers questions only.
    """
    return {name: _read(path) for name, path in _places(scenes)}


def _places(scenes: Path | None) -> Iterator[tuple[str, Path]]:
    for path in sorted(STATIC.iterdir()):
        yield path.name, path
    if scenes is not None:
        yield OFFER, scenes / OFFER
        for scene in json.loads((scenes / OFFER).read_bytes())["scenes"]:
            yield f"scenes/{scene['file']}", scenes / scene["file"]


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    return StaticFile(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
