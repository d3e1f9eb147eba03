"""Guards come before endpoints, in their order, whoever calls them."""

import inspect
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.api.guarded import guarded_router

pytestmark = pytest.mark.anyio


class Guards:
    """Two guards, of which the first refuses who does not knock; `called` is what happened, in order."""

    def __init__(self) -> None:
        self.called: list[str] = []

    async def __call__(self, request: Request) -> None:
        self.called.append("first")
        if "knock" not in request.headers:
            raise PermissionError

    async def second(self, request: Request) -> None:
        self.called.append("second")


async def dependency_with_a_query(limit: int) -> None:
    assert limit == 3


def application(guards: Guards, *further: Callable[..., Any]) -> FastAPI:
    router = guarded_router("", guards, guards.second, *further)

    @router.post("/plain")
    async def plain() -> Response:
        guards.called.append("endpoint")
        return JSONResponse("plain")

    @router.get("/named/{name}")
    async def named(name: str) -> Response:
        return JSONResponse(name)

    api = FastAPI()
    api.include_router(router)

    @api.exception_handler(PermissionError)
    async def refuse(request: Request, error: PermissionError) -> Response:
        return JSONResponse("refused", 403)

    return api


def client(api: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://test")


async def test_guards_in_their_order_then_the_endpoint() -> None:
    guards = Guards()
    async with client(application(guards)) as http:
        answer = await http.post("/plain", headers={"knock": "1"})
    assert (answer.json(), guards.called) == ("plain", ["first", "second", "endpoint"])


@pytest.mark.parametrize("method, path", [("POST", "/plain"), ("GET", "/named/x")])
async def test_who_is_refused_gets_no_further(method: str, path: str) -> None:
    guards = Guards()
    async with client(application(guards)) as http:
        answer = await http.request(method, path)
    assert answer.status_code == 403 and "endpoint" not in guards.called


async def test_what_takes_parameters_gets_them() -> None:
    async with client(application(Guards())) as http:
        assert (await http.get("/named/x", headers={"knock": "1"})).json() == "x"


async def test_a_guard_that_asks_for_more_than_the_request_gets_it() -> None:
    guards = Guards()
    async with client(application(guards, dependency_with_a_query)) as http:
        assert (await http.post("/plain", headers={"knock": "1"})).status_code == 422
        assert (await http.post("/plain?limit=3", headers={"knock": "1"})).status_code == 200


def test_the_routes_to_the_model_are_called_without_fastapi() -> None:
    from service.api.auth import Authentication
    from service.api.guarded import _takes_a_request
    from service.keys import KeyStore

    assert _takes_a_request(Authentication(KeyStore()))
    assert inspect.iscoroutinefunction(Guards().second) and _takes_a_request(Guards().second)


def test_a_router_around_another_is_refused_as_a_guard() -> None:
    """Newer versions of FastAPI do not hand its dependencies to the routes inside."""
    outer, inner = guarded_router("/v1", Guards()), guarded_router("", Guards().second)
    with pytest.raises(TypeError, match="side by side"):
        outer.include_router(inner)
