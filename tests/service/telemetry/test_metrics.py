import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service.errors import FetchCause
from service.settings import Settings
from service.telemetry.catalogue import STAGES, TOTAL
from service.telemetry.metrics import Metrics
from tests.metrics import happens, stands

COUNTERS = {
    "requests": {"route", "model", "code"},
    "rejections": {"reason"},
    "images": {"format", "source", "detail"},
    "image_tokens": set(),
    "images_reduced": set(),
    "cache_requests": {"result"},
    "cache_evictions": set(),
    "encoder_failures": set(),
    "decode_worker_losses": set(),
    "handover_retries": set(),
    "cancelled": {"stage"},
    "connections_closed": {"reason"},
    "accept_pauses": set(),
    "media_errors": {"reason"},
    "fetch_failures": {"cause"},
    "encoder_busy_seconds": set(),
    "engine_restarts": set(),
    "engine_ends": {"reason"},
    "engine_stalls": set(),
    "requests_blocked": set(),
    "key_requests": {"key", "code"},
}
HISTOGRAMS = {
    "stage_duration_seconds": {"stage"},
    "time_to_first_token_seconds": set(),
    "time_to_first_token_without_fetch_seconds": set(),
    "inter_token_latency_seconds": set(),
    "event_loop_lag_seconds": set(),
    "encoder_batch_items": set(),
    "encoder_batch_patches": set(),
    "image_pixels": set(),
}
GAUGES = {
    "inflight": {"stage"},
    "inflight_limit": set(),
    "connections": {"state"},
    "connections_limit": set(),
    "queue_depth": {"stage"},
    "encoder_backlog_seconds": set(),
    "visual_tokens_reserved": set(),
    "visual_tokens_limit": set(),
    "cache_bytes": set(),
    "cache_images": set(),
    "cache_capacity_bytes": set(),
    "decode_workers": {"state"},
    "encoder_up": set(),
    "encoder_info": {"device", "kernels", "body", "precision"},
    "engine_up": set(),
    "keys": set(),
    "keys_last_reload_successful": set(),
    "starting": set(),
    "draining": set(),
    "build_info": {"version", "model", "engine"},
}


class Harness:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"patchbay_{name}", labels)


@pytest.fixture
def harness() -> Harness:
    return Harness()


def use_everything(metrics: Metrics) -> None:
    stands(metrics)
    happens(metrics)
    metrics.request("/v1/chat/completions", "demo", 200, 1.5, {"fetch": 0.2, "other": 1.3})


def test_the_names_and_labels_that_dashboards_are_built_on(harness: Harness) -> None:
    use_everything(harness.metrics)
    kinds: dict[str, dict[str, set[str]]] = {"counter": {}, "histogram": {}, "gauge": {}}
    for family in harness.registry.collect():
        if family.name.startswith("process_"):
            continue
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        kinds[family.type][family.name.removeprefix("patchbay_")] = labels
    assert kinds == {"counter": COUNTERS, "histogram": HISTOGRAMS, "gauge": GAUGES}


def test_a_fetch_that_ends_at_its_limit_does_not_look_like_twenty_seconds(harness: Harness) -> None:
    limit = Settings.model_fields["fetch_timeout"].default
    harness.metrics.request("/v1/chat/completions", "demo", 424, limit + 0.5, {"fetch": limit + 0.5})

    def within(bound: float) -> float | None:
        return harness.value("stage_duration_seconds_bucket", stage="fetch", le=f"{bound:.1f}")

    assert (within(limit), within(12)) == (0, 1) and 1.25 * limit > 12


def test_what_happened_is_counted_where_it_belongs(harness: Harness) -> None:
    use_everything(harness.metrics)
    assert harness.value("requests_total", route="/v1/chat/completions", model="demo", code="200") == 1
    assert harness.value("images_total", format="png", source="url", detail="high") == 1
    assert harness.value("image_tokens_total") == 160
    assert harness.value("images_reduced_total") == 1
    assert harness.value("encoder_backlog_seconds") == 1.5
    assert harness.value("image_pixels_sum") == 640 * 480
    assert harness.value("cache_requests_total", result="hit") == 1
    assert harness.value("encoder_batch_items_sum") == 3
    assert harness.value("encoder_batch_patches_sum") == 192
    assert harness.value("encoder_busy_seconds_total") == 0.25
    assert harness.value("stage_duration_seconds_sum", stage="fetch") == 0.2
    assert harness.value("stage_duration_seconds_sum", stage="other") == 1.3
    assert harness.value("stage_duration_seconds_sum", stage="total") == 1.5
    assert harness.value("time_to_first_token_seconds_sum") == 0.3
    assert harness.value("time_to_first_token_without_fetch_seconds_sum") == pytest.approx(0.2)
    assert harness.value("inter_token_latency_seconds_sum") == 0.02
    assert harness.value("handover_retries_total") == 1
    assert harness.value("fetch_failures_total", cause="dns") == 1
    assert harness.value("cache_evictions_total") == 6
    assert harness.value("engine_restarts_total") == 2
    assert harness.value("engine_ends_total", reason="signal") == 2
    assert harness.value("engine_ends_total", reason="exit") == 0
    assert (harness.value("decode_workers", state="busy"), harness.value("decode_workers", state="idle")) == (
        2,
        1,
    )
    assert harness.value("event_loop_lag_seconds_count") == 1
    assert harness.registry.get_sample_value("process_resident_memory_bytes")
    assert harness.registry.get_sample_value("process_open_fds")
    names = {sample.name for family in harness.registry.collect() for sample in family.samples}
    assert not {name for name in names if name.endswith("_created")}
    assert (harness.value("engine_up"), harness.value("starting"), harness.value("draining")) == (1, 0, 0)
    assert harness.value("cache_bytes") == 4096
    assert harness.value("cache_images") == 3
    assert harness.value("cache_capacity_bytes") == 8192
    assert harness.value("encoder_up") == 1
    assert harness.value("encoder_failures_total") == 4
    assert harness.value("decode_worker_losses_total") == 1
    labels = {"device": "cuda", "kernels": "triton", "body": "transformers", "precision": "full"}
    assert harness.value("encoder_info", **labels) == 1
    assert harness.value("inflight_limit") == 64
    assert harness.value("visual_tokens_limit") == 9000
    assert harness.value("build_info", version="1", model="demo", engine="vllm") == 1


def test_gauges_are_read_when_they_are_scraped(harness: Harness) -> None:
    state = {"rows": 1.0}
    harness.metrics.watch_visual_tokens(lambda: state["rows"])
    assert harness.value("visual_tokens_reserved") == 1
    state["rows"] = 7
    assert b"patchbay_visual_tokens_reserved 7.0" in generate_latest(harness.registry)


def test_only_requests_to_a_model_have_stages(harness: Harness) -> None:
    harness.metrics.request("/livez", "", 200, 9.0, {"other": 9.0})
    for stage in ("other", "total"):
        assert harness.value("stage_duration_seconds_count", stage=stage) == 0


def test_every_stage_is_there_before_it_happens(harness: Harness) -> None:
    for stage in (*STAGES, TOTAL):
        assert harness.value("stage_duration_seconds_count", stage=stage) == 0


def test_what_alerts_count_is_there_before_it_happens(harness: Harness) -> None:
    for reason in ("url_not_allowed", "media_fetch_failed", "invalid_image"):
        assert harness.value("media_errors_total", reason=reason) == 0
    for reason in (
        "queue_full",
        "visual_tokens_exhausted",
        "engine_unavailable",
        "decoder_unavailable",
        "draining",
    ):
        assert harness.value("rejections_total", reason=reason) == 0
    for cause in FetchCause:
        assert harness.value("fetch_failures_total", cause=cause) == 0
    for stage in ("body", "waiting", "streaming"):
        assert harness.value("cancelled_total", stage=stage) == 0
    for name in ("cache_evictions", "encoder_failures", "decode_worker_losses", "engine_restarts"):
        assert harness.value(f"{name}_total") == 0


def test_two_do_not_meet() -> None:
    one, other = Harness(), Harness()
    one.metrics.handover_retried()
    assert (one.value("handover_retries_total"), other.value("handover_retries_total")) == (1, 0)


def test_keys_beyond_the_first_hundred_share_a_series(harness: Harness) -> None:
    for number in range(150):
        harness.metrics.key_request(f"key-{number}", 200)
    harness.metrics.key_request("key-7", 200)
    assert harness.value("key_requests_total", key="key-7", code="200") == 2
    assert harness.value("key_requests_total", key="key-120", code="200") is None
    assert harness.value("key_requests_total", key="other", code="200") == 50
