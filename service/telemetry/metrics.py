"""Every metric of Patchbay: names, labels, buckets, on a registry that is passed in.

Callers say what happened in the words of the product; no label is written anywhere else. Gauges are read when they
are scraped, from functions that their owners hand over. Knows nothing of who measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from service.errors import ArenaFull, Draining, EngineUnavailable, ImageError, QueueFull
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
class Family:
    """One metric as it is scraped."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class WatchedCounter(Collector):
    """A counter that its owner keeps, read when it is scraped; nought until then."""

    def __init__(self, name: str, text: str) -> None:
        self.read: Callable[[], float] = lambda: 0.0
        self._name = name
        self._text = text

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._text, value=self.read())


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.families: list[Family] = []
        self._requests = self._counter(
            "requests",
            "Requests that ended, by what they came to (499: the client left).",
            "route",
            "model",
            "code",
        )
        self._rejections = self._counter(
            "rejections", "Requests refused for want of room, by the error's code.", "reason"
        )
        self._cancelled = self._counter(
            "cancelled",
            "Requests whose client left: while its body came, before its answer began, or within it.",
            "stage",
        )
        self._media_errors = self._counter(
            "media_errors", "Requests refused for an image, by the error's code.", "reason"
        )
        self._images = self._counter(
            "images",
            "Images accepted, with the level of detail that was applied.",
            "format",
            "source",
            "detail",
        )
        self._image_tokens = self._counter("image_tokens", "Soft tokens handed to the engine.")
        self._cache = self._counter("cache_requests", "Images looked up in the arena: hit or miss.", "result")
        self._evictions = self._watched(
            "cache_evictions", "Images whose soft tokens made room in the arena for others."
        )
        self._encoder_busy = self._counter("encoder_busy_seconds", "Seconds in which the encoder computed.")
        self._encoder_failures = self._watched(
            "encoder_failures", "Images that the encoder failed on, alone or with all of their batch."
        )
        self._handover_retries = self._counter(
            "handover_retries",
            "Requests whose images were encoded once more, because the engine failed on their handles.",
        )
        self._restarts = self._watched("engine_restarts", "Times the engine was started again.")

        self._stages = self._histogram(
            "stage_duration_seconds",
            "Seconds of a request in one stage, along its critical path. Stages sum to total.",
            STAGE_BUCKETS,
            "stage",
        )
        self._first_token = self._histogram(
            "time_to_first_token_seconds", "From a streaming request to its first event.", FIRST_TOKEN_BUCKETS
        )
        self._inter_token = self._histogram(
            "inter_token_latency_seconds", "Between two events of a stream.", INTER_TOKEN_BUCKETS
        )
        self._batch_items = self._histogram("encoder_batch_items", "Images in a batch.", BATCH_ITEMS_BUCKETS)
        self._batch_patches = self._histogram(
            "encoder_batch_patches", "Patches in a batch.", BATCH_PATCHES_BUCKETS
        )
        self._pixels = self._histogram(
            "image_pixels", "Pixels of an accepted image, width times height.", PIXEL_BUCKETS
        )

        self._inflight = self._gauge(
            "inflight", "Requests inside, from their body to the end of their answer.", "stage"
        )
        self._inflight_limit = self._gauge("inflight_limit", "Requests that may be inside at once.")
        self._queue = self._gauge(
            "queue_depth", "Requests that wait for visual_tokens, and images that wait to encode.", "stage"
        )
        self._reserved = self._gauge("visual_tokens_reserved", "Soft tokens promised to running requests.")
        self._reserved_limit = self._gauge(
            "visual_tokens_limit", "Soft tokens that may be promised to running requests at once."
        )
        self._cache_bytes = self._gauge("cache_bytes", "Bytes of the arena that are in use.")
        self._cache_images = self._gauge("cache_images", "Images whose soft tokens lie in the arena.")
        self._cache_capacity = self._gauge("cache_capacity_bytes", "Bytes of the arena.")
        self._encoder_up = self._gauge("encoder_up", "1 while the encoder's last batch answered anybody.")
        self._encoder = self._gauge(
            "encoder_info", "Always 1; what the encoder runs on.", "device", "kernels", "body"
        )
        self._engine_up = self._gauge("engine_up", "1 while the engine takes requests.")
        self._starting = self._gauge(
            "starting", "1 until the service is ready for the first time, or its start is given up."
        )
        self._draining = self._gauge("draining", "1 while no new request is taken.")
        self._build = self._gauge("build_info", "Always 1; what runs here.", "version", "model", "engine")
        # a rate over what begins with its first event would miss that event
        for stage in (*STAGES, TOTAL):
            self._stages.labels(stage)
        for kind in (QueueFull, ArenaFull, EngineUnavailable, Draining):
            self._rejections.labels(kind.code)
        for reason in sorted({kind.code for kind in ImageError.__subclasses__()}):
            self._media_errors.labels(reason)
        for stage in ("body", "waiting", "streaming"):
            self._cancelled.labels(stage)
        for result in ("hit", "miss"):
            self._cache.labels(result)

    def request(self, route: str, model: str, code: int, seconds: float, shares: Mapping[str, float]) -> None:
        """`code` is what the request came to: a stream that failed late counts under its error's status.

        `shares` are the seconds in each stage; they sum to `seconds`. Only requests to a model have stages.
        """
        self._requests.labels(route, model, str(code)).inc()
        if model:
            for stage, share in shares.items():
                self._stages.labels(stage).observe(share)
            self._stages.labels(TOTAL).observe(seconds)

    def rejected(self, reason: str) -> None:
        self._rejections.labels(reason).inc()

    def cancelled(self, stage: str) -> None:
        self._cancelled.labels(stage).inc()

    def media_error(self, reason: str) -> None:
        self._media_errors.labels(reason).inc()

    def image(self, *, format: str, source: str, detail: str, pixels: int, tokens: int) -> None:
        """One image that was accepted, with the level of detail that was applied."""
        self._images.labels(format, source, detail).inc()
        self._image_tokens.inc(tokens)
        self._pixels.observe(pixels)

    def cache(self, *, hit: bool) -> None:
        self._cache.labels("hit" if hit else "miss").inc()

    def batch(self, *, items: int, patches: int, seconds: float) -> None:
        """One batch through the encoder, and the time for which it kept the device."""
        self._batch_items.observe(items)
        self._batch_patches.observe(patches)
        self._encoder_busy.inc(seconds)

    def first_token(self, seconds: float) -> None:
        self._first_token.observe(seconds)

    def inter_token(self, seconds: float) -> None:
        self._inter_token.observe(seconds)

    def handover_retried(self) -> None:
        self._handover_retries.inc()

    def limits(self, *, requests: int, visual_tokens: int) -> None:
        """How many requests and soft tokens may be inside at once."""
        self._inflight_limit.set(requests)
        self._reserved_limit.set(visual_tokens)

    def cache_capacity(self, bytes: int) -> None:
        self._cache_capacity.set(bytes)

    def encoder(self, *, device: str, kernels: str, body: str) -> None:
        self._encoder.labels(device, kernels, body).set(1)

    def build(self, *, version: str, model: str, engine: str) -> None:
        self._build.labels(version, model, engine).set(1)

    def watch_inflight(self, stage: str, read: Callable[[], float]) -> None:
        self._inflight.labels(stage).set_function(read)

    def watch_queue(self, stage: str, read: Callable[[], float]) -> None:
        self._queue.labels(stage).set_function(read)

    def watch_visual_tokens(self, read: Callable[[], float]) -> None:
        self._reserved.set_function(read)

    def watch_cache(self, bytes: Callable[[], float], images: Callable[[], float]) -> None:
        self._cache_bytes.set_function(bytes)
        self._cache_images.set_function(images)

    def watch_cache_evictions(self, read: Callable[[], float]) -> None:
        self._evictions.read = read

    def watch_encoder(self, healthy: Callable[[], bool], failures: Callable[[], float]) -> None:
        self._encoder_up.set_function(healthy)
        self._encoder_failures.read = failures

    def watch_engine(self, up: Callable[[], bool], restarts: Callable[[], float] = lambda: 0.0) -> None:
        """Nobody restarts an engine that somebody else started."""
        self._engine_up.set_function(up)
        self._restarts.read = restarts

    def watch_starting(self, read: Callable[[], bool]) -> None:
        self._starting.set_function(read)

    def watch_draining(self, read: Callable[[], bool]) -> None:
        self._draining.set_function(read)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.families.append(Family(f"patchbay_{name}_total", "counter", labels, text))
        return Counter(f"patchbay_{name}", text, labels, registry=self.registry)

    def _watched(self, name: str, text: str) -> WatchedCounter:
        self.families.append(Family(f"patchbay_{name}_total", "counter", (), text))
        counter = WatchedCounter(f"patchbay_{name}", text)
        self.registry.register(counter)
        return counter

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.families.append(Family(f"patchbay_{name}", "gauge", labels, text))
        return Gauge(f"patchbay_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        self.families.append(Family(f"patchbay_{name}", "histogram", labels, text))
        return Histogram(f"patchbay_{name}", text, labels, buckets=buckets, registry=self.registry)
