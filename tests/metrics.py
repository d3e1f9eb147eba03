"""What a service under load tells its metrics: for tests of their names, and of the queries that ask for them."""

from __future__ import annotations

from service.errors import FetchCause
from service.telemetry.metrics import Metrics


def stands(metrics: Metrics) -> None:
    """What the service is, and gauges as they read under load."""
    metrics.build(version="1", model="demo", engine="vllm")
    metrics.encoder(device="cuda", kernels="triton", body="transformers", precision="full")
    metrics.limits(requests=64, visual_tokens=9000)
    metrics.cache_capacity(8192)
    metrics.watch_connections(1024, waiting=lambda: 7, active=lambda: 2)
    metrics.watch_inflight("body", lambda: 1)
    metrics.watch_inflight("request", lambda: 2)
    metrics.watch_queue("encode", lambda: 5)
    metrics.watch_queue("visual_tokens", lambda: 1)
    metrics.watch_backlog(lambda: 1.5)
    metrics.watch_visual_tokens(lambda: 320)
    metrics.watch_cache(lambda: 4096, lambda: 3)
    metrics.watch_cache_evictions(lambda: 6)
    metrics.watch_encoder(lambda: True, lambda: 4)
    metrics.watch_decoder(lambda: 1, busy=lambda: 2, workers=lambda: 3)
    metrics.watch_engine(lambda: True, lambda: 2, stalls=lambda: 1, ends=lambda: {"signal": 2, "exit": 0})
    metrics.watch_keys(lambda: 3, lambda: True)
    metrics.watch_starting(lambda: False)
    metrics.watch_draining(lambda: False)


def happens(metrics: Metrics) -> None:
    """One of everything but requests."""
    metrics.rejected("queue_full")
    metrics.cancelled("waiting")
    metrics.connection_closed("client")
    metrics.accept_paused()
    metrics.media_error("url_not_allowed")
    metrics.media_error("media_fetch_failed")
    metrics.fetch_failed(FetchCause.DNS)
    metrics.image(format="png", source="url", detail="high", pixels=640 * 480, tokens=160, reduced=True)
    metrics.cache(hit=True)
    metrics.batch(items=3, patches=192, seconds=0.25)
    metrics.first_token(0.3, fetching=0.1)
    metrics.inter_token(0.02)
    metrics.event_loop_lag(0.001)
    metrics.handover_retried()
    metrics.blocked()
    metrics.key_request("search", 200)
    metrics.key_request("search", 429)
