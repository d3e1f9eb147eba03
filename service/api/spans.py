"""Name and attributes of a request's span, by OpenTelemetry's conventions. No content, no address of an image."""

from __future__ import annotations

from service.api.access import METHODS
from service.api.exchange import Exchange
from service.domain import Route
from service.telemetry.spans import Attribute

SERVER_FAULT = 500


def end_span(exchange: Exchange, method: str, route: str, status: int, ended: float) -> None:
    """Ends the exchange's span, if it has one."""
    if exchange.span is None:
        return
    # https://opentelemetry.io/docs/specs/semconv/http/http-spans/: `_OTHER` for unknown methods
    method = method if method in METHODS else "_OTHER"
    attributes: dict[str, Attribute] = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "patchbay.request_id": exchange.request_id,
    }
    if exchange.caller.name:
        attributes["patchbay.key"] = exchange.caller.name
    if exchange.error:
        attributes["error.type"] = exchange.error
    if exchange.model:
        attributes |= _of_a_model(exchange, route)
    exchange.span.end(
        f"{method} {route}", exchange.record.timings, ended, attributes, failed=status >= SERVER_FAULT
    )


def _of_a_model(exchange: Exchange, route: str) -> dict[str, Attribute]:
    images, usage = exchange.record.images, exchange.outcome.usage
    attributes: dict[str, Attribute] = {
        "gen_ai.operation.name": "text_completion" if route == Route.COMPLETION else "chat",
        "gen_ai.provider.name": "patchbay",
        "gen_ai.request.model": exchange.model,
        "gen_ai.response.finish_reasons": exchange.outcome.finish_reasons,
        "patchbay.stream": exchange.stream,
        "patchbay.images": len(images),
        "patchbay.image_tokens": sum(image.tokens for image in images),
        "patchbay.images_cached": sum(image.cached for image in images),
    }
    for name, key in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        if key in usage:
            attributes[f"gen_ai.usage.{name}_tokens"] = usage[key]
    return attributes
