"""What a Prometheus server recorded over a period, read with the dashboards' own queries."""

from __future__ import annotations

from typing import Any

import httpx

from helm.dashboards.queries import ready

POINTS = 240
Line = tuple[str, list[float], list[float]]
"""Legend, seconds since the start, values."""


class Recording:
    def __init__(self, client: httpx.Client, begin: float, end: float, window: str) -> None:
        self._client = client
        self.seconds = end - begin
        self._begin = begin
        self._end = end
        self._window = window

    def lines(self, target: Any) -> list[Line]:
        asked = {
            "query": ready(target["expr"], self._window),
            "start": str(self._begin),
            "end": str(self._end),
            "step": f"{self.seconds / POINTS:.3f}",
        }
        reply = self._client.post("/api/v1/query_range", data=asked).raise_for_status().json()
        return [
            (
                named(target.get("legendFormat", ""), series["metric"]),
                [at - self._begin for at, _ in series["values"]],
                [float(value) for _, value in series["values"]],
            )
            for series in reply["data"]["result"]
        ]


def named(legend: str, labels: dict[str, str]) -> str:
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend
