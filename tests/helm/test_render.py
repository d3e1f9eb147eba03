"""Helm accepts the chart, and Kubernetes what comes out of it, in three versions: oldest, middle and newest."""

from __future__ import annotations

from typing import Any

import helm_python
import kubernetes_validate
import pytest

from tests.helm.charts import CHART, EVERYTHING, PROFILES, REMOTE, VERSIONS, files, objects, profile

CUSTOM = {"ScaledObject", "ServiceMonitor", "PrometheusRule", "HTTPRoute"}
"""Kinds of operators; Kubernetes has no schema of them."""
VALUES: dict[str, dict[str, Any]] = {
    **{name: profile(name) for name in PROFILES},
    "everything": EVERYTHING,
    "remote": REMOTE,
    "volumes": {
        "extraVolumes": [{"name": "ca", "configMap": {"name": "company-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    },
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", VALUES)
def test_helm_finds_nothing_to_say(name: str, version: str) -> None:
    report = helm_python.lint(CHART, VALUES[name], strict=True, kube_version=f"v{version}.0")
    assert report["errors"] == []
    assert [said["error"] for said in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_takes_every_object(name: str, version: str) -> None:
    made = objects(VALUES[name])
    assert len(made) >= 9
    for entry in made.values():
        if entry["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(dict(entry), version, strict=True) == version


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    service = dict(objects()["service.yaml"])
    service["spec"] = {**service["spec"], "selectors": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", VALUES)
def test_objects_have_the_releases_names_and_labels(name: str) -> None:
    seen = set()
    for entry in objects(VALUES[name]).values():
        metadata = entry["metadata"]
        assert metadata["name"].startswith("shop-patchbay") and metadata["namespace"] == "vision"
        assert metadata["labels"]["app.kubernetes.io/instance"] == "shop"
        assert (entry["kind"], metadata["name"]) not in seen
        seen.add((entry["kind"], metadata["name"]))


def test_names_stay_short_enough() -> None:
    long = {**EVERYTHING, "fullnameOverride": "a" * 80}
    assert all(len(entry["metadata"]["name"]) <= 63 for entry in objects(long).values())


def test_the_notes_end_with_commands_that_fit() -> None:
    notes = files()["NOTES.txt"]
    assert "kubectl -n vision port-forward service/shop-patchbay 8000:80" in notes
    assert "helm -n vision test shop" in notes
    assert "There is no authentication" in notes
    closed = files(EVERYTHING)["NOTES.txt"]
    assert "Everybody" not in closed and "http://a.example/v1" in closed


def test_traces_that_a_policy_may_hold_back_are_pointed_out() -> None:
    sent = {"settings": {"otlp_endpoint": "http://collector:4318"}}
    assert "networkPolicy.extraEgress lists it" in files(sent)["NOTES.txt"]
    egress = [{"to": [{"podSelector": {"matchLabels": {"app": "collector"}}}]}]
    for values in (
        {**sent, "networkPolicy": {"extraEgress": egress}},
        {**sent, "networkPolicy": {"enabled": False}},
        {},
    ):
        assert "extraEgress" not in files(values)["NOTES.txt"]
