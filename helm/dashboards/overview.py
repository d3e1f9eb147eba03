"""Overview: do clients get answers, and in time."""

from __future__ import annotations

from helm.dashboards.board import board
from helm.dashboards.panels import RECORDED, RED, YELLOW, Query, chart, number, quantiles
from helm.dashboards.slo import FIRST_TOKEN_SECONDS

BURN = ((1, YELLOW), (6, RED))


def kept(name: str, window: str) -> Query:
    """Share of good requests in a window, as recorded."""
    return Query(f"1 - avg(patchbay:{name}:error_ratio_{window}{{{RECORDED}}})")


def burn(name: str) -> Query:
    """How many times faster than allowed the error budget went, in the last hour."""
    ratio = f"avg(patchbay:{name}:error_ratio_1h{{{RECORDED}}})"
    return Query(f"{ratio} / (1 - scalar(max(patchbay:{name}:objective)))")


def dashboard() -> object:
    requests = 'patchbay_requests_total{@, route=~"/v1/.+"'
    every = f"sum(rate({requests}}}[_]))"
    return board(
        "overview",
        "Overview",
        "Do clients get answers, and in time?",
        [
            (
                "Objectives",
                [
                    number(
                        "Available, 1 day",
                        "Share of the API's requests that did not end in a 5xx.",
                        kept("availability", "1d"),
                        "percentunit",
                        decimals=3,
                    ),
                    number(
                        "Budget burn, availability",
                        "Of the last hour. 1: the budget of thirty days lasts thirty days; 14.4: two days.",
                        burn("availability"),
                        "none",
                        steps=BURN,
                        decimals=2,
                    ),
                    number(
                        "First token in time, 1 day",
                        f"Share of streams whose first token came within {FIRST_TOKEN_SECONDS:g} s.",
                        kept("first_token", "1d"),
                        "percentunit",
                        decimals=2,
                    ),
                    number(
                        "Budget burn, first token",
                        "Of the last hour. 1: the budget of thirty days lasts thirty days; 14.4: two days.",
                        burn("first_token"),
                        "none",
                        steps=BURN,
                        decimals=2,
                    ),
                    number(
                        "Engines down",
                        "Instances whose engine takes no requests.",
                        Query("count(patchbay_engine_up{@} == 0) or vector(0)"),
                        "none",
                        steps=((1, RED),),
                    ),
                    number(
                        "Places in use",
                        "Requests inside, as a share of max_inflight.",
                        Query("sum(patchbay_inflight{@}) / sum(patchbay_inflight_limit{@})"),
                        "percentunit",
                        steps=((0.7, YELLOW), (0.9, RED)),
                        decimals=0,
                    ),
                ],
            ),
            (
                "Traffic",
                [
                    chart(
                        "Requests",
                        "Requests that ended, by status. 499: the client left.",
                        [Query(f"sum by (code) (rate({requests}}}[_]))", "{{code}}")],
                        "reqps",
                        stack=True,
                    ),
                    chart(
                        "Failed and refused",
                        "Shares of all requests.",
                        [
                            Query(f'(sum(rate({requests}, code=~"5.."}}[_])) or vector(0)) / {every}', "5xx"),
                            Query(f'(sum(rate({requests}, code="429"}}[_])) or vector(0)) / {every}', "429"),
                            Query(f'(sum(rate({requests}, code="499"}}[_])) or vector(0)) / {every}', "499"),
                        ],
                        "percentunit",
                        steps=((0.01, YELLOW), (0.05, RED)),
                    ),
                    chart(
                        "Why",
                        "Refusals for want of room, and images that were refused, by the error's code.",
                        [
                            Query(
                                "sum by (reason) (rate(patchbay_rejections_total{@}[_])) > 0", "{{reason}}"
                            ),
                            Query(
                                "sum by (reason) (rate(patchbay_media_errors_total{@}[_])) > 0", "{{reason}}"
                            ),
                        ],
                        "reqps",
                    ),
                ],
            ),
            (
                "Latency",
                [
                    chart(
                        "First token",
                        "From a streaming request to its first event.",
                        quantiles("patchbay_time_to_first_token_seconds", 0.5, 0.95, 0.99),
                        "s",
                        steps=((FIRST_TOKEN_SECONDS, RED),),
                    ),
                    chart(
                        "Between tokens",
                        "Between two events of a stream.",
                        quantiles("patchbay_inter_token_latency_seconds", 0.5, 0.95, 0.99),
                        "s",
                    ),
                    chart(
                        "Whole request",
                        "From its first byte to its last.",
                        quantiles(
                            "patchbay_stage_duration_seconds", 0.5, 0.95, 0.99, labels='@, stage="total"'
                        ),
                        "s",
                    ),
                ],
            ),
            (
                "Load",
                [
                    chart(
                        "Requests inside",
                        "From their body to the end of their answer, and how many may be.",
                        [
                            Query("sum(patchbay_inflight{@})", "inside"),
                            Query("sum(patchbay_inflight_limit{@})", "limit"),
                        ],
                        "none",
                    ),
                    chart(
                        "Images",
                        "Images accepted, by where they came from and their level of detail.",
                        [
                            Query(
                                "sum by (source, detail) (rate(patchbay_images_total{@}[_]))",
                                "{{source}}, {{detail}}",
                            )
                        ],
                        "ops",
                        stack=True,
                    ),
                    chart(
                        "Clients that left",
                        "While their body came, before their answer began, or within it.",
                        [
                            Query(
                                "sum by (stage) (rate(patchbay_cancelled_total{@}[_]))",
                                "{{stage}}",
                            )
                        ],
                        "reqps",
                        stack=True,
                    ),
                ],
            ),
        ],
    )
