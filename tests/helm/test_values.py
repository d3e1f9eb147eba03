"""Values: wrong ones are refused in words that name them, and what the schema and the README repeat is so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from helm import document
from service.settings import Settings
from tests.helm.charts import CHART, REMOTE, objects

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
FILLED: dict[str, Any] = {
    "model": {"name": "/models/m"},
    "modelCache": {"enabled": True, "accessModes": ["ReadWriteMany"]},
    "modelDownload": {"enabled": True, "hub": "a/b"},
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"replicaCount": 2}, "additional properties 'replicaCount' not allowed"),
    ({"replicas": "two"}, "at '/replicas': got string, want integer"),
    ({"settings": {"max_imags": 3}}, "at '/settings': additional properties 'max_imags' not allowed"),
    ({"settings": {"max_images": 0}}, "at '/settings/max_images': minimum: got 0, want 1"),
    ({"settings": {"max_model_len": 3}}, "at '/settings/max_model_len': minimum: got 3, want 64"),
    ({"settings": {"device": "gpu"}}, "'/settings/device': value must be one of 'auto', 'cpu', 'cuda'"),
    ({"settings": {"port": 80}}, "additional properties 'port' not allowed"),
    ({"image": {"digest": "sha256:12"}}, "at '/image/digest': 'sha256:12' does not match pattern"),
    ({"image": {"variant": "rocm"}}, "'/image/variant': value must be one of 'cpu', 'cuda', 'gateway'"),
    ({"arena": {"size": "1.5Gi"}}, "at '/arena/size': '1.5Gi' does not match pattern"),
    ({"resources": {"limits": {"memory": "8 GB"}}}, "at '/resources/limits/memory': '8 GB' does not match"),
    ({"resources": {"limit": {}}}, "at '/resources': additional properties 'limit' not allowed"),
    ({"drain": {"preStopSeconds": 0}}, "at '/drain/preStopSeconds': minimum: got 0, want 1"),
    ({"auth": {"apiKeys": "secret"}}, "at '/auth': additional properties 'apiKeys' not allowed"),
    ({"tolerations": [{"operator": "Exist"}]}, "at '/tolerations/0/operator': value must be one of"),
    ({"networkPolicy": {"dns": []}}, "at '/networkPolicy/dns': minItems: got 0, want 1"),
    ({"autoscaling": {"targets": {"cpu": 0.8}}}, "additional properties 'cpu' not allowed"),
    ({"autoscaling": {"triggerMetadata": {"query": "up"}}}, "invalid propertyName 'query'"),
    ({"autoscaling": {"triggerMetadata": {"unsafeSsl": True}}}, "got boolean, want string"),
    ({"autoscaling": {"fallback": {"replicas": -1}}}, "at '/autoscaling/fallback/replicas': minimum"),
    (
        {"autoscaling": {"enabled": True, "maxReplicas": 2, "fallback": {"replicas": 3}}},
        "autoscaling.fallback.replicas is 3 and autoscaling.maxReplicas is 2",
    ),
    ({"scratch": {"request": "2 GB"}}, "at '/scratch/request'"),
    ({"autoscaling": {"authentication": {"kind": "Secret"}}}, "at '/autoscaling/authentication/kind'"),
    (
        {"httpRoute": {"inferencePool": "A pool"}},
        "at '/httpRoute/inferencePool': 'A pool' does not match pattern",
    ),
    (
        {"autoscaling": {"authentication": {"name": "reader"}}},
        "authentication.name is reader, and KEDA ignores it unless autoscaling.triggerMetadata.authModes",
    ),
    (
        {"autoscaling": {"triggerMetadata": {"authModes": "bearer"}}},
        "autoscaling.authentication.name is empty",
    ),
    (
        {**REMOTE, "autoscaling": {"enabled": True}},
        "engine.placement is remote: scale the engines instead",
    ),
    ({"engine": {"placement": "remote"}}, "engine.placement is remote and engine.url is empty"),
    ({"engine": {"url": "http://a:1"}}, "engine.url names an engine elsewhere and engine.placement is child"),
    (
        {"engine": {"placement": "remote", "url": "http://a:1"}},
        "set settings.images to passthrough, or engine.placement to sidecar",
    ),
    (
        {
            "engine": {"placement": "remote", "url": "http://a:1", "args": ["--x"]},
            "settings": {"images": "passthrough"},
        },
        "engine.args are for an engine that this chart starts",
    ),
    ({"image": {"variant": "gateway"}}, "image.variant is gateway, which holds neither encoder nor engine"),
    ({"engine": {"port": 8000}}, r"adminPort (9090) and engine.port (8000) must differ"),
    ({"env": [{"name": "PATCHBAY_PORT", "value": "1"}]}, "env names PATCHBAY_PORT: give Patchbay's settings"),
    (
        {"modelCache": {"enabled": True}},
        "strategy.rollingUpdate.maxSurge is 1, and a new pod could not attach modelCache",
    ),
    (
        {"modelCache": {"enabled": True}, "strategy": {"rollingUpdate": None}},
        "strategy.rollingUpdate.maxSurge is 25%",
    ),
    ({"modelCache": {"readOnly": True}}, "modelCache.readOnly needs modelCache.enabled"),
    (
        {"modelCache": {"enabled": True, "readOnly": True}, "model": {"name": "/models/m"}},
        "modelCache.readOnly needs modelCache.existingClaim: a new claim is empty",
    ),
    (
        {"modelCache": {"enabled": True, "readOnly": True, "existingClaim": "m"}},
        "modelCache.readOnly needs model.name",
    ),
    (
        {"extraContainers": [{"name": "patchbay", "image": "x"}]},
        "a container in initContainers or extraContainers is called patchbay",
    ),
    (
        {"initContainers": [{"name": "a", "image": "x"}], "extraContainers": [{"name": "a", "image": "x"}]},
        "is called a, which is one of the chart or comes twice",
    ),
    (
        {"modelDownload": {"enabled": True}},
        "modelDownload.enabled needs modelCache.enabled",
    ),
    ({**FILLED, "model": {"name": "a/b"}}, 'makes a folder in /models, and model.name is "a/b"'),
    ({**FILLED, "modelDownload": {"enabled": True}}, "modelDownload needs one of hub and url"),
    (
        {**FILLED, "modelDownload": {"enabled": True, "hub": "a/b", "url": "https://a.example/b.tar"}},
        "modelDownload needs one of hub and url",
    ),
    (
        {**FILLED, "modelDownload": {"enabled": True, "url": "https://a.example/b.tar"}},
        "modelDownload.url needs modelDownload.sha256",
    ),
    (
        {**FILLED, "modelDownload": {"enabled": True, "hub": "a/b", "sha256": "0" * 64}},
        "modelDownload.sha256 and modelDownload.authorization belong to url",
    ),
    (
        {
            **FILLED,
            "modelCache": {"enabled": True, "accessModes": ["ReadWriteOncePod"]},
            "strategy": {"type": "Recreate"},
        },
        "which accessModes ReadWriteOncePod do not permit",
    ),
    ({"modelDownload": {"url": "https://me:secret@a.example/b.tar"}}, "at '/modelDownload/url'"),
    ({"modelDownload": {"files": {"a": "12"}}}, "at '/modelDownload/files/a': '12' does not match"),
    ({"initContainers": [{"name": "a"}]}, "at '/initContainers/0': missing property 'image'"),
    ({"envFrom": [{"secretRef": {}}]}, "at '/envFrom/0/secretRef': missing property 'name'"),
    ({"dnsPolicy": "Cluster"}, "at '/dnsPolicy': value must be one of"),
    ({"resourceClaims": [{}]}, "at '/resourceClaims/0': missing property 'name'"),
    ({"networkPolicy": {"dnsPorts": []}}, "at '/networkPolicy/dnsPorts': minItems: got 0, want 1"),
    ({"ingress": {"controller": "nginx"}}, "at '/ingress/controller': value must be one of"),
    ({"modelCache": {"enabled": True}, "replicas": 2}, "2 pods cannot share modelCache with accessModes"),
    (
        {"extraVolumes": [{"name": "tmp", "emptyDir": {}}]},
        "extraVolumes names tmp, which is a volume of the chart",
    ),
    (
        {"extraVolumeMounts": [{"name": "a", "mountPath": "/tmp"}]},
        "extraVolumeMounts names /tmp, where the chart",
    ),
    ({"extraVolumeMounts": [{"name": "a"}]}, "at '/extraVolumeMounts/0': missing property 'mountPath'"),
    ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.hosts"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.enabled needs httpRoute.parentRefs"),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=[words[:50] for _, words in REFUSED])
def test_wrong_values_are_refused_in_words(values: dict[str, Any], words: str) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape(words)):
        objects(values)


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("type"), str | list):
            yield node
        for value in node.values():
            yield from schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas(value)


def test_no_object_takes_unknown_keys() -> None:
    open_ones = [
        SCHEMA["properties"]["global"],
        SCHEMA["$defs"]["kubernetes"],
        SCHEMA["$defs"]["container"],
        SCHEMA["properties"]["extraObjects"]["items"],
    ]
    described = 0
    for node in schemas(SCHEMA):
        if "object" in node["type"]:
            described += 1
            closed = node.get("additionalProperties", True)
            assert closed is False or isinstance(closed, dict) or node in open_ones, node
    assert described > 40


def test_every_key_of_the_schema_has_a_default_and_the_other_way_round() -> None:
    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        if "$ref" in schema:
            schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
        for name in values:
            assert name in schema["properties"], f"{path}.{name} is in values.yaml alone"
            inner = schema["properties"][name]
            if isinstance(values[name], dict) and values[name] and "properties" in inner:
                compare(values[name], inner, f"{path}.{name}")
                assert set(inner["properties"]) == set(values[name]), f"{path}.{name}"

    compare(VALUES, SCHEMA, "")
    assert set(SCHEMA["properties"]) == {*VALUES, "global"}


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and values:
        for name, value in values.items():
            yield from leaves(value, (*path, name))
    else:
        yield path


def test_every_value_is_explained() -> None:
    explained = {path for path, _ in document.documented((CHART / "values.yaml").read_text())}
    silent = [
        path for path in leaves(VALUES) if not any(path[:end] in explained for end in range(1, len(path) + 1))
    ]
    assert silent == []


def test_every_explained_value_is_used() -> None:
    templates = "".join(file.read_text() for file in (CHART / "templates").rglob("*.*"))
    for path, _ in document.documented((CHART / "values.yaml").read_text()):
        assert re.search(rf"\b{path[-1]}\b", templates), f"{'.'.join(path)} changes nothing"


def test_the_readme_is_what_the_values_say() -> None:
    assert (CHART / "README.md").read_text() == document.readme(), "run `make docs`"


def test_the_schemas_settings_are_patchbays() -> None:
    assert (CHART / "values.schema.json").read_text() == document.schema(), "run `make docs`"


def test_settings_that_the_chart_sets_are_settings() -> None:
    assert set(document.OWNED) <= set(Settings.model_fields)


def test_a_comment_may_have_several_lines() -> None:
    text = "# -- one\n# two\na:\n  # no\n  b: 1\n  # -- three\n  c:\n    - 2\n"
    assert list(document.documented(text)) == [(("a",), "one two"), (("a", "c"), "three")]
