"""One line per request on the logger `patchbay.access`: what it was, where its time went, how it ended.

Only numbers, our own names, the request's id and the API key's name are logged, and the hosts of image URLs where the
operator wants them: never content, URLs or the client's headers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from service.api.exchange import Exchange

QUIET = frozenset({"/livez", "/readyz", "/health", "/ping", "/metrics", "/metrics/engine"})
"""Polled every few seconds: logged at debug level only."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

log = logging.getLogger("patchbay.access")


def log_access(
    method: str, route: str, status: int, seconds: float, shares: Mapping[str, float], exchange: Exchange
) -> None:
    level = logging.DEBUG if route in QUIET else logging.INFO
    if not log.isEnabledFor(level):
        return
    method = method if method in METHODS else "other"
    fields: dict[str, Any] = {
        "request_id": exchange.request_id,
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": _ms(seconds),
        "client_left": exchange.client_left,
    }
    if exchange.caller.name:
        fields["key"] = exchange.caller.name
    if exchange.error:
        fields["error"] = exchange.error
    if exchange.cause:
        fields["cause"] = exchange.cause
    if told := [span for span in exchange.record.timings.spans if span.host]:
        fields["fetches"] = [{"host": span.host, "ms": _ms(span.end - span.begin)} for span in told]
    if exchange.model:
        fields |= _of_a_model(shares, exchange)
    log.log(
        level,
        "%s %s %d %.3fs %s%s",
        *(method, route, status, seconds, exchange.request_id, _for_readers(fields)),
        extra={"fields": fields},
    )


def _for_readers(fields: Mapping[str, Any]) -> str:
    """What the line says in words too: whoever reads plain text looks for failures and who has them."""
    words = [f"{name}={fields[name]}" for name in ("error", "cause", "key") if name in fields]
    words += [
        f"fetched from {fetch['host']} in {fetch['ms'] / 1000:.3f}s" for fetch in fields.get("fetches", ())
    ]
    return "".join(f" {word}" for word in words)


def _of_a_model(shares: Mapping[str, float], exchange: Exchange) -> dict[str, Any]:
    return {
        "model": exchange.model,
        "stream": exchange.stream,
        "stages_ms": {stage: _ms(share) for stage, share in shares.items()},
        "images": [asdict(image) for image in exchange.record.images],
        "usage": exchange.outcome.usage,
        "finish_reasons": exchange.outcome.finish_reasons,
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
