"""Cache and hand-over: soft tokens from the encoder to the engine."""

from __future__ import annotations

from helm.dashboards.board import board
from helm.dashboards.panels import RED, YELLOW, Query, chart, number, quantiles

LOOKUPS = "rate(patchbay_cache_requests_total{@}[_])"
HITS = 'sum(rate(patchbay_cache_requests_total{@, result="hit"}[_]))'
EVICTIONS = "sum(rate(patchbay_cache_evictions_total{@}[_]))"
RETRIES = "sum(rate(patchbay_handover_retries_total{@}[_]))"
RESERVED = "sum(patchbay_visual_tokens_reserved{@})"
LIMIT = "sum(patchbay_visual_tokens_limit{@})"
FULL = ((0.7, YELLOW), (0.9, RED))


def dashboard() -> object:
    transfer = '@, stage="transfer"'
    admission = '@, stage="admission"'
    prefix = (
        "sum(rate(vllm:prefix_cache_hits_total{@}[_])) / sum(rate(vllm:prefix_cache_queries_total{@}[_]))"
    )
    return board(
        "cache",
        "Cache and hand-over",
        "Is each image encoded once, and do its soft tokens reach the engine?",
        [
            (
                "Now",
                [
                    number(
                        "Hits",
                        "Share of images whose soft tokens were already in the arena.",
                        Query(f"{HITS} / sum({LOOKUPS})"),
                        "percentunit",
                        decimals=0,
                    ),
                    number(
                        "Images in the cache",
                        "Images whose soft tokens are in the arena.",
                        Query("sum(patchbay_cache_images{@})"),
                        "none",
                    ),
                    number(
                        "Arena in use",
                        "A full cache is normal; watch the evictions.",
                        Query("sum(patchbay_cache_bytes{@}) / sum(patchbay_cache_capacity_bytes{@})"),
                        "percentunit",
                        decimals=0,
                    ),
                    number(
                        "Evictions",
                        "Images evicted per second.",
                        Query(EVICTIONS),
                        "suffix: images/s",
                        decimals=2,
                    ),
                    number(
                        "Visual tokens reserved",
                        "As a share of the limit for running requests.",
                        Query(f"{RESERVED} / {LIMIT}"),
                        "percentunit",
                        steps=FULL,
                        decimals=0,
                    ),
                    number(
                        "Hand-over retries",
                        "Requests per second whose images had to be encoded again.",
                        Query(RETRIES),
                        "reqps",
                        steps=((0.01, YELLOW), (0.1, RED)),
                        decimals=2,
                    ),
                ],
            ),
            (
                "Cache",
                [
                    chart(
                        "Lookups",
                        "Images looked up in the arena.",
                        [Query(f"sum by (result) ({LOOKUPS})", "{{result}}")],
                        "suffix: images/s",
                        stack=True,
                    ),
                    chart(
                        "Arena",
                        "Bytes in use, and total size.",
                        [
                            Query("sum(patchbay_cache_bytes{@})", "in use"),
                            Query("sum(patchbay_cache_capacity_bytes{@})", "size"),
                        ],
                        "bytes",
                    ),
                    chart(
                        "Evictions",
                        "Images evicted per second.",
                        [Query(EVICTIONS, "evictions")],
                        "suffix: images/s",
                    ),
                ],
            ),
            (
                "Hand-over",
                [
                    chart(
                        "Soft tokens",
                        "Handed over to the engine.",
                        [Query("sum(rate(patchbay_image_tokens_total{@}[_]))", "soft tokens")],
                        "suffix: tokens/s",
                    ),
                    chart(
                        "Visual tokens",
                        "Reserved for running requests, and the limit.",
                        [Query(RESERVED, "reserved"), Query(LIMIT, "limit")],
                        "short",
                    ),
                    chart(
                        "Wait for visual tokens",
                        "For requests with images.",
                        quantiles("patchbay_stage_duration_seconds", 0.5, 0.95, labels=admission),
                        "s",
                    ),
                    chart(
                        "Copy into the arena",
                        "Checking and copying soft tokens.",
                        quantiles("patchbay_stage_duration_seconds", 0.5, 0.95, labels=transfer),
                        "s",
                    ),
                    chart(
                        "Retries",
                        "Requests whose images were encoded again because the engine failed on their handles.",
                        [Query(RETRIES, "retries")],
                        "reqps",
                    ),
                    chart(
                        "Prefix cache of the engine",
                        "Share of prompt tokens that vLLM had cached: in later turns of a chat, "
                        "a picture costs it nothing.",
                        [Query(prefix, "hits")],
                        "percentunit",
                        top=1,
                    ),
                ],
            ),
        ],
    )
