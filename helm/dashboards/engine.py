"""Engine: vLLM's own metrics, under its own names."""

from __future__ import annotations

from helm.dashboards.board import board
from helm.dashboards.panels import RED, YELLOW, Query, chart, number, quantiles

PROMPT = "sum(rate(vllm:prompt_tokens_total{@}[_]))"
MADE = "sum(rate(vllm:generation_tokens_total{@}[_]))"
RUNNING = "sum(vllm:num_requests_running{@})"
WAITING = "sum(vllm:num_requests_waiting{@})"


def dashboard() -> object:
    full = ((0.8, YELLOW), (0.95, RED))
    preemptions = "sum(rate(vllm:num_preemptions_total{@}[_]))"
    return board(
        "engine",
        "Engine",
        "vLLM: is it up, is it full, and how fast does it generate?",
        [
            (
                "Now",
                [
                    number(
                        "Down",
                        "Instances whose engine accepts no requests.",
                        Query("count(patchbay_engine_up{@} == 0) or vector(0)"),
                        "none",
                        steps=((1, RED),),
                    ),
                    number(
                        "Restarts, 1 hour",
                        "Engine restarts in the last hour.",
                        Query("sum(increase(patchbay_engine_restarts_total{@}[1h]))"),
                        "none",
                        steps=((0.5, YELLOW), (1.5, RED)),
                        decimals=0,
                    ),
                    number("Running", "Requests in the current batch.", Query(RUNNING), "none"),
                    number(
                        "Waiting",
                        "Requests not yet scheduled.",
                        Query(WAITING),
                        "none",
                        steps=((8, YELLOW), (32, RED)),
                    ),
                    number(
                        "KV cache in use",
                        "Share of its blocks in use.",
                        Query("max(vllm:kv_cache_usage_perc{@})"),
                        "percentunit",
                        steps=full,
                        decimals=0,
                    ),
                    number("Tokens", "Generated per second.", Query(MADE), "suffix: tokens/s", decimals=0),
                ],
            ),
            (
                "Load",
                [
                    chart(
                        "Requests",
                        "Running and waiting.",
                        [Query(RUNNING, "running"), Query(WAITING, "waiting")],
                        "none",
                    ),
                    chart(
                        "KV cache",
                        "Share of its blocks in use, by instance.",
                        [Query("vllm:kv_cache_usage_perc{@}", "{{instance}}")],
                        "percentunit",
                        top=1,
                        steps=full,
                    ),
                    chart(
                        "Preemptions",
                        "Requests preempted for lack of KV blocks; their prompts are computed again.",
                        [Query(preemptions, "preemptions")],
                        "reqps",
                    ),
                ],
            ),
            (
                "Reliability",
                [
                    chart(
                        "Restarts and stalls",
                        "Restarts, why runs ended, and stalls: vLLM's server answered without progress.",
                        [
                            Query("sum(increase(patchbay_engine_restarts_total{@}[5m]))", "restarts"),
                            Query(
                                "sum by (reason) (increase(patchbay_engine_ends_total{@}[5m]))", "{{reason}}"
                            ),
                            Query("sum(increase(patchbay_engine_stalls_total{@}[5m]))", "stalls"),
                        ],
                        "none",
                    ),
                    chart(
                        "Blocked requests",
                        "Requests refused because the engine died twice while they were in progress.",
                        [Query("sum(increase(patchbay_requests_blocked_total{@}[5m]))", "blocked")],
                        "none",
                        steps=((0.5, RED),),
                    ),
                    chart(
                        "Retried hand-overs",
                        "Requests whose images were encoded again because the engine failed on their handles.",
                        [Query("sum(rate(patchbay_handover_retries_total{@}[_]))", "retries")],
                        "reqps",
                    ),
                ],
            ),
            (
                "Tokens",
                [
                    chart(
                        "Prompt and answer",
                        "Tokens per second.",
                        [Query(PROMPT, "prompt"), Query(MADE, "answer")],
                        "suffix: tokens/s",
                    ),
                    chart(
                        "Tokens per step",
                        "Per scheduler step, prompts and answers together.",
                        quantiles("vllm:iteration_tokens_total", 0.5, 0.95),
                        "none",
                    ),
                    chart(
                        "Finished",
                        "Requests, by finish reason.",
                        [
                            Query(
                                "sum by (finished_reason) (rate(vllm:request_success_total{@}[_])) > 0",
                                "{{finished_reason}}",
                            )
                        ],
                        "reqps",
                        stack=True,
                    ),
                ],
            ),
            (
                "Latency inside the engine",
                [
                    chart(
                        "First token",
                        "From when vLLM receives the request to its first token.",
                        quantiles("vllm:time_to_first_token_seconds", 0.5, 0.95, 0.99),
                        "s",
                    ),
                    chart(
                        "Queue, prefill and decode",
                        "95th percentile of each.",
                        [
                            Query(
                                f"histogram_quantile(0.95, sum by (le) (rate(vllm:request_{part}_time_seconds_bucket"
                                "{@}[_])))",
                                part,
                            )
                            for part in ("queue", "prefill", "decode")
                        ],
                        "s",
                    ),
                    chart(
                        "Between tokens",
                        "As vLLM generates them.",
                        quantiles("vllm:inter_token_latency_seconds", 0.5, 0.95, 0.99),
                        "s",
                    ),
                ],
            ),
        ],
    )
