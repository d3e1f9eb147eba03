"""Stages: where a request's time is spent, along its critical path."""

from __future__ import annotations

from helm.dashboards.board import board
from helm.dashboards.panels import RED, YELLOW, Query, bars, chart
from service.telemetry.catalogue import STAGES

STAGE = "patchbay_stage_duration_seconds"
WAITING = "admission|encode_queue|engine_wait"


def waterfall(share: float) -> list[Query]:
    """A quantile of each stage over the requests that were in it, in the order of the stages."""
    return [
        Query(
            f'histogram_quantile({share}, sum by (le) (rate({STAGE}_bucket{{@, stage="{stage}"}}[_])))', stage
        )
        for stage in STAGES
    ]


def dashboard() -> object:
    seconds = f"sum(rate({STAGE}_sum{{@, stage"
    requests = f'sum(rate({STAGE}_count{{@, stage="total"}}[_]))'
    slow = ((0.5, YELLOW), (2, RED))
    return board(
        "stages",
        "Stages",
        "Where is a request's time spent? The stages of each request sum to its total.",
        [
            (
                "Waterfall",
                [
                    bars(
                        "Median",
                        "Half of the requests that were in a stage spent less time there.",
                        waterfall(0.5),
                        "s",
                        width=12,
                        steps=slow,
                    ),
                    bars(
                        "95th percentile",
                        "95 % of the requests that were in a stage spent less time there.",
                        waterfall(0.95),
                        "s",
                        width=12,
                        steps=slow,
                    ),
                ],
            ),
            (
                "Over time",
                [
                    chart(
                        "Mean request",
                        "Seconds in each stage, averaged over all requests; they add up to the total.",
                        [Query(f'{seconds}="{stage}"}}[_])) / {requests}', stage) for stage in STAGES],
                        "s",
                        width=24,
                        stack=True,
                    ),
                    chart("Median", "Per stage.", waterfall(0.5), "s", width=12),
                    chart("95th percentile", "Per stage.", waterfall(0.95), "s", width=12),
                ],
            ),
            (
                "Waiting",
                [
                    chart(
                        "Share of time spent waiting",
                        "For visual tokens, for the encoder, or for a restarting engine.",
                        [Query(f'{seconds}=~"{WAITING}"}}[_])) / {seconds}="total"}}[_]))', "waiting")],
                        "percentunit",
                        width=12,
                        steps=((0.25, YELLOW), (0.5, RED)),
                    ),
                    chart(
                        "Queues",
                        "Requests waiting for visual tokens, images waiting for the encoder, and requests "
                        "waiting in vLLM.",
                        [
                            Query("sum by (stage) (patchbay_queue_depth{@})", "{{stage}}"),
                            Query("sum(vllm:num_requests_waiting{@})", "engine"),
                        ],
                        "none",
                        width=12,
                    ),
                ],
            ),
        ],
    )
