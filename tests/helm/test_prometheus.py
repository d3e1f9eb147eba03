"""A real Prometheus scrapes the real registry, and every query of every dashboard has an answer."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from helm.dashboards.queries import targets
from service.metrics import STAGES, Metrics
from tests.helm.names import ENGINE_PAGE
from tests.prometheus import Prometheus, scraping


def busy() -> Metrics:
    """A service whose gauges read as they would under load."""
    metrics = Metrics(CollectorRegistry())
    metrics.build(version="1", model="demo", engine="vllm")
    metrics.encoder(device="cpu", kernels="cpu", body="fused")
    metrics.limits(requests=64, visual_tokens=9000)
    metrics.cache_capacity(8192)
    metrics.watch_inflight("request", lambda: 2)
    metrics.watch_queue("encode", lambda: 5)
    metrics.watch_queue("visual_tokens", lambda: 1)
    metrics.watch_visual_tokens(lambda: 320)
    metrics.watch_cache(lambda: 4096, lambda: 3)
    metrics.watch_cache_evictions(lambda: 1)
    metrics.watch_encoder(lambda: True, lambda: 1)
    metrics.watch_engine(lambda: True)
    metrics.watch_draining(lambda: False)
    return metrics


def happens(metrics: Metrics) -> None:
    """One more of everything."""
    for code in (200, 429, 499, 503):
        metrics.request("/v1/chat/completions", "demo", code, 1.1, dict.fromkeys(STAGES, 0.1))
    metrics.rejected("queue_full")
    metrics.cancelled("waiting")
    metrics.media_error("url_not_allowed")
    metrics.media_error("media_fetch_failed")
    metrics.image(format="png", source="url", detail="high", pixels=640 * 480, tokens=160)
    metrics.cache(hit=True)
    metrics.batch(items=3, patches=192, seconds=0.25)
    metrics.first_token(0.3)
    metrics.inter_token(0.02)
    metrics.handover_retried()


def grown(page: str, times: int) -> str:
    """vLLM's page with every counter and bucket so many times what was recorded."""
    sample = re.compile(r"^(\w[\w:]*_(?:total|bucket|count|sum)(?:\{.*\})?) (\S+)$", re.M)
    return sample.sub(lambda found: f"{found[1]} {float(found[2]) * times}", page)


@contextmanager
def exporting() -> Iterator[str]:
    """Both pages on loopback, each scrape finding more than the one before."""
    metrics, scrapes = busy(), 0

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal scrapes
            if self.path == "/metrics":
                happens(metrics)
                page = generate_latest(metrics.registry)
            else:
                scrapes += 1
                page = grown(ENGINE_PAGE, scrapes).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def unanswered(prometheus: Prometheus) -> list[str]:
    return [f"{t.board}, {t.panel}: {t.over('1m')}" for t in targets() if not prometheus.query(t.over("1m"))]


def healthy(prometheus: Prometheus) -> bool:
    return all(rule["health"] == "ok" for rule in prometheus.rules())


def test_every_query_and_every_rule_has_an_answer(tmp_path: Path) -> None:
    with exporting() as address, scraping(address, tmp_path) as prometheus:
        late = [t for t in targets() if ":error_ratio_" in t.expr or "rate(" in t.expr]
        last = late[0].over("1m")
        prometheus.until(lambda: bool(prometheus.query(last)), lambda: prometheus.targets())
        prometheus.until(lambda: healthy(prometheus), lambda: prometheus.rules())
        prometheus.until(lambda: not unanswered(prometheus), lambda: unanswered(prometheus))
        assert {target["labels"]["job"] for target in prometheus.targets()} == {"patchbay", "vllm"}
        assert [rule["lastError"] for rule in prometheus.rules() if rule.get("lastError")] == []
        (share,) = prometheus.query('patchbay:availability:error_ratio_5m{job="patchbay"}')
        # one request of four ends in a 503
        assert abs(float(share["value"][1]) - 0.25) < 0.01
