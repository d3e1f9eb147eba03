"""One trace over client, gateway, encoder and a real engine."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from demo.cases import data_url, draw_cases
from tests.e2e.collector import collecting
from tests.e2e.server import chat_body, serving

pytestmark = pytest.mark.e2e

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FLUSH_SECONDS = 60
"""Both sides send what they have every five seconds."""


def test_the_engines_spans_hang_below_the_gateways_and_those_below_the_clients(tmp_path: Path) -> None:
    (case,) = draw_cases(1, seed=5)
    picture = {"type": "image_url", "image_url": {"url": data_url(case.pictures[0], "PNG")}}
    with collecting() as collector, serving(tmp_path / "log", "--otlp-endpoint", collector.url) as server:
        answer = httpx.post(
            f"{server.url}/v1/chat/completions",
            json=chat_body(picture),
            headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        spans = collector.trace(TRACE, {"patchbay", "patchbay-engine"}, FLUSH_SECONDS)
    (request,) = [span for span in spans if span.service == "patchbay" and span.parent == CALLER]
    stages = {span.name for span in spans if span.parent == request.span and span.service == "patchbay"}
    assert {"decode", "encode"} <= stages
    engine = [span for span in spans if span.service == "patchbay-engine"]
    ours = {span.span for span in spans}
    assert engine and all(span.parent in ours for span in engine)
    assert any(span.parent == request.span for span in engine)
