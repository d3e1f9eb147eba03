"""What to tell somebody who has asked for a path that is not there."""

from __future__ import annotations

import difflib

from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import Route

from service.api.sentences import MAX_NAME, describe


def where_to_go(request: Request, api: FastAPI) -> str:
    """Names the path that was probably meant, or where the API begins."""
    asked = str(request.scope["path"])
    paths = [route.path for route in api.routes if isinstance(route, Route) and "{" not in route.path]
    near = [path for path in paths if path.endswith(asked)]
    if not near and len(asked) <= MAX_NAME:
        near = difflib.get_close_matches(asked, paths, n=1)
    hint = f" Did you mean {near[0]}?" if near else " The API is under /v1, such as /v1/chat/completions."
    return f"There is nothing at {describe(asked)}.{hint}"
