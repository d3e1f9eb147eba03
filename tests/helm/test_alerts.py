"""The alerts: promtool knows when each fires and when not; each has a page, which names only what exists."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import errors
from service.keys import KeyEntry
from service.settings import Settings
from tests.helm.alert_cases import CASES, Case
from tests.helm.charts import CHART, objects
from tests.helm.names import known, selected
from tests.prometheus import ROOT, RULES, tool

ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for file in RULES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
PAGES = ROOT / "docs" / "runbooks"
VALUES: Any = yaml.safe_load((CHART / "values.yaml").read_text())
SECTIONS = ["What it means", "How to see it", "What to do"]


def promtool(*arguments: str) -> str:
    run = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_promtool_finds_nothing_amiss() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, RULES))


def side_by_side(cases: Sequence[Case]) -> dict[str, Any]:
    """One test of promtool; each case has a namespace of its own, named like it."""
    names = [f"{case.alert}: {case.what}" for case in cases]
    assert len(set(names)) == len(names)
    return {
        "interval": cases[0].interval,
        "input_series": [
            {"series": series.replace("{", f'{{namespace="{name}",', 1), "values": values}
            for name, case in zip(names, cases, strict=True)
            for series, values in case.series.items()
        ],
        "promql_expr_test": [
            {
                # an alert that a series is absent has no namespace
                "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing",namespace=~"|{name}"}})',
                "eval_time": case.at,
                "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
            }
            for name, case in zip(names, cases, strict=True)
        ],
    }


@pytest.mark.parametrize("interval", sorted({case.interval for case in CASES}))
def test_each_alert_fires_when_it_should_and_not_otherwise(interval: str, tmp_path: Path) -> None:
    cases = [case for case in CASES if case.interval == interval]
    # one asks whether anybody is there at all
    alone = [case for case in cases if case.alert == "PatchbayDown"]
    tests = [side_by_side([case for case in cases if case not in alone]), *(side_by_side([c]) for c in alone)]
    file = tmp_path / "tests.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(rule) for rule in RULES],
                "evaluation_interval": interval,
                "tests": tests,
            }
        )
    )
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_every_alert_is_tried_both_ways() -> None:
    assert {case.alert for case in CASES if case.fires} == set(ALERTS)
    assert {case.alert for case in CASES if not case.fires} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"


@pytest.mark.parametrize("rule", [*ALERTS.values()], ids=ALERTS)
def test_an_alert_asks_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    there, asked = known(), selected(rule["expr"])
    assert asked
    for name, labels in asked:
        assert labels <= there[name], f"{name}: {labels}"


def test_what_alerts_count_by_is_written_by_the_service() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    for rule in ALERTS.values():
        for named in re.findall(r'reason=~?"([^"]+)"', rule["expr"]):
            assert set(named.split("|")) <= codes


def test_there_is_a_page_for_each_and_no_other() -> None:
    assert {file.stem for file in PAGES.glob("*.md")} - {"README"} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_page_names_only_metrics_and_settings_that_exist(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS
    there = known()
    for metric, labels in selected(text):
        assert metric in there, metric
        assert labels <= there[metric] | {"namespace", "instance"}, f"{metric}: {labels}"
    assert re.search(r"```promql\n", text), "no query"
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    names = {*Settings.model_fields, *KeyEntry.model_fields, *there, *codes}
    for word in re.findall(r"`([a-z][a-z_]+)`", text):
        assert word in names, f"{name}: `{word}` is no setting and no metric"
    for path in re.findall(r"`([a-z]\w*(?:\.[a-z]\w*)+)`", text):
        value = VALUES
        for key in path.split("."):
            assert key in value, f"{name}: `{path}` is no value of the chart"
            value = value[key]


def test_the_queries_of_the_pages_are_promql(tmp_path: Path) -> None:
    groups = []
    for name in ALERTS:
        queries = "\n".join(re.findall(r"```promql\n(.*?)```", (PAGES / f"{name}.md").read_text(), re.S))
        lines = enumerate(queries.strip().splitlines())
        groups.append(
            {
                "name": name,
                "rules": [{"record": f"{name}:query{index}", "expr": line} for index, line in lines],
            }
        )
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": groups}))
    promtool("check", "rules", str(file))


def test_the_chart_hands_the_rules_on_and_says_where_the_pages_are() -> None:
    values = {"prometheusRule": {"enabled": True, "runbooks": "https://wiki.example/"}}
    groups = objects(values)["prometheusrule.yaml"]["spec"]["groups"]
    made = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    assert set(made) == set(ALERTS)
    for name, rule in made.items():
        scoped = re.sub(r'namespace="vision",service="shop-patchbay-admin",?', "", rule["expr"])
        assert scoped.replace("{}", "") == ALERTS[name]["expr"]
        assert rule["annotations"]["runbook_url"] == f"https://wiki.example/{name}.md"
        assert rule["annotations"]["description"] == ALERTS[name]["annotations"]["description"]
