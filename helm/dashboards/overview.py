"""Overview: do clients get answers, and in time?"""

from __future__ import annotations

from helm.dashboards.board import board
from helm.dashboards.panels import RECORDED, RED, YELLOW, Query, chart, number, quantiles
from helm.dashboards.slo import FIRST_TOKEN_SECONDS

BURN = ((1, YELLOW), (6, RED))
POD = 'namespace=~"$namespace", pod=~"$instance"'
"""How others name the pods: on Kubernetes, `instance` is the pod's name."""
MOVED = POD.replace("namespace=", "exported_namespace=", 1).replace("pod=", "exported_pod=", 1)
"""The same where Prometheus keeps the labels of the exporter's own pod."""


def weighted(name: str, window: str) -> str:
    """The releases' error ratios, each weighted by its traffic."""
    ratio, events = (f"patchbay:{name}:{what}_{window}{{{RECORDED}}}" for what in ("error_ratio", "events"))
    # a release without traffic has a ratio that is no number, and no weight
    return f"sum(({ratio} >= 0) * {events}) / sum({events})"


def good(name: str, window: str) -> Query:
    """Recorded share of good requests in a window, in all chosen releases together."""
    return Query(f"1 - {weighted(name, window)}")


def burn(name: str) -> Query:
    """The burn rate of the error budget over the last hour; 1 uses it up in exactly thirty days."""
    return Query(f"{weighted(name, '1h')} / (1 - scalar(max(patchbay:{name}:objective)))")


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
                        "Share of the API's requests that did not end in a 5xx, for the chosen releases as a whole.",
                        good("availability", "1d"),
                        "percentunit",
                        decimals=3,
                    ),
                    number(
                        "Budget burn, availability",
                        "Over the last hour. At 1 the thirty-day budget lasts thirty days, at 14.4 two days.",
                        burn("availability"),
                        "none",
                        steps=BURN,
                        decimals=2,
                    ),
                    number(
                        "First token in time, 1 day",
                        f"Share of streams whose first token came within {FIRST_TOKEN_SECONDS:g} s, fetching aside.",
                        good("first_token", "1d"),
                        "percentunit",
                        decimals=2,
                    ),
                    number(
                        "Budget burn, first token",
                        "Over the last hour. At 1 the thirty-day budget lasts thirty days, at 14.4 two days.",
                        burn("first_token"),
                        "none",
                        steps=BURN,
                        decimals=2,
                    ),
                    number(
                        "Engines down",
                        "Instances whose engine accepts no requests.",
                        Query("count(patchbay_engine_up{@} == 0) or vector(0)"),
                        "none",
                        steps=((1, RED),),
                    ),
                    number(
                        "Request slots in use",
                        "Requests in flight, as a share of max_inflight.",
                        Query('sum(patchbay_inflight{@, stage="request"}) / sum(patchbay_inflight_limit{@})'),
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
                        "Finished requests, by status. 499: the client disconnected.",
                        [Query(f"sum by (code) (rate({requests}}}[_]))", "{{code}}")],
                        "reqps",
                        stack=True,
                    ),
                    chart(
                        "Failed and refused",
                        "As shares of all requests.",
                        [
                            Query(f'(sum(rate({requests}, code=~"5.."}}[_])) or vector(0)) / {every}', "5xx"),
                            Query(f'(sum(rate({requests}, code="429"}}[_])) or vector(0)) / {every}', "429"),
                            Query(f'(sum(rate({requests}, code="499"}}[_])) or vector(0)) / {every}', "499"),
                        ],
                        "percentunit",
                        steps=((0.01, YELLOW), (0.05, RED)),
                    ),
                    chart(
                        "Reasons",
                        "Refusals for lack of capacity, and refused images, by error code.",
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
                        "From the start of a streaming request to its first event. The objective counts no fetching.",
                        [
                            *quantiles("patchbay_time_to_first_token_seconds", 0.5, 0.95, 0.99),
                            *(
                                Query(query.expr, f"{query.legend} without fetching")
                                for query in quantiles(
                                    "patchbay_time_to_first_token_without_fetch_seconds", 0.95
                                )
                            ),
                        ],
                        "s",
                        steps=((FIRST_TOKEN_SECONDS, RED),),
                    ),
                    chart(
                        "Between tokens",
                        "Between consecutive events of a stream.",
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
                        "Requests in flight",
                        "From the end of their body to the end of their answer, the limit, and bodies still arriving.",
                        [
                            Query('sum(patchbay_inflight{@, stage="request"})', "in flight"),
                            Query('sum(patchbay_inflight{@, stage="body"})', "bodies arriving"),
                            Query("sum(patchbay_inflight_limit{@})", "limit"),
                        ],
                        "none",
                    ),
                    chart(
                        "Images",
                        "Accepted images, by source and level of detail.",
                        [
                            Query(
                                "sum by (source, detail) (rate(patchbay_images_total{@}[_]))",
                                "{{source}}, {{detail}}",
                            )
                        ],
                        "suffix: images/s",
                        stack=True,
                    ),
                    chart(
                        "Client disconnects",
                        "During the body, before the answer, or during it.",
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
            (
                "Clients",
                [
                    chart(
                        "By API key",
                        "Finished requests, by the name of their key.",
                        [Query("sum by (key) (rate(patchbay_key_requests_total{@}[_]))", "{{key}}")],
                        "reqps",
                        stack=True,
                    ),
                    chart(
                        "Refused, by API key",
                        "Requests answered with 429.",
                        [
                            Query(
                                'sum by (key) (rate(patchbay_key_requests_total{@, code="429"}[_])) > 0',
                                "{{key}}",
                            )
                        ],
                        "reqps",
                    ),
                    chart(
                        "Connections",
                        "Open client connections by state, and the limit.",
                        [
                            Query("sum by (state) (patchbay_connections{@})", "{{state}}"),
                            Query("sum(patchbay_connections_limit{@})", "limit"),
                        ],
                        "none",
                    ),
                ],
            ),
            (
                "Process",
                [
                    chart(
                        "Memory",
                        "Resident memory of gateway and encoder. The engine and decoding processes are not included.",
                        [Query("process_resident_memory_bytes{@}", "{{instance}}")],
                        "bytes",
                    ),
                    chart(
                        "File descriptors",
                        "Open ones, as a share of the limit.",
                        [Query("process_open_fds{@} / process_max_fds{@}", "{{instance}}")],
                        "percentunit",
                        steps=((0.7, YELLOW), (0.9, RED)),
                    ),
                    chart(
                        "Event loop lag",
                        "How much later than asked the event loop wakes a task: every client waits that in addition.",
                        quantiles("patchbay_event_loop_lag_seconds", 0.5, 0.95, 0.99),
                        "s",
                        steps=((0.25, YELLOW),),
                    ),
                ],
            ),
            (
                "Pods",
                [
                    chart(
                        "Restarts",
                        "Of each container since its pod exists. From kube-state-metrics; empty without it.",
                        [
                            Query(
                                f"kube_pod_container_status_restarts_total{{{POD}}}",
                                "{{pod}}, {{container}}",
                            )
                        ],
                        "none",
                    ),
                    chart(
                        "Last ended because",
                        "Why a container that was restarted had ended, such as OOMKilled. From kube-state-metrics.",
                        [
                            Query(
                                f"kube_pod_container_status_last_terminated_reason{{{POD}}}",
                                "{{pod}}, {{container}}: {{reason}}",
                            )
                        ],
                        "none",
                    ),
                    chart(
                        "GPU use",
                        "Time in which a kernel ran, for each GPU. From NVIDIA's DCGM exporter; empty without it.",
                        [
                            Query(f"DCGM_FI_DEV_GPU_UTIL{{{POD}}}", "{{pod}}, GPU {{gpu}}"),
                            Query(f"DCGM_FI_DEV_GPU_UTIL{{{MOVED}}}", "{{exported_pod}}, GPU {{gpu}}"),
                        ],
                        "percent",
                        top=100,
                    ),
                ],
            ),
        ],
    )
