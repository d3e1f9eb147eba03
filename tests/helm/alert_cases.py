"""For each alert, series on which it fires and series on which it does not, in promtool's notation."""

from __future__ import annotations

from dataclasses import dataclass

ONE = 'job="patchbay",instance="a:9090"'
REQUESTS = f'patchbay_requests_total{{{ONE},route="/v1/chat/completions",model="m",code='
ENGINE_UP = 'up{job="vllm",instance="a:9090"}'
FIRST = "patchbay_time_to_first_token_without_fetch_seconds_"

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


def one_failed(at: int) -> Series:
    """A request in every interval, and once another one that fails: few requests make a large share of it."""
    return {f'{REQUESTS}"200"}}': "0+1x60", f'{REQUESTS}"503"}}': f"0x{at} 1x{60 - at}"}


def one_late(at: int) -> Series:
    """A single stream, which is late."""
    late = f"0x{at} 1x{60 - at}"
    return {f'{FIRST}bucket{{{ONE},le="2.5"}}': "0x60", f"{FIRST}count{{{ONE}}}": late}


def of(name: str, values: str, labels: str = "") -> Series:
    return {f"patchbay_{name}{{{ONE}{labels}}}": values}


def media(reason: str, values: str) -> Series:
    return of("media_errors_total", values, f',reason="{reason}"')


def fetched(failed: str, well: str = "") -> Series:
    """Images named by a URL, among requests without images."""
    images = {f'patchbay_images_total{{{ONE},source="url",format="png",detail="high"}}': well} if well else {}
    return answers(10, 0, 40) | images | media("media_fetch_failed", failed)


def refused(reason: str, answered: float, each: int) -> Series:
    """So many for want of room in every minute, and so many answers."""
    return answers(answered, 0, 30) | of("rejections_total", f"0+{each}x30", f',reason="{reason}"')


def inside(requests: int, visual_tokens: int) -> Series:
    """Of 64 places, and of 1000 visual tokens."""
    return (
        of("inflight", f"{requests}x30", ',stage="request"')
        | of("inflight_limit", "64x30")
        | of("visual_tokens_reserved", f"{visual_tokens}x30")
        | of("visual_tokens_limit", "1000x30")
    )


def arena(images: int, evicted: int) -> Series:
    """So many images in it, and so many evicted in every minute."""
    return of("cache_images", f"{images}x40") | of("cache_evictions_total", f"0+{evicted}x40")


def encoder(device: str, kernels: str, body: str) -> Series:
    return of(
        "encoder_info", "1x20", f',device="{device}",kernels="{kernels}",body="{body}",precision="full"'
    )


def encoding(up: int, failures: str) -> Series:
    return of("encoder_up", f"{up}x20") | of("encoder_failures_total", failures)


def engine(up: str, starting: int = 0, restarts: str = "0x80", draining: int = 0) -> Series:
    gauges = of("starting", f"{starting}x80") | of("draining", f"{draining}x80")
    return of("engine_up", up) | gauges | of("engine_restarts_total", restarts)


STOPPED = {f'{REQUESTS}"200"}}': "0+100x200", f'{REQUESTS}"503"}}': "0+10x60 600x140"}
CPU = encoder("cpu", "cpu", "fused")

CASES = (
    Case("PatchbayAvailabilityBurnFast", "one in twenty fails", True, "80m", answers(95, 5, 90)),
    Case("PatchbayAvailabilityBurnFast", "one in two hundred fails", False, "80m", answers(99.5, 0.5, 90)),
    Case(
        "PatchbayAvailabilityBurnFast",
        "one fails in an hour of thirty",
        False,
        "80m",
        one_failed(38),
        interval="2m",
    ),
    Case(
        "PatchbayAvailabilityBurnSlow",
        "one fails in hours of thirty",
        False,
        "3h",
        one_failed(30),
        interval="5m",
    ),
    Case("PatchbayFirstTokenBurnFast", "the only stream is late", False, "80m", one_late(38), interval="2m"),
    Case("PatchbayFirstTokenBurnSlow", "the only stream is late", False, "3h", one_late(30), interval="5m"),
    Case("PatchbayAvailabilityBurnFast", "it is over", False, "100m", STOPPED),
    Case(
        "PatchbayAvailabilityBurnFast", "nothing ever failed", False, "80m", {f'{REQUESTS}"200"}}': "0+9x90"}
    ),
    Case("PatchbayAvailabilityBurnSlow", "one in 200", True, "3h", answers(99.5, 0.5, 60), interval="5m"),
    Case("PatchbayAvailabilityBurnSlow", "one in 2000", False, "3h", answers(999.5, 0.5, 60), interval="5m"),
    Case("PatchbayFirstTokenBurnFast", "four in five are late", True, "80m", streams(80, 90)),
    Case("PatchbayFirstTokenBurnFast", "a fifth is late", False, "80m", streams(20, 90)),
    Case("PatchbayFirstTokenBurnSlow", "a fifth is late", True, "3h", streams(20, 60), interval="5m"),
    Case("PatchbayFirstTokenBurnSlow", "as agreed", False, "3h", streams(4, 60), interval="5m"),
    Case("PatchbayDown", "gone", True, "5m", {f"up{{{ONE}}}": "1 1 0x10"}),
    Case("PatchbayDown", "one scrape missed", False, "5m", {f"up{{{ONE}}}": "1 1 0 1x10"}),
    Case("PatchbayDown", "no target is left", True, "5m", {f"up{{{ONE}}}": "1 1 stale"}),
    Case("PatchbayDown", "the engine alone", False, "5m", {f"up{{{ONE}}}": "1x10", ENGINE_UP: "0x10"}),
    Case("PatchbayQueueSaturated", "places", True, "20m", inside(62, 0)),
    Case("PatchbayQueueSaturated", "visual tokens", True, "20m", inside(0, 950)),
    Case("PatchbayQueueSaturated", "half full", False, "20m", inside(32, 500)),
    Case("PatchbayRejecting", "a tenth", True, "15m", refused("queue_full", 90, 10)),
    Case("PatchbayRejecting", "one in a thousand", False, "15m", refused("queue_full", 999, 1)),
    Case("PatchbayRejecting", "it drains", False, "15m", refused("draining", 90, 10)),
    Case("PatchbayFetchFailures", "a fifth", True, "30m", fetched("0+2x40", well="0+8x40")),
    Case("PatchbayFetchFailures", "all of them, from the start", True, "30m", fetched("0+2x40")),
    Case(
        "PatchbayFetchFailures",
        "the host was well again eight minutes ago",
        False,
        "30m",
        fetched("0+8x22 176x20", well="0+2x22 44+10x20"),
    ),
    Case("PatchbayFetchFailures", "one in fifty", False, "30m", fetched("0+2x40", well="0+98x40")),
    Case("PatchbayFetchFailures", "two in all", False, "30m", fetched("0x20 1 2x20")),
    Case("PatchbayBlockedURLs", "three a minute", True, "15m", media("url_not_allowed", "0+3x20")),
    Case("PatchbayBlockedURLs", "one in two minutes", False, "15m", media("url_not_allowed", "0+0.5x20")),
    Case("PatchbayBlockedURLs", "other errors", False, "15m", media("invalid_image", "0+9x20")),
    Case("PatchbayCacheThrash", "half a minute", True, "30m", arena(30, evicted=60)),
    Case("PatchbayCacheThrash", "ten minutes", False, "30m", arena(600, evicted=60)),
    Case("PatchbayCacheThrash", "nothing is evicted", False, "30m", arena(3, evicted=0)),
    Case(
        "PatchbayEncoderFallback",
        "reference kernels",
        True,
        "10m",
        encoder("cuda", "reference", "transformers"),
    ),
    Case(
        "PatchbayEncoderFallback", "plain blocks on a CPU", True, "10m", encoder("cpu", "cpu", "transformers")
    ),
    Case("PatchbayEncoderFallback", "a GPU", False, "10m", encoder("cuda", "triton", "transformers")),
    Case("PatchbayEncoderFallback", "a CPU", False, "10m", CPU),
    Case("PatchbayEncoderFailing", "its last batch failed", True, "10m", CPU | encoding(0, "0x20")),
    Case("PatchbayEncoderFailing", "image after image", True, "15m", encoding(1, "0+1x20")),
    Case("PatchbayEncoderFailing", "a gateway has no encoder", False, "10m", encoding(0, "0x20")),
    Case("PatchbayEncoderFailing", "well", False, "10m", CPU | encoding(1, "0 1 1x20")),
    Case("PatchbayEngineDown", "it died", True, "10m", engine("1 0x20", restarts="0 0 1x20")),
    Case("PatchbayEngineDown", "it does not answer", True, "10m", engine("1 0x20")),
    Case(
        "PatchbayEngineDown",
        "a restart of four minutes",
        False,
        "4m",
        engine("1 0x3 1x20", restarts="0 1x20"),
    ),
    Case("PatchbayEngineDown", "weights load for 20 minutes", False, "20m", engine("0x20 1x20", starting=1)),
    Case("PatchbayEngineDown", "it died as they loaded", True, "20m", engine("0x20", 1, restarts="0x9 1x20")),
    Case("PatchbayEngineDown", "and when they are there it dies", True, "40m", engine("0x20 1x9 0x20")),
    Case("PatchbayEngineDown", "50 minutes of loading", False, "50m", engine("0x80", starting=1)),
    Case("PatchbayEngineDown", "a start without end", True, "70m", engine("0x80", starting=1)),
    Case("PatchbayEngineDown", "start after start", True, "70m", engine("0x30 stale _ 0x30 stale _ 0x9", 1)),
    Case("PatchbayEngineDown", "told to stop", False, "10m", engine("0x20", draining=1)),
    Case(
        "PatchbayEngineRestarting", "thrice", True, "20m", of("engine_restarts_total", "0 0 1 1 1 2 2 3x20")
    ),
    Case("PatchbayEngineRestarting", "once", False, "20m", of("engine_restarts_total", "0 0 1x30")),
)
