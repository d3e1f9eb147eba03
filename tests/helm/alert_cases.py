"""For each alert, series on which it fires and series on which it does not, in promtool's notation."""

from __future__ import annotations

from dataclasses import dataclass

ONE = 'job="patchbay",instance="a:9090"'
REQUESTS = f'patchbay_requests_total{{{ONE},route="/v1/chat/completions",model="m",code='
FIRST = "patchbay_time_to_first_token_seconds_"

Series = dict[str, str]
"""Name and labels to values."""


@dataclass(frozen=True, slots=True)
class Case:
    alert: str
    what: str
    fires: bool
    at: str
    series: Series
    interval: str = "1m"


def answers(good: float, failed: float, count: int) -> Series:
    """So many of each in every interval."""
    return {f'{REQUESTS}"200"}}': f"0+{good}x{count}", f'{REQUESTS}"503"}}': f"0+{failed}x{count}"}


def streams(late: float, count: int) -> Series:
    """Of a hundred in every interval."""
    return {
        f'{FIRST}bucket{{{ONE},le="2.5"}}': f"0+{100 - late}x{count}",
        f"{FIRST}count{{{ONE}}}": f"0+100x{count}",
    }


def of(name: str, values: str, labels: str = "") -> Series:
    return {f"patchbay_{name}{{{ONE}{labels}}}": values}


def media(reason: str, values: str) -> Series:
    return of("media_errors_total", values, f',reason="{reason}"')


def case(alert: str, what: str, fires: bool, at: str, *series: Series, interval: str = "1m") -> Case:
    together: Series = {}
    for some in series:
        together |= some
    return Case(alert, what, fires, at, together, interval)


STOPPED = {f'{REQUESTS}"200"}}': "0+100x200", f'{REQUESTS}"503"}}': "0+10x60 600x140"}
FETCHED = f'patchbay_images_total{{{ONE},source="url",format="png",detail="high"}}'
INFO = ',device="{}",kernels="{}",body="{}"'
REFUSED = ',reason="queue_full"'

CASES = (
    case("PatchbayAvailabilityBurnFast", "one in twenty fails", True, "80m", answers(95, 5, 90)),
    case("PatchbayAvailabilityBurnFast", "one in two hundred fails", False, "80m", answers(99.5, 0.5, 90)),
    case("PatchbayAvailabilityBurnFast", "it is over", False, "100m", STOPPED),
    case(
        "PatchbayAvailabilityBurnFast", "nothing ever failed", False, "80m", {f'{REQUESTS}"200"}}': "0+9x90"}
    ),
    case("PatchbayAvailabilityBurnSlow", "one in 200", True, "3h", answers(99.5, 0.5, 60), interval="5m"),
    case("PatchbayAvailabilityBurnSlow", "one in 2000", False, "3h", answers(999.5, 0.5, 60), interval="5m"),
    case("PatchbayFirstTokenBurnFast", "four in five are late", True, "80m", streams(80, 90)),
    case("PatchbayFirstTokenBurnFast", "a fifth is late", False, "80m", streams(20, 90)),
    case("PatchbayFirstTokenBurnSlow", "a fifth is late", True, "3h", streams(20, 60), interval="5m"),
    case("PatchbayFirstTokenBurnSlow", "as agreed", False, "3h", streams(4, 60), interval="5m"),
    case("PatchbayDown", "gone", True, "5m", {f"up{{{ONE}}}": "1 1 0x10"}),
    case("PatchbayDown", "one scrape missed", False, "5m", {f"up{{{ONE}}}": "1 1 0 1x10"}),
    case("PatchbayDown", "no target is left", True, "5m", {f"up{{{ONE}}}": "1 1 stale"}),
    case(
        "PatchbayDown",
        "the engine alone",
        False,
        "5m",
        {f"up{{{ONE}}}": "1x10", 'up{job="vllm",instance="a:9090"}': "0x10"},
    ),
    case(
        "PatchbayQueueSaturated",
        "places",
        True,
        "20m",
        of("inflight", "62x30", ',stage="request"'),
        of("inflight_limit", "64x30"),
    ),
    case(
        "PatchbayQueueSaturated",
        "visual tokens",
        True,
        "20m",
        of("visual_tokens_reserved", "950x30"),
        of("visual_tokens_limit", "1000x30"),
    ),
    case(
        "PatchbayQueueSaturated",
        "half full",
        False,
        "20m",
        of("inflight", "32x30", ',stage="request"'),
        of("inflight_limit", "64x30"),
        of("visual_tokens_reserved", "500x30"),
        of("visual_tokens_limit", "1000x30"),
    ),
    case(
        "PatchbayRejecting",
        "a tenth",
        True,
        "15m",
        answers(90, 0, 30),
        of("rejections_total", "0+10x30", REFUSED),
    ),
    case(
        "PatchbayRejecting",
        "one in a thousand",
        False,
        "15m",
        answers(999, 0, 30),
        of("rejections_total", "0+1x30", REFUSED),
    ),
    case(
        "PatchbayRejecting",
        "it drains",
        False,
        "15m",
        answers(90, 10, 30),
        of("rejections_total", "0+10x30", ',reason="draining"'),
    ),
    case(
        "PatchbayFetchFailures",
        "a fifth",
        True,
        "30m",
        answers(10, 0, 40),
        {FETCHED: "0+8x40"},
        media("media_fetch_failed", "0+2x40"),
    ),
    case(
        "PatchbayFetchFailures",
        "all of them, from the start",
        True,
        "30m",
        answers(10, 0, 40),
        media("media_fetch_failed", "0+2x40"),
    ),
    case(
        "PatchbayFetchFailures",
        "one in fifty",
        False,
        "30m",
        answers(10, 0, 40),
        {FETCHED: "0+98x40"},
        media("media_fetch_failed", "0+2x40"),
    ),
    case(
        "PatchbayFetchFailures",
        "two in all",
        False,
        "30m",
        answers(10, 0, 40),
        media("media_fetch_failed", "0x20 1 2x20"),
    ),
    case("PatchbayBlockedURLs", "three a minute", True, "15m", media("url_not_allowed", "0+3x20")),
    case("PatchbayBlockedURLs", "one in two minutes", False, "15m", media("url_not_allowed", "0+0.5x20")),
    case("PatchbayBlockedURLs", "other errors", False, "15m", media("invalid_image", "0+9x20")),
    case(
        "PatchbayCacheThrash",
        "half a minute",
        True,
        "30m",
        of("cache_images", "30x40"),
        of("cache_evictions_total", "0+60x40"),
    ),
    case(
        "PatchbayCacheThrash",
        "ten minutes",
        False,
        "30m",
        of("cache_images", "600x40"),
        of("cache_evictions_total", "0+60x40"),
    ),
    case(
        "PatchbayCacheThrash",
        "nothing is evicted",
        False,
        "30m",
        of("cache_images", "3x40"),
        of("cache_evictions_total", "0x40"),
    ),
    case(
        "PatchbayEncoderFallback",
        "reference kernels",
        True,
        "10m",
        of("encoder_info", "1x20", INFO.format("cuda", "reference", "transformers")),
    ),
    case(
        "PatchbayEncoderFallback",
        "plain blocks on a CPU",
        True,
        "10m",
        of("encoder_info", "1x20", INFO.format("cpu", "cpu", "transformers")),
    ),
    case(
        "PatchbayEncoderFallback",
        "a GPU",
        False,
        "10m",
        of("encoder_info", "1x20", INFO.format("cuda", "triton", "transformers")),
    ),
    case(
        "PatchbayEncoderFallback",
        "a CPU",
        False,
        "10m",
        of("encoder_info", "1x20", INFO.format("cpu", "cpu", "fused")),
    ),
    case(
        "PatchbayEncoderFailing",
        "its last batch failed",
        True,
        "10m",
        of("encoder_up", "0x20"),
        of("encoder_info", "1x20", INFO.format("cpu", "cpu", "fused")),
        of("encoder_failures_total", "0x20"),
    ),
    case(
        "PatchbayEncoderFailing",
        "image after image",
        True,
        "15m",
        of("encoder_up", "1x20"),
        of("encoder_failures_total", "0+1x20"),
    ),
    case(
        "PatchbayEncoderFailing",
        "a gateway has no encoder",
        False,
        "10m",
        of("encoder_up", "0x20"),
        of("encoder_failures_total", "0x20"),
    ),
    case(
        "PatchbayEncoderFailing",
        "well",
        False,
        "10m",
        of("encoder_up", "1x20"),
        of("encoder_info", "1x20", INFO.format("cpu", "cpu", "fused")),
        of("encoder_failures_total", "0 1 1x20"),
    ),
    case("PatchbayEngineDown", "down", True, "10m", of("engine_up", "1 0x20"), of("draining", "0x20")),
    case(
        "PatchbayEngineDown",
        "a short start",
        False,
        "10m",
        of("engine_up", "0x3 1x20"),
        of("draining", "0x20"),
    ),
    case("PatchbayEngineDown", "told to stop", False, "10m", of("engine_up", "0x20"), of("draining", "1x20")),
    case(
        "PatchbayEngineRestarting", "thrice", True, "20m", of("engine_restarts_total", "0 0 1 1 1 2 2 3x20")
    ),
    case("PatchbayEngineRestarting", "once", False, "20m", of("engine_restarts_total", "0 0 1x30")),
)
