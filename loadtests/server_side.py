"""What the service itself counted during a run, from its /metrics, if it has any.

Counters are differences between the end and the beginning of the run.
"""

from __future__ import annotations

import urllib.request

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

COUNTERS = {
    "requests": ("patchbay_requests_total", {}),
    "cache hits": ("patchbay_cache_requests_total", {"result": "hit"}),
    "cache misses": ("patchbay_cache_requests_total", {"result": "miss"}),
    "encoder busy, s": ("patchbay_encoder_busy_seconds_total", {}),
    "image tokens": ("patchbay_image_tokens_total", {}),
    "refused": ("patchbay_rejections_total", {}),
    "images refused": ("patchbay_media_errors_total", {}),
    "engine restarts": ("patchbay_engine_restarts_total", {}),
}
GAUGES = {
    "in flight at the end": ("patchbay_inflight", {}),
    "visual tokens held at the end": ("patchbay_visual_tokens_reserved", {}),
}


def scrape(url: str, timeout: float = 5.0) -> str | None:
    """The text of /metrics; None if it is not available."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError):
        return None


def differences(before: str | None, after: str | None) -> dict[str, float]:
    """Figures for the time between two scrapes; empty if one is missing or they are not Patchbay's."""
    if before is None or after is None or "patchbay_" not in after:
        return {}
    began, ended = (list(text_string_to_metric_families(text)) for text in (before, after))
    found = {name: _sum(ended, *of) - _sum(began, *of) for name, of in COUNTERS.items()}
    found |= {name: _sum(ended, *of) for name, of in GAUGES.items()}
    looked_up = found["cache hits"] + found["cache misses"]
    if looked_up:
        found["cache hit share"] = found["cache hits"] / looked_up
    return found


def _sum(families: list[Metric], name: str, labels: dict[str, str]) -> float:
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
