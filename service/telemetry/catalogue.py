"""The catalogue of Patchbay's metrics: names, meanings, labels and buckets. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.telemetry.timeline import OTHER

STAGES = {
    "body": "Receiving and parsing the request.",
    "fetch": "Fetching an image from its URL.",
    "admission": "Waiting for visual tokens for its images.",
    "decode": "Waiting for a decoding process, then decoding an image and cutting it into tiles.",
    "encode_queue": "Tiles waiting for the encoder.",
    "encode": "Encoding the batch that contains its tiles.",
    "transfer": "Checking soft tokens and copying them into the arena.",
    "engine_wait": "Waiting for an engine that died to restart.",
    "engine_first_token": "Streaming requests: until the engine's first event that contains more than a role.",
    "engine_answer": "The rest of a streamed answer, slow clients included; all of an answer that is not streamed.",
    OTHER: "Everything else: data URLs, planning, cache keys, headers.",
}
"""In the order in which one request meets them. Their seconds sum to the request's TOTAL."""
TOTAL = "total"

# seconds; from the OpenTelemetry GenAI conventions, extended to the length of a long answer. 12 and 15: a fetch that
# ended at its limit, 10 s by default, must not look like one of 20
STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 12, 15, 20, 40, 80)
FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40),
)
INTER_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_ITEMS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
# a tile of 224 pixels has 256 patches of 14 pixels, one of 448 pixels 1024
BATCH_PATCHES_BUCKETS = tuple(2**power for power in range(6, 18))
# width × height: from an icon to the largest image accepted by default
PIXEL_BUCKETS = (1e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 2e6, 4e6, 8e6, 16e6, 32e6, 64e6)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric, without the prefix `patchbay_` and a counter's `_total`."""

    kind: Literal["counter", "watched", "histogram", "gauge"]
    """watched: a counter kept by its owner and read at scrape time"""
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


CATALOGUE = (
    Definition(
        "counter",
        "requests",
        "Finished requests, by status code (499: the client disconnected).",
        labels=("route", "model", "code"),
    ),
    Definition(
        "counter", "rejections", "Requests refused for lack of capacity, by error code.", labels=("reason",)
    ),
    Definition(
        "counter",
        "cancelled",
        "Requests whose client disconnected: during the body, before the answer, or during it.",
        labels=("stage",),
    ),
    Definition(
        "counter",
        "connections_closed",
        "Closed client connections, by what ended them: the client, the server after an answer, or a limit.",
        labels=("reason",),
    ),
    Definition(
        "counter",
        "accept_pauses",
        "Times that no connection could be accepted for a second, for lack of file descriptors.",
    ),
    Definition(
        "counter", "media_errors", "Requests refused because of an image, by error code.", labels=("reason",)
    ),
    Definition(
        "counter",
        "fetch_failures",
        "Images that could not be fetched from their URL, by cause; each is also counted as a media error.",
        labels=("cause",),
    ),
    Definition(
        "counter",
        "images",
        "Accepted images, by format, source and the level of detail applied.",
        labels=("format", "source", "detail"),
    ),
    Definition(
        "counter",
        "images_reduced",
        "Images that got fewer tiles because the encoder's backlog was longer than auto_detail_backlog.",
    ),
    Definition(
        "counter",
        "image_tokens",
        "Soft tokens handed over to the engine.",
    ),
    Definition("counter", "cache_requests", "Images looked up in the arena, by result.", labels=("result",)),
    Definition(
        "watched",
        "cache_evictions",
        "Images whose soft tokens were evicted from the arena.",
    ),
    Definition(
        "counter",
        "encoder_busy_seconds",
        "Seconds that the encoder spent computing.",
    ),
    Definition(
        "watched",
        "encoder_failures",
        "Images that the encoder failed on, alone or together with their batch.",
    ),
    Definition(
        "watched",
        "decode_worker_losses",
        "Times that a decoding process died, hung or could not be started while an image needed it; the image is then "
        "retried once.",
    ),
    Definition(
        "counter",
        "handover_retries",
        "Requests whose images were encoded again because the engine failed on their handles.",
    ),
    Definition(
        "counter",
        "key_requests",
        "Requests under each API key's name, by status; the keys beyond the first hundred count as other.",
        labels=("key", "code"),
    ),
    Definition(
        "watched",
        "engine_restarts",
        "Times that the engine was restarted.",
    ),
    Definition(
        "watched",
        "engine_ends",
        "Runs of the engine that ended, by reason: it exited, a signal killed it, the kernel killed a process of this "
        "container for want of memory (oom), it was not ready in time, it did not answer health checks, or it could "
        "not be started.",
        labels=("reason",),
    ),
    Definition(
        "watched",
        "engine_stalls",
        "Times the engine stopped making progress while its server still answered.",
    ),
    Definition(
        "counter",
        "requests_blocked",
        "Requests that are refused for a while, because the engine died twice in a row while they were in progress.",
    ),
    Definition(
        "histogram",
        "stage_duration_seconds",
        "Seconds that a request spent in a stage, along its critical path. The stages sum to total.",
        labels=("stage",),
        buckets=STAGE_BUCKETS,
    ),
    Definition(
        "histogram",
        "time_to_first_token_seconds",
        "From the start of a streaming request to its first event.",
        buckets=FIRST_TOKEN_BUCKETS,
    ),
    Definition(
        "histogram",
        "time_to_first_token_without_fetch_seconds",
        "The same, less what the request waited for images from their URLs: what the objective counts.",
        buckets=FIRST_TOKEN_BUCKETS,
    ),
    Definition(
        "histogram",
        "inter_token_latency_seconds",
        "Between consecutive events of a stream.",
        buckets=INTER_TOKEN_BUCKETS,
    ),
    Definition(
        "histogram",
        "event_loop_lag_seconds",
        "How much later than asked the event loop woke a task that sleeps: what every client waits in addition.",
        buckets=LAG_BUCKETS,
    ),
    Definition(
        "histogram",
        "encoder_batch_items",
        "Images per batch.",
        buckets=BATCH_ITEMS_BUCKETS,
    ),
    Definition(
        "histogram",
        "encoder_batch_patches",
        "Patches per batch.",
        buckets=BATCH_PATCHES_BUCKETS,
    ),
    Definition(
        "histogram", "image_pixels", "Pixels of an accepted image, width times height.", buckets=PIXEL_BUCKETS
    ),
    Definition(
        "gauge",
        "inflight",
        "Requests whose body is arriving (stage body), and those from there to the end of their answer (request).",
        labels=("stage",),
    ),
    Definition(
        "gauge",
        "inflight_limit",
        "Maximum number of requests in flight.",
    ),
    Definition(
        "gauge",
        "connections",
        "Open client connections: waiting for a request, or active with one in progress.",
        labels=("state",),
    ),
    Definition("gauge", "connections_limit", "Maximum number of open client connections."),
    Definition(
        "gauge",
        "queue_depth",
        "Requests waiting for visual_tokens, and images waiting to encode.",
        labels=("stage",),
    ),
    Definition(
        "gauge",
        "encoder_backlog_seconds",
        "Seconds that the encoder needs for all images that are being decoded, wait for it or are in it, at the speed "
        "of its last batches.",
    ),
    Definition(
        "gauge",
        "visual_tokens_reserved",
        "Soft tokens reserved for running requests.",
    ),
    Definition(
        "gauge", "visual_tokens_limit", "Maximum number of soft tokens reserved for running requests."
    ),
    Definition(
        "gauge",
        "cache_bytes",
        "Bytes of the arena in use.",
    ),
    Definition(
        "gauge",
        "cache_images",
        "Images whose soft tokens are in the arena.",
    ),
    Definition(
        "gauge",
        "cache_capacity_bytes",
        "Size of the arena in bytes.",
    ),
    Definition(
        "gauge",
        "decode_workers",
        "Decoding processes, by what they do: busy with an image, or idle.",
        ("state",),
    ),
    Definition(
        "gauge",
        "encoder_up",
        "1 if at least one image of the encoder's last batch succeeded, else 0.",
    ),
    Definition(
        "gauge",
        "encoder_info",
        "Always 1; the labels say what the encoder runs on.",
        labels=("device", "kernels", "body", "precision"),
    ),
    Definition(
        "gauge",
        "engine_up",
        "1 while the engine accepts requests.",
    ),
    Definition(
        "gauge", "starting", "1 until the service is ready for the first time or its startup has failed."
    ),
    Definition(
        "gauge",
        "draining",
        "1 while the service drains and accepts no new requests.",
    ),
    Definition(
        "gauge",
        "keys",
        "API keys that are accepted; 0: everybody may call.",
    ),
    Definition(
        "gauge",
        "keys_last_reload_successful",
        "1 unless api_keys_file has changed into one that cannot be used; the keys read before stay in force.",
    ),
    Definition(
        "gauge",
        "build_info",
        "Always 1; the labels say what is running.",
        labels=("version", "model", "engine"),
    ),
)
