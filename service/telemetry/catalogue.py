"""The catalogue of Patchbay's metrics: their names, meanings, labels and buckets. Data alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.telemetry.timeline import OTHER

STAGES = {
    "body": "The request is received and parsed.",
    "fetch": "An image is fetched from its URL.",
    "admission": "Its images wait for visual tokens.",
    "decode": "An image is decoded and cut into tiles, a free process waited for.",
    "encode_queue": "Its tiles wait for the encoder.",
    "encode": "The batch with its tiles is on the device.",
    "transfer": "Its soft tokens are checked and copied into the arena.",
    "engine_wait": "An engine that died is waited for.",
    "engine_first_token": "A streaming request: until the engine's first event that says more than a role.",
    "engine_answer": "The rest of a streamed answer, slow readers included; all of one that does not stream.",
    OTHER: "None of these: data URLs, plans, keys, headers.",
}
"""In the order in which one request meets them. Their seconds sum to the request's TOTAL."""
TOTAL = "total"

# seconds; the OpenTelemetry GenAI conventions' own, carried on to the length of a long answer
STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40),
)
INTER_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
BATCH_ITEMS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
# patches: one 224-pixel tile has 256 of 14 pixels, one of 448 pixels 1024
BATCH_PATCHES_BUCKETS = tuple(2**power for power in range(6, 18))
# width × height: from an icon to the largest image that is accepted by default
PIXEL_BUCKETS = (1e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 2e6, 4e6, 8e6, 16e6, 32e6, 64e6)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric, without the prefix `patchbay_` and a counter's `_total`."""

    kind: Literal["counter", "watched", "histogram", "gauge"]
    """watched: a counter that its owner keeps, read when it is scraped"""
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


CATALOGUE = (
    Definition(
        "counter",
        "requests",
        "Requests that ended, by what they came to (499: the client left).",
        labels=("route", "model", "code"),
    ),
    Definition(
        "counter", "rejections", "Requests refused for want of room, by the error's code.", labels=("reason",)
    ),
    Definition(
        "counter",
        "cancelled",
        "Requests whose client left: while its body came, before its answer began, or within it.",
        labels=("stage",),
    ),
    Definition(
        "counter",
        "connections_closed",
        "Clients' connections that ended, by who or what ended them: the client, the server after an answer, a limit.",
        labels=("reason",),
    ),
    Definition(
        "counter",
        "accept_pauses",
        "Times that no connection could be accepted for a second, for want of file descriptors.",
    ),
    Definition(
        "counter", "media_errors", "Requests refused for an image, by the error's code.", labels=("reason",)
    ),
    Definition(
        "counter",
        "fetch_failures",
        "Images that could not be had from their URL, by cause; each is a media error too.",
        labels=("cause",),
    ),
    Definition(
        "counter",
        "images",
        "Images accepted, with the level of detail that was applied.",
        labels=("format", "source", "detail"),
    ),
    Definition(
        "counter",
        "image_tokens",
        "Soft tokens handed to the engine.",
    ),
    Definition(
        "counter", "cache_requests", "Images looked up in the arena: hit or miss.", labels=("result",)
    ),
    Definition(
        "watched",
        "cache_evictions",
        "Images whose soft tokens made room in the arena for others.",
    ),
    Definition(
        "counter",
        "encoder_busy_seconds",
        "Seconds in which the encoder computed.",
    ),
    Definition(
        "watched", "encoder_failures", "Images that the encoder failed on, alone or with all of their batch."
    ),
    Definition(
        "watched",
        "decode_worker_losses",
        "Times a decoding process died, stood still or could not be started while an image needed it; such an image is "
        "tried once more.",
    ),
    Definition(
        "counter",
        "handover_retries",
        "Requests whose images were encoded once more, because the engine failed on their handles.",
    ),
    Definition(
        "watched",
        "engine_restarts",
        "Times the engine was started again.",
    ),
    Definition(
        "histogram",
        "stage_duration_seconds",
        "Seconds of a request in one stage, along its critical path. Stages sum to total.",
        labels=("stage",),
        buckets=STAGE_BUCKETS,
    ),
    Definition(
        "histogram",
        "time_to_first_token_seconds",
        "From a streaming request to its first event.",
        buckets=FIRST_TOKEN_BUCKETS,
    ),
    Definition(
        "histogram",
        "inter_token_latency_seconds",
        "Between two events of a stream.",
        buckets=INTER_TOKEN_BUCKETS,
    ),
    Definition(
        "histogram",
        "encoder_batch_items",
        "Images in a batch.",
        buckets=BATCH_ITEMS_BUCKETS,
    ),
    Definition(
        "histogram",
        "encoder_batch_patches",
        "Patches in a batch.",
        buckets=BATCH_PATCHES_BUCKETS,
    ),
    Definition(
        "histogram", "image_pixels", "Pixels of an accepted image, width times height.", buckets=PIXEL_BUCKETS
    ),
    Definition(
        "gauge", "inflight", "Requests inside, from their body to the end of their answer.", labels=("stage",)
    ),
    Definition(
        "gauge",
        "inflight_limit",
        "Requests that may be inside at once.",
    ),
    Definition(
        "gauge",
        "connections",
        "Clients' connections: waiting for a request, or active with one in progress.",
        labels=("state",),
    ),
    Definition("gauge", "connections_limit", "Clients' connections that may be open at once."),
    Definition(
        "gauge",
        "queue_depth",
        "Requests that wait for visual_tokens, and images that wait to encode.",
        labels=("stage",),
    ),
    Definition(
        "gauge",
        "visual_tokens_reserved",
        "Soft tokens promised to running requests.",
    ),
    Definition(
        "gauge", "visual_tokens_limit", "Soft tokens that may be promised to running requests at once."
    ),
    Definition(
        "gauge",
        "cache_bytes",
        "Bytes of the arena that are in use.",
    ),
    Definition(
        "gauge",
        "cache_images",
        "Images whose soft tokens lie in the arena.",
    ),
    Definition(
        "gauge",
        "cache_capacity_bytes",
        "Bytes of the arena.",
    ),
    Definition(
        "gauge",
        "encoder_up",
        "1 while the encoder's last batch answered anybody.",
    ),
    Definition(
        "gauge", "encoder_info", "Always 1; what the encoder runs on.", labels=("device", "kernels", "body")
    ),
    Definition(
        "gauge",
        "engine_up",
        "1 while the engine takes requests.",
    ),
    Definition(
        "gauge", "starting", "1 until the service is ready for the first time, or its start is given up."
    ),
    Definition(
        "gauge",
        "draining",
        "1 while no new request is taken.",
    ),
    Definition(
        "gauge",
        "build_info",
        "Always 1; what runs here.",
        labels=("version", "model", "engine"),
    ),
)
