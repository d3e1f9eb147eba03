"""When the events of an answer are sent, and what of that is the service's own."""

from __future__ import annotations

import time

import pytest
from prometheus_client import CollectorRegistry

from service.api.admitted import Progress
from service.telemetry.metrics import Metrics
from service.telemetry.timeline import Span, StageTimings


def test_waiting_for_an_image_host_is_not_the_services_own_time() -> None:
    registry, began = CollectorRegistry(), time.monotonic() - 10
    timings = StageTimings(began)
    # two images at once: the request waited for the slower one
    timings.add(Span("fetch", began + 1, began + 7), Span("decode", began + 7, began + 8))
    timings.add(Span("fetch", began + 1, began + 3))
    progress = Progress(Metrics(registry), timings, at=began)
    progress.events()
    first = registry.get_sample_value("patchbay_time_to_first_token_seconds_sum")
    own = registry.get_sample_value("patchbay_time_to_first_token_without_fetch_seconds_sum")
    assert first is not None and own is not None
    assert first >= 10 and first - own == pytest.approx(6)
    progress.events()
    assert registry.get_sample_value("patchbay_time_to_first_token_without_fetch_seconds_count") == 1
    assert registry.get_sample_value("patchbay_inter_token_latency_seconds_count") == 1
