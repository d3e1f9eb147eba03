"""Two releases in one Prometheus: each alert is one release's, and a release that vanishes is noticed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.charts import objects
from tests.helm.names import selected
from tests.helm.test_alerts import promtool

NAMES = ("a", "b")
LABELS = {
    name: f'namespace="vision",service="{name}-admin",job="patchbay",instance="{name}:9090"' for name in NAMES
}


def groups(name: str, **values: Any) -> list[dict[str, Any]]:
    made = objects({"fullnameOverride": name, "prometheusRule": {"enabled": True, **values}})
    found: list[dict[str, Any]] = made["prometheusrule.yaml"]["spec"]["groups"]
    return found


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What the Prometheus operator makes of both releases' objects: one file each."""
    folder = tmp_path_factory.mktemp("rules")
    for name in NAMES:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"groups": groups(name)}))
    return [folder / f"{name}.yaml" for name in NAMES]


def test_promtool_finds_nothing_amiss(rules: list[Path]) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, rules))


def test_every_selector_is_of_its_release() -> None:
    for rule in (rule for group in groups("a") for rule in group["rules"]):
        asked = selected(rule["expr"])
        assert asked or rule["expr"].startswith("vector(")
        for metric, labels in asked:
            assert {"namespace", "service"} <= labels, f"{rule}: {metric}"
        assert set(re.findall(r'service="([^"]*)"', rule["expr"])) <= {"a-admin"}
        if "record" in rule:
            assert rule["labels"] == {"namespace": "vision", "service": "a-admin"}


def test_other_labels_can_tell_releases_apart() -> None:
    found = [rule["expr"] for group in groups("a", matchers={"app": 'a"$1'}) for rule in group["rules"]]
    (down,) = [expr for expr in found if "absent" in expr]
    assert 'absent(up{app="a\\"$1",job="patchbay"})' in down


def check(rules: list[Path], tmp_path: Path, series: dict[str, str], at: str, **firing: list[str]) -> None:
    """`firing` lists, for each alert, the services for which it fires once, and nothing else does."""
    file = tmp_path / "tests.yaml"
    expected = [
        {"labels": f'{{alertname="{alert}",service="{service}"}}', "value": 1}
        for alert, services in firing.items()
        for service in services
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname, service) (ALERTS{alertstate="firing"})',
                "eval_time": at,
                "exp_samples": expected,
            }
        ],
    }
    document = {"rule_files": [str(rule) for rule in rules], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(document))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def up(**values: str) -> dict[str, str]:
    return {f"up{{{LABELS[name]}}}": value for name, value in values.items()}


def requests(name: str, good: float, failed: float) -> dict[str, str]:
    labels = f'{LABELS[name]},route="/v1/chat/completions",model="m"'
    return {
        f'patchbay_requests_total{{{labels},code="{code}"}}': f"0+{count}x90"
        for code, count in (("200", good), ("503", failed))
    }


def test_a_release_that_vanishes_is_noticed_while_another_is_up(rules: list[Path], tmp_path: Path) -> None:
    check(rules, tmp_path, up(a="1x10 stale", b="1x60"), "40m", PatchbayDown=["a-admin"])


def test_nothing_fires_while_both_are_up(rules: list[Path], tmp_path: Path) -> None:
    both = {**up(a="1x90", b="1x90"), **requests("a", 100, 0), **requests("b", 100, 0)}
    check(rules, tmp_path, both, "80m")


def test_one_releases_failures_are_its_own(rules: list[Path], tmp_path: Path) -> None:
    both = {**up(a="1x90", b="1x90"), **requests("a", 90, 10), **requests("b", 9000, 0)}
    own = ["a-admin"]
    check(rules, tmp_path, both, "80m", PatchbayAvailabilityBurnFast=own, PatchbayAvailabilityBurnSlow=own)


def test_failures_of_one_do_not_hide_in_the_others_traffic(rules: list[Path], tmp_path: Path) -> None:
    instance = LABELS["a"]
    rejected = {f'patchbay_rejections_total{{{instance},reason="queue_full"}}': "0+10x90"}
    both = {**up(a="1x90", b="1x90"), **requests("a", 90, 0), **requests("b", 90000, 0), **rejected}
    check(rules, tmp_path, both, "80m", PatchbayRejecting=["a-admin"])
