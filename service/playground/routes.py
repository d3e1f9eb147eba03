"""`/` and `/playground/…`: the files, with a policy under which the page runs and loads nothing else.

No API key is required here, since browsers send none for a page; the page's requests to the API do need one.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.playground.files import INDEX, StaticFile, read_files

# blob: and data: are for pictures that the user has just chosen
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # revalidated each time, and answered 304: after an upgrade old and new files are never mixed
    "cache-control": "no-cache",
}
METHODS = ["GET", "HEAD"]


def playground_routes(scenes: Path | None = None) -> APIRouter:
    """`scenes`: see `read_files`."""
    files = read_files(scenes)
    router = APIRouter(redirect_slashes=False, include_in_schema=False)

    @router.api_route("/", methods=METHODS)
    async def page(request: Request) -> Response:
        return _answer(request, files[INDEX])

    @router.api_route("/playground/{name:path}", methods=METHODS)
    async def file(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _answer(request, files[name])

    return router


def _answer(request: Request, file: StaticFile) -> Response:
    headers = HEADERS | {"etag": file.etag}
    if _is_known(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    headers |= {"content-type": file.media_type, "content-length": str(len(file.content))}
    return Response(b"" if request.method == "HEAD" else file.content, headers=headers)


def _is_known(if_none_match: str, etag: str) -> bool:
    # https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2: compared weakly, for proxies that compress
    given = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return bool(given & {etag, "*"})
