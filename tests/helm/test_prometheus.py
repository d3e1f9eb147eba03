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
from service.telemetry.catalogue import STAGES
from service.telemetry.metrics import Metrics
from tests.helm.names import ENGINE_PAGE
from tests.metrics import happens, stands
from tests.prometheus import Prometheus, scraping

OTHERS = """\
kube_pod_container_status_restarts_total{namespace="vision",pod="a",container="patchbay"} 3
kube_pod_container_status_last_terminated_reason{namespace="vision",pod="a",container="patchbay",reason="OOMKilled"} 1
DCGM_FI_DEV_GPU_UTIL{namespace="vision",pod="a",gpu="0"} 71
DCGM_FI_DEV_GPU_UTIL{exported_namespace="vision",exported_pod="b",gpu="0"} 12
"""
"""What the cluster's own exporters tell of pods: kube-state-metrics, and DCGM with and without `honor_labels`."""


def grown(page: str, times: int) -> str:
    """vLLM's page with every counter and bucket so many times what was recorded."""
    sample = re.compile(r"^(\w[\w:]*_(?:total|bucket|count|sum)(?:\{.*\})?) (\S+)$", re.M)
    return sample.sub(lambda found: f"{found[1]} {float(found[2]) * times}", page)


@contextmanager
def exporting() -> Iterator[str]:
    """Both pages on loopback, each scrape finding more than the one before."""
    metrics, scrapes = Metrics(CollectorRegistry()), 0
    stands(metrics)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal scrapes
            if self.path == "/metrics":
                happens(metrics)
                for code in (200, 429, 499, 503):
                    metrics.request("/v1/chat/completions", "demo", code, 1.1, dict.fromkeys(STAGES, 0.1))
                page = generate_latest(metrics.registry) + OTHERS.encode()
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


def healthy(prometheus: Prometheus) -> bool:
    return all(rule["health"] == "ok" for rule in prometheus.rules())


def test_every_query_and_every_rule_has_an_answer(tmp_path: Path) -> None:
    with exporting() as address, scraping(address, tmp_path) as prometheus:
        prometheus.until(lambda: healthy(prometheus), prometheus.rules)
        prometheus.until_answered([target.over("1m") for target in targets()])
        assert {target["labels"]["job"] for target in prometheus.targets()} == {"patchbay", "vllm"}
        assert [rule["lastError"] for rule in prometheus.rules() if rule.get("lastError")] == []
        (share,) = prometheus.query('patchbay:availability:error_ratio_5m{job="patchbay"}')
        # one request of four ends in a 503
        assert abs(float(share["value"][1]) - 0.25) < 0.01
