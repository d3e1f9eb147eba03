"""Routes whose endpoints take nothing: what guards them is called, then they are.

FastAPI resolves a route's dependencies anew for each request, which costs more than reading a short question does. A
route here calls the guards of its own router and no others: whether FastAPI adds those of a router around it depends on
its version. So routers of guarded routes are made by `guarded_router`, with every guard, and contain no routers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response


class GuardedRoute(APIRoute):
    """Its dependencies are coroutine functions of the request alone. Endpoints with parameters are FastAPI's affair."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        if inspect.signature(self.endpoint).parameters:
            return super().get_route_handler()
        guards = [each.dependency for each in self.dependencies]
        if not all(map(_takes_a_request, guards)):
            return super().get_route_handler()
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            for guard in guards:
                await guard(request)  # type: ignore[misc]
            answer: Response = await endpoint()
            return answer

        return handle


class GuardedRouter(APIRouter):
    """Refuses to be taken for the guard of another router's routes."""

    def include_router(self, router: APIRouter, **options: Any) -> None:
        raise TypeError(
            "guards of a router around another are not called: make both with guarded_router, side by side"
        )


def guarded_router(prefix: str, *guards: Callable[[Request], Coroutine[Any, Any, Any]]) -> APIRouter:
    """Its routes, all below `prefix`, call the guards in their order."""
    return GuardedRouter(
        prefix=prefix,
        dependencies=[Depends(guard) for guard in guards],
        route_class=GuardedRoute,
        redirect_slashes=False,
    )


def _takes_a_request(guard: Callable[..., Any] | None) -> bool:
    if guard is None:
        return False
    named = inspect.signature(guard, eval_str=True)
    return [each.annotation for each in named.parameters.values()] == [Request] and (
        inspect.iscoroutinefunction(guard) or inspect.iscoroutinefunction(type(guard).__call__)
    )
