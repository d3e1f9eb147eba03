"""The chart, rendered by Helm's own engine: what the tests of this folder begin with."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "helm" / "patchbay"
PROFILES = sorted(file.stem for file in (CHART / "profiles").glob("*.yaml"))
VERSIONS = ("1.30", "1.34", "1.37")
"""Of Kubernetes: oldest, middle and newest."""
RELEASE, NAMESPACE = "shop", "vision"
EVERYTHING = {
    "podDisruptionBudget": {"enabled": True},
    "autoscaling": {"enabled": True},
    "modelCache": {"enabled": True, "accessModes": ["ReadWriteMany"]},
    "serviceMonitor": {"enabled": True},
    "ingress": {"enabled": True, "hosts": ["a.example"]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gate"}]},
    "auth": {"existingSecret": {"name": "keys"}},
    "huggingFace": {"existingSecret": {"name": "hub"}},
}
"""Values that make every object appear."""
REMOTE = {
    "image": {"variant": "gateway"},
    "engine": {"placement": "remote", "url": "http://vllm.models.svc:8000"},
    "settings": {"images": "passthrough"},
}

Object = Mapping[str, Any]


def profile(name: str) -> dict[str, Any]:
    return yaml.safe_load((CHART / "profiles" / f"{name}.yaml").read_text())


def files(values: Mapping[str, Any] | None = None, chart: Path = CHART) -> Mapping[str, str]:
    """Each template's text by its path in the chart, without those that render nothing."""
    # a chart elsewhere is a copy that a test changes
    render = _rendered_once if chart == CHART else _rendered
    return render(json.dumps(values or {}), chart)


def _rendered(values: str, chart: Path) -> Mapping[str, str]:
    with helm_python.Chart.load(chart) as loaded:
        made = loaded.render(json.loads(values), name=RELEASE, namespace=NAMESPACE)
    return {name.removeprefix("patchbay/templates/"): text for name, text in made.items() if text.strip()}


_rendered_once = functools.cache(_rendered)


def objects(values: Mapping[str, Any] | None = None, chart: Path = CHART) -> dict[str, Object]:
    """Each Kubernetes object by its template's path; every template makes one at most."""
    made = {}
    for name, text in files(values, chart).items():
        if name.endswith(".yaml"):
            # the parser of C: dashboards are long
            (made[name],) = [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
    return made


def documents(values: Mapping[str, Any] | None = None) -> list[Object]:
    """Every Kubernetes object, also where a template makes several."""
    return [
        document
        for name, text in files(values).items()
        if name.endswith(".yaml")
        for document in yaml.load_all(text, yaml.CSafeLoader)
        if document
    ]


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm lays one file of values over another."""
    merged = dict(below)
    for name, value in above.items():
        inner = merged.get(name)
        merged[name] = over(inner, value) if isinstance(value, dict) and isinstance(inner, dict) else value
    return merged


def pod(made: Mapping[str, Object]) -> Any:
    return made["deployment.yaml"]["spec"]["template"]["spec"]


def containers(made: Mapping[str, Object]) -> list[Any]:
    """All that run Patchbay's image: the server, a sidecar, the test."""
    return [
        container
        for spec in (pod(made), made["tests/ask.yaml"]["spec"])
        for container in [*spec.get("initContainers", []), *spec["containers"]]
    ]


def server(made: Mapping[str, Object]) -> Any:
    return pod(made)["containers"][0]


def variables(container: Any) -> dict[str, str | None]:
    """Name to value; None for what comes from a Secret."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def policies(made: Mapping[str, Object]) -> list[Object]:
    return [made[name] for name in sorted(made) if name.startswith("networkpolicy-")]
