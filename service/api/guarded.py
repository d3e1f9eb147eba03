"""Routes whose endpoints take nothing: what guards them is called, then they are.

FastAPI resolves a route's dependencies anew for each request, which costs more than reading a short question does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

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


def _takes_a_request(guard: Callable[..., Any] | None) -> bool:
    if guard is None:
        return False
    named = inspect.signature(guard, eval_str=True)
    return [each.annotation for each in named.parameters.values()] == [Request] and (
        inspect.iscoroutinefunction(guard) or inspect.iscoroutinefunction(type(guard).__call__)
    )
