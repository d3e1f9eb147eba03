"""A real Prometheus scrapes a running Patchbay and its engine under load: what operators look at is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from benchmarks.equality import body
from demo.cases import Case, draw_cases
from helm.dashboards.queries import targets
from tests.e2e.server import Server, chat_body
from tests.prometheus import scraping

pytestmark = pytest.mark.e2e
WINDOW = "1m"
MAY_BE_EMPTY = (
    "sum by (reason) (rate(patchbay_rejections_total",
    "sum by (key) (rate(patchbay_key_requests_total",
    "kube_",
    "DCGM_",
)
"""What does not happen in this load, without a file of keys or outside Kubernetes; it is shown only when it does."""


async def load(server: Server, cases: list[Case]) -> None:
    """Streams of four clients, and one picture that is none."""
    gate = asyncio.Semaphore(4)

    async def one(client: httpx.AsyncClient, case: Case) -> None:
        async with (
            gate,
            client.stream("POST", "/v1/chat/completions", json={**body(case), "stream": True}) as reply,
        ):
            assert reply.status_code == 200
            assert [line async for line in reply.aiter_lines() if line][-1] == "data: [DONE]"

    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        await asyncio.gather(*(one(client, case) for case in cases))
    await broken_picture(server)


async def broken_picture(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        assert (await client.post("/v1/chat/completions", json=chat_body(broken))).status_code == 400


def test_every_panel_and_every_rule_has_data_of_a_running_service(patchbay: Server, tmp_path: Path) -> None:
    with scraping(patchbay.url.removeprefix("http://"), tmp_path) as prometheus:
        prometheus.until(lambda: len(prometheus.query("up == 1")) == 2, prometheus.targets)
        # a rate needs a value from before
        asyncio.run(broken_picture(patchbay))
        prometheus.until(
            lambda: bool(prometheus.query("patchbay_media_errors_total > 0")), prometheus.targets
        )
        prometheus.until(
            lambda: bool(prometheus.query('rate(patchbay_requests_total{route="/metrics"}[1m]) > 0')),
            prometheus.targets,
        )
        asyncio.run(load(patchbay, draw_cases(24, seed=31)))
        prometheus.until_answered(
            [target.over(WINDOW) for target in targets() if not target.expr.startswith(MAY_BE_EMPTY)]
        )
        assert [rule for rule in prometheus.rules() if rule["health"] != "ok" or rule.get("lastError")] == []
        for target in targets():
            prometheus.query(target.over(WINDOW))
        assert prometheus.query("patchbay_engine_up == 1 unless patchbay_starting == 1")
        (rate,) = prometheus.query(f"sum(rate(patchbay_encoder_batch_patches_sum[{WINDOW}]))")
        (made,) = prometheus.query(f"sum(rate(vllm:generation_tokens_total[{WINDOW}]))")
        assert float(rate["value"][1]) > 0 and float(made["value"][1]) > 0
