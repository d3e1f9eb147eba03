"""Which metrics there are: ours from the registry, vLLM's from a page that vLLM 0.32 wrote, and the recorded ones."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.metrics import Metrics
from tests.prometheus import RULES

ENGINE_PAGE = (Path(__file__).parent / "data" / "vllm_metrics.txt").read_text()
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
RECORDED = {"namespace", "service", "job"}


@functools.cache
def known() -> dict[str, set[str]]:
    """The labels of every series that may be asked for, by its name."""
    there: dict[str, set[str]] = {"up": {"job", "instance"}}
    for family in Metrics(CollectorRegistry()).families:
        for suffix in SUFFIXES[family.kind]:
            there[family.name + suffix] = {*family.labels} | ({"le"} if suffix == "_bucket" else set())
    for family in text_string_to_metric_families(ENGINE_PAGE):
        for sample in family.samples:
            there.setdefault(sample.name, set()).update(sample.labels)
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    there[rule["record"]] = RECORDED
    return there


def selected(text: str) -> list[tuple[str, set[str]]]:
    """(metric, labels that it is chosen by) of each selector in a query, a rule or a page."""
    return [
        (name, set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', braces)))
        for name, braces in re.findall(
            r"\b(up(?=\{)|(?:patchbay_|patchbay:|vllm:)[\w:]*\w)(\{[^}]*\})?", text
        )
    ]
