"""The service-level objectives, and the recording rules that follow from them.

Change an objective here and run `make docs`. Alerts compare with the recorded objectives, so no other file contains the
numbers.
"""

from __future__ import annotations

from typing import Any

AVAILABILITY = 0.999
"""Share of the API's requests that must not end in a 5xx."""
FIRST_TOKEN_SHARE = 0.95
"""Share of streaming requests whose first event must come within FIRST_TOKEN_SECONDS."""
FIRST_TOKEN_SECONDS = 2.5
"""A bucket of `patchbay_time_to_first_token_seconds`; between buckets it is not known how many were faster."""

LEAST_ERRORS = 5
"""Failed requests, or late first tokens, below which no alert fires: one in thirty is 3 %, and nobody's night."""

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""For the burn rates: https://sre.google/workbook/alerting-on-slos/, table 5-8."""
LONG_WINDOWS = ("1h", "6h", "1d", "3d")
"""The longer one of each pair, in which errors are counted too."""
SERVICE = "by (namespace, service, job)"
"""One series per service: compose has only the job label, Kubernetes all three."""
API = 'route=~"/v1/.+"'


def availability_errors(window: str) -> str:
    """Share of requests that ended in a 5xx. A missing series of failures counts as zero."""
    every = f"sum {SERVICE} (rate(patchbay_requests_total{{{API}}}[{window}]))"
    failed = f'sum {SERVICE} (rate(patchbay_requests_total{{{API},code=~"5.."}}[{window}]))'
    return f"({failed} or 0 * {every}) / {every}"


def first_token_errors(window: str) -> str:
    """Share of streaming requests whose first event was late."""
    name = "patchbay_time_to_first_token_seconds"
    in_time = f'sum {SERVICE} (rate({name}_bucket{{le="{FIRST_TOKEN_SECONDS}"}}[{window}]))'
    return f"1 - {in_time} / sum {SERVICE} (rate({name}_count[{window}]))"


def availability_error_count(window: str) -> str:
    """Requests that ended in a 5xx."""
    return f'sum {SERVICE} (increase(patchbay_requests_total{{{API},code=~"5.."}}[{window}]))'


def first_token_error_count(window: str) -> str:
    """Streaming requests whose first event was late."""
    name = "patchbay_time_to_first_token_seconds"
    in_time = f'sum {SERVICE} (increase({name}_bucket{{le="{FIRST_TOKEN_SECONDS}"}}[{window}]))'
    return f"sum {SERVICE} (increase({name}_count[{window}])) - {in_time}"


def groups() -> list[dict[str, Any]]:
    """Rule groups for Prometheus: the objectives, the error ratio in each window, the number of errors in long ones."""
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
        {"record": f"patchbay:{name}:errors_{window}", "expr": expression(window)}
        for name, expression in (
            ("availability", availability_error_count),
            ("first_token", first_token_error_count),
        )
        for window in LONG_WINDOWS
    ]
    return [{"name": "patchbay-slo", "rules": [*objectives, *ratios, *counts]}]
