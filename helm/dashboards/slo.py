"""The service-level objectives, and the recording rules that follow from them.

Change an objective here and run `make docs`. Alerts compare with the recorded objectives, so no other file contains the
numbers.
"""

from __future__ import annotations

from typing import Any

AVAILABILITY = 0.999
"""Share of the API's requests that must not end in a 5xx."""
FIRST_TOKEN_SHARE = 0.95
"""Share of streaming requests whose first event must come within FIRST_TOKEN_SECONDS, fetching of images not counted:
nobody here can mend a slow image host, and one that does not answer at all ends requests before their first token.
"""
FIRST_TOKEN_SECONDS = 2.5
"""A bucket of the histogram FIRST_TOKEN; between buckets it is not known how many were faster."""

LEAST_ERRORS = 5
"""Failed requests, or late first tokens, below which no alert fires: one in thirty is 3 %, and nobody's night."""

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""For the burn rates: https://sre.google/workbook/alerting-on-slos/, table 5-8."""
LONG_WINDOWS = ("1h", "6h", "1d", "3d")
"""The longer one of each pair, in which errors are counted too."""
SERVICE = "by (namespace, service, job)"
"""One series per service: compose has only the job label, Kubernetes all three."""
FIRST_TOKEN = "patchbay_time_to_first_token_without_fetch_seconds"
API = 'route=~"/v1/.+"'


def availability_errors(window: str) -> str:
    """Share of requests that ended in a 5xx. A missing series of failures counts as zero."""
    every = f"sum {SERVICE} (rate(patchbay_requests_total{{{API}}}[{window}]))"
    failed = f'sum {SERVICE} (rate(patchbay_requests_total{{{API},code=~"5.."}}[{window}]))'
    return f"({failed} or 0 * {every}) / {every}"


def first_token_errors(window: str) -> str:
    """Share of streaming requests whose first event was late."""
    in_time = f'sum {SERVICE} (rate({FIRST_TOKEN}_bucket{{le="{FIRST_TOKEN_SECONDS}"}}[{window}]))'
    return f"1 - {in_time} / sum {SERVICE} (rate({FIRST_TOKEN}_count[{window}]))"


def availability_error_count(window: str) -> str:
    """Requests that ended in a 5xx."""
    return f'sum {SERVICE} (increase(patchbay_requests_total{{{API},code=~"5.."}}[{window}]))'


def first_token_error_count(window: str) -> str:
    """Streaming requests whose first event was late."""
    in_time = f'sum {SERVICE} (increase({FIRST_TOKEN}_bucket{{le="{FIRST_TOKEN_SECONDS}"}}[{window}]))'
    return f"sum {SERVICE} (increase({FIRST_TOKEN}_count[{window}])) - {in_time}"


def availability_events(window: str) -> str:
    """Requests: the weight of a service's error ratio."""
    return f"sum {SERVICE} (increase(patchbay_requests_total{{{API}}}[{window}]))"


def first_token_events(window: str) -> str:
    """Streaming requests with a first event."""
    return f"sum {SERVICE} (increase({FIRST_TOKEN}_count[{window}]))"


def groups() -> list[dict[str, Any]]:
    """Rule groups for Prometheus: the objectives, the error ratio in each window, errors and requests in long ones."""
    objectives = [
        {"record": "patchbay:availability:objective", "expr": f"vector({AVAILABILITY})"},
        {"record": "patchbay:first_token:objective", "expr": f"vector({FIRST_TOKEN_SHARE})"},
        {"record": "patchbay:first_token:objective_seconds", "expr": f"vector({FIRST_TOKEN_SECONDS})"},
        {"record": "patchbay:objectives:least_errors", "expr": f"vector({LEAST_ERRORS})"},
    ]
    ratios = [
        {"record": f"patchbay:{name}:error_ratio_{window}", "expr": expression(window)}
        for name, expression in (("availability", availability_errors), ("first_token", first_token_errors))
        for window in WINDOWS
    ]
    counts = [
        {"record": f"patchbay:{name}_{window}", "expr": expression(window)}
        for name, expression in (
            ("availability:errors", availability_error_count),
            ("first_token:errors", first_token_error_count),
            ("availability:events", availability_events),
            ("first_token:events", first_token_events),
        )
        for window in LONG_WINDOWS
    ]
    return [{"name": "patchbay-slo", "rules": [*objectives, *ratios, *counts]}]
