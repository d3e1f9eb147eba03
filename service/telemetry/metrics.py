"""Every metric of Patchbay, on a registry that is passed in; `catalogue.py` defines them.

Callers say what happened in the product's terms; labels are written here only. Gauges are read at scrape time, from
functions that their owners supply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from service.errors import (
    ArenaFull,
    DecoderUnavailable,
    Draining,
    EngineUnavailable,
    FetchCause,
    ImageError,
    QueueFull,
    RateLimited,
)
from service.telemetry.catalogue import CATALOGUE, STAGES, TOTAL, Definition

MOST_KEYS = 100
"""API keys that have series of their own."""
OTHER_KEY = "other"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric as scraped."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class WatchedCounter(Collector):
    """A counter kept by its owner and read at scrape time; zero until there is an owner."""

    def __init__(self, name: str, text: str) -> None:
        self.read: Callable[[], float] = lambda: 0.0
        self._name = name
        self._text = text

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._text, value=self.read())


class WatchedCounters(Collector):
    """Counters kept by their owner, one for each value of a label; none until there is an owner."""

    def __init__(self, name: str, text: str, label: str) -> None:
        self.read: Callable[[], Mapping[str, float]] = dict
        self._name = name
        self._text = text
        self._label = label

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for value, count in self.read().items():
            family.add_metric([value], count)
        yield family


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.families = [_family(definition) for definition in CATALOGUE]
        self._counters: dict[str, Counter] = {}
        self._watched: dict[str, WatchedCounter] = {}
        self._watched_by: dict[str, WatchedCounters] = {}
        self._histograms: dict[str, Histogram] = {}
        self._gauges: dict[str, Gauge] = {}
        self._key_names: set[str] = set()
        # they would double the number of counters, and no query asks for them
        disable_created_metrics()  # type: ignore[no-untyped-call]
        # process_resident_memory_bytes, process_open_fds, process_cpu_seconds_total and others, by their usual names
        ProcessCollector(registry=registry)
        for definition in CATALOGUE:
            self._register(definition)
        self._begin()

    def request(self, route: str, model: str, code: int, seconds: float, shares: Mapping[str, float]) -> None:
        """`code` is the final status: a stream that failed after it began counts under its error's status.

        `shares` are the seconds in each stage; they sum to `seconds`. Only requests to a model have stages.
        """
        self._counters["requests"].labels(route, model, str(code)).inc()
        if model:
            for stage, share in shares.items():
                self._histograms["stage_duration_seconds"].labels(stage).observe(share)
            self._histograms["stage_duration_seconds"].labels(TOTAL).observe(seconds)

    def key_request(self, key: str, code: int) -> None:
        """A request with an API key, by the key's name; what would be one series too many counts as `other`."""
        if key not in self._key_names and len(self._key_names) >= MOST_KEYS:
            key = OTHER_KEY
        self._key_names.add(key)
        self._counters["key_requests"].labels(key, str(code)).inc()

    def rejected(self, reason: str) -> None:
        self._counters["rejections"].labels(reason).inc()

    def cancelled(self, stage: str) -> None:
        self._counters["cancelled"].labels(stage).inc()

    def connection_closed(self, reason: str) -> None:
        self._counters["connections_closed"].labels(reason).inc()

    def accept_paused(self) -> None:
        self._counters["accept_pauses"].inc()

    def media_error(self, reason: str) -> None:
        self._counters["media_errors"].labels(reason).inc()

    def fetch_failed(self, cause: FetchCause) -> None:
        self._counters["fetch_failures"].labels(cause).inc()

    def image(
        self, *, format: str, source: str, detail: str, pixels: int, tokens: int, reduced: bool = False
    ) -> None:
        """One accepted image, with the level of detail applied, and whether it was reduced under pressure."""
        if reduced:
            self._counters["images_reduced"].inc()
        self._counters["images"].labels(format, source, detail).inc()
        self._counters["image_tokens"].inc(tokens)
        self._histograms["image_pixels"].observe(pixels)

    def cache(self, *, hit: bool) -> None:
        self._counters["cache_requests"].labels("hit" if hit else "miss").inc()

    def batch(self, *, items: int, patches: int, seconds: float) -> None:
        """One batch through the encoder, and how long it occupied the device."""
        self._histograms["encoder_batch_items"].observe(items)
        self._histograms["encoder_batch_patches"].observe(patches)
        self._counters["encoder_busy_seconds"].inc(seconds)

    def first_token(self, seconds: float, fetching: float) -> None:
        """`fetching` is the part of `seconds` in which the request waited for other people's image hosts."""
        self._histograms["time_to_first_token_seconds"].observe(seconds)
        self._histograms["time_to_first_token_without_fetch_seconds"].observe(max(0.0, seconds - fetching))

    def inter_token(self, seconds: float) -> None:
        self._histograms["inter_token_latency_seconds"].observe(seconds)

    def handover_retried(self) -> None:
        self._counters["handover_retries"].inc()

    def limits(self, *, requests: int, visual_tokens: int) -> None:
        """The most requests in flight, and the most soft tokens reserved for them."""
        self._gauges["inflight_limit"].set(requests)
        self._gauges["visual_tokens_limit"].set(visual_tokens)

    def cache_capacity(self, bytes: int) -> None:
        self._gauges["cache_capacity_bytes"].set(bytes)

    def encoder(self, *, device: str, kernels: str, body: str, precision: str) -> None:
        self._gauges["encoder_info"].labels(device, kernels, body, precision).set(1)

    def build(self, *, version: str, model: str, engine: str) -> None:
        self._gauges["build_info"].labels(version, model, engine).set(1)

    def watch_connections(
        self,
        limit: int,
        waiting: Callable[[], float],
        active: Callable[[], float],
        reasons: Iterable[str] = (),
    ) -> None:
        """`reasons` are all those for which a connection may be closed."""
        for reason in reasons:
            self._counters["connections_closed"].labels(reason)
        self._gauges["connections_limit"].set(limit)
        self._gauges["connections"].labels("waiting").set_function(waiting)
        self._gauges["connections"].labels("active").set_function(active)

    def watch_inflight(self, stage: str, read: Callable[[], float]) -> None:
        self._gauges["inflight"].labels(stage).set_function(read)

    def watch_queue(self, stage: str, read: Callable[[], float]) -> None:
        self._gauges["queue_depth"].labels(stage).set_function(read)

    def watch_backlog(self, seconds: Callable[[], float]) -> None:
        self._gauges["encoder_backlog_seconds"].set_function(seconds)

    def watch_visual_tokens(self, read: Callable[[], float]) -> None:
        self._gauges["visual_tokens_reserved"].set_function(read)

    def watch_cache(self, bytes: Callable[[], float], images: Callable[[], float]) -> None:
        self._gauges["cache_bytes"].set_function(bytes)
        self._gauges["cache_images"].set_function(images)

    def watch_cache_evictions(self, read: Callable[[], float]) -> None:
        self._watched["cache_evictions"].read = read

    def watch_encoder(self, healthy: Callable[[], bool], failures: Callable[[], float]) -> None:
        self._gauges["encoder_up"].set_function(healthy)
        self._watched["encoder_failures"].read = failures

    def watch_decoder(
        self, losses: Callable[[], float], busy: Callable[[], float], workers: Callable[[], float]
    ) -> None:
        self._watched["decode_worker_losses"].read = losses
        self._gauges["decode_workers"].labels("busy").set_function(busy)
        self._gauges["decode_workers"].labels("idle").set_function(lambda: workers() - busy())

    def event_loop_lag(self, seconds: float) -> None:
        self._histograms["event_loop_lag_seconds"].observe(seconds)

    def watch_engine(
        self,
        up: Callable[[], bool],
        restarts: Callable[[], float] = lambda: 0.0,
        *,
        stalls: Callable[[], float] = lambda: 0.0,
        ends: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`restarts` and `ends` stay zero for an engine that Patchbay did not start."""
        self._gauges["engine_up"].set_function(up)
        self._watched["engine_restarts"].read = restarts
        self._watched["engine_stalls"].read = stalls
        self._watched_by["engine_ends"].read = ends

    def blocked(self) -> None:
        """A request that was in flight when the engine died, twice in a row, is refused from now on."""
        self._counters["requests_blocked"].inc()

    def watch_keys(self, accepted: Callable[[], float], reloaded: Callable[[], bool]) -> None:
        self._gauges["keys"].set_function(accepted)
        self._gauges["keys_last_reload_successful"].set_function(reloaded)

    def watch_starting(self, read: Callable[[], bool]) -> None:
        self._gauges["starting"].set_function(read)

    def watch_draining(self, read: Callable[[], bool]) -> None:
        self._gauges["draining"].set_function(read)

    def _register(self, it: Definition) -> None:
        name = f"patchbay_{it.name}"
        match it.kind:
            case "counter":
                self._counters[it.name] = Counter(name, it.meaning, it.labels, registry=self.registry)
            case "gauge":
                self._gauges[it.name] = Gauge(name, it.meaning, it.labels, registry=self.registry)
            case "histogram":
                self._histograms[it.name] = Histogram(
                    name, it.meaning, it.labels, buckets=it.buckets, registry=self.registry
                )
            case "watched" if it.labels:
                (label,) = it.labels
                self._watched_by[it.name] = WatchedCounters(name, it.meaning, label)
                self.registry.register(self._watched_by[it.name])
            case "watched":
                self._watched[it.name] = WatchedCounter(name, it.meaning)
                self.registry.register(self._watched[it.name])

    def _begin(self) -> None:
        """Starts series with known labels at zero: `rate` misses the first event of a series that begins with it."""
        for stage in (*STAGES, TOTAL):
            self._histograms["stage_duration_seconds"].labels(stage)
        for kind in (QueueFull, RateLimited, ArenaFull, EngineUnavailable, DecoderUnavailable, Draining):
            self._counters["rejections"].labels(kind.code)
        for reason in sorted({kind.code for kind in ImageError.__subclasses__()}):
            self._counters["media_errors"].labels(reason)
        for cause in FetchCause:
            self._counters["fetch_failures"].labels(cause)
        for stage in ("body", "waiting", "streaming"):
            self._counters["cancelled"].labels(stage)
        for result in ("hit", "miss"):
            self._counters["cache_requests"].labels(result)


def _family(it: Definition) -> Family:
    counts = it.kind in ("counter", "watched")
    name = f"patchbay_{it.name}_total" if counts else f"patchbay_{it.name}"
    return Family(name, "counter" if counts else it.kind, it.labels, it.meaning)
