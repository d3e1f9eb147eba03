"""The objects around the pod: which values make them, and what is in them."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.ingest.addresses import may_contact
from service.telemetry.catalogue import STAGES
from service.telemetry.metrics import Metrics
from tests.helm.charts import CHART, EVERYTHING, REMOTE, objects, policies, server

BY_DEFAULT = {
    "deployment.yaml",
    "networkpolicy-clients.yaml",
    "networkpolicy-default-deny.yaml",
    "networkpolicy-egress.yaml",
    "networkpolicy-monitoring.yaml",
    "service-admin.yaml",
    "service.yaml",
    "serviceaccount.yaml",
    "tests/ask.yaml",
}
OFF = [
    ({"networkPolicy": {"enabled": False}}, {name for name in BY_DEFAULT if name.startswith("network")}),
    ({"networkPolicy": {"monitoring": []}}, {"networkpolicy-monitoring.yaml"}),
    ({"serviceAccount": {"create": False, "name": "mine"}}, {"serviceaccount.yaml"}),
]
ON = [
    ({"podDisruptionBudget": {"enabled": True}}, "poddisruptionbudget.yaml"),
    ({"autoscaling": {"enabled": True}}, "scaledobject.yaml"),
    ({"modelCache": {"enabled": True, "accessModes": ["ReadWriteMany"]}}, "persistentvolumeclaim.yaml"),
    ({"serviceMonitor": {"enabled": True}}, "servicemonitor.yaml"),
    ({"ingress": {"enabled": True, "hosts": ["a.example"]}}, "ingress.yaml"),
    ({"httpRoute": {"enabled": True, "parentRefs": [{"name": "gate"}]}}, "httproute.yaml"),
]


def test_what_is_there_by_default() -> None:
    assert set(objects()) == BY_DEFAULT


@pytest.mark.parametrize(("values", "gone"), OFF)
def test_a_value_takes_away(values: dict[str, Any], gone: set[str]) -> None:
    assert set(objects(values)) == BY_DEFAULT - gone


@pytest.mark.parametrize(("values", "added"), ON)
def test_a_value_adds_one_object(values: dict[str, Any], added: str) -> None:
    assert set(objects(values)) == BY_DEFAULT | {added}


def test_an_account_of_ones_own_is_used() -> None:
    made = objects({"serviceAccount": {"create": False, "name": "mine"}})
    assert made["deployment.yaml"]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


ADDRESSES = (
    *("8.8.8.8", "1.1.1.1", "10.0.0.1", "10.255.255.255", "11.0.0.0", "100.64.0.1", "100.128.0.0"),
    *("127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "172.32.0.0", "192.168.1.1"),
    *("192.0.0.8", "192.0.1.1", "198.18.0.1", "198.20.0.0", "203.0.113.9", "224.0.0.1", "255.255.255.255"),
    *("0.0.0.0", "2606:4700::1111", "2001:db8::1", "2001:0:1::", "2002:a00::1", "3fff::1", "4000::1"),
    *("::1", "fc00::1", "fd12::1", "fe80::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"),
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_policy_and_the_url_guard_agree(address: str) -> None:
    rules = objects()["networkpolicy-egress.yaml"]["spec"]["egress"]
    blocks = [peer["ipBlock"] for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    ip = ip_address(address)
    open_now = any(
        ip in ip_network(block["cidr"]) and not any(ip in ip_network(net) for net in block["except"])
        for block in blocks
    )
    assert open_now is may_contact(address)


def test_clients_can_be_named_and_the_test_stays_one_of_them() -> None:
    client = {"podSelector": {"matchLabels": {"app": "web"}}}
    made = objects({"networkPolicy": {"clients": [client]}})
    (rule,) = made["networkpolicy-clients.yaml"]["spec"]["ingress"]
    assert rule["from"][0] == client
    tested = made["tests/ask.yaml"]["metadata"]["labels"]
    assert rule["from"][1]["podSelector"]["matchLabels"].items() <= tested.items()


def test_further_egress_is_added_and_the_outside_can_be_closed() -> None:
    extra = {"to": [{"podSelector": {"matchLabels": {"app": "vllm"}}}], "ports": [{"port": 8000}]}
    made = objects({"networkPolicy": {"publicPorts": [], "extraEgress": [extra]}})
    dns, added = made["networkpolicy-egress.yaml"]["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert added == extra
    assert not any("ipBlock" in json.dumps(dict(policy)) for policy in policies(made))


def triggers(values: dict[str, Any]) -> dict[str, dict[str, str]]:
    spec = objects(values)["scaledobject.yaml"]["spec"]
    assert {trigger["type"] for trigger in spec["triggers"]} == {"prometheus"}, "never by CPU"
    return {trigger["name"]: trigger["metadata"] for trigger in spec["triggers"]}


def test_it_scales_by_metrics_that_exist() -> None:
    queries = {name: entry["query"] for name, entry in triggers({"autoscaling": {"enabled": True}}).items()}
    assert set(queries) == {"encoder-busy", "encode-queue", "engine-waiting", "kv-cache"}
    metrics = Metrics(CollectorRegistry())
    exposed = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    ours = set(re.findall(r"patchbay_\w+", " ".join(queries.values())))
    assert len(ours) == 2 and ours <= exposed
    assert set(re.findall(r'stage="(\w+)"', queries["encode-queue"])) <= set(STAGES)
    engine = find_spec("vllm")
    assert engine is not None and engine.origin is not None
    names = (Path(engine.origin).parent / "v1" / "metrics" / "loggers.py").read_text()
    for name in re.findall(r"vllm:\w+", " ".join(queries.values())):
        assert f'"{name}"' in names
    for query in queries.values():
        assert query.count("{") == query.count('{namespace="vision",service="shop-patchbay-admin"}') + (
            'stage="encode_queue"' in query
        )
        assert 'namespace="vision",service="shop-patchbay-admin"}' in query


def test_targets_are_values() -> None:
    targets = {"encoderBusy": 0.5, "encodeQueueSeconds": 1, "engineWaiting": 2, "kvCacheUsage": 0.9}
    made = triggers({"autoscaling": {"enabled": True, "targets": targets}})
    assert [entry["threshold"] for entry in made.values()] == ["0.5", "1", "2", "0.9"]


def test_an_engine_that_encodes_itself_is_the_only_one_to_scale_by() -> None:
    made = triggers({"autoscaling": {"enabled": True}, "settings": {"images": "passthrough"}})
    assert set(made) == {"engine-waiting", "kv-cache"}


def test_prometheus_is_asked_as_it_wants_to_be() -> None:
    plain = objects({"autoscaling": {"enabled": True}})["scaledobject.yaml"]["spec"]["triggers"]
    assert not any("authenticationRef" in trigger or "authModes" in trigger["metadata"] for trigger in plain)
    asked = {
        "enabled": True,
        "prometheusAddress": "https://thanos:9092",
        "authentication": {"name": "reader", "kind": "ClusterTriggerAuthentication"},
        "triggerMetadata": {"authModes": "bearer", "namespace": "vision", "customHeaders": "X-Scope-OrgID=a"},
    }
    made = objects({"autoscaling": asked})["scaledobject.yaml"]["spec"]["triggers"]
    assert len(made) == len(plain)
    for trigger, before in zip(made, plain, strict=True):
        assert trigger["authenticationRef"] == {"name": "reader", "kind": "ClusterTriggerAuthentication"}
        assert trigger["metadata"] == {
            **before["metadata"],
            "serverAddress": "https://thanos:9092",
            "authModes": "bearer",
            "namespace": "vision",
            "customHeaders": "X-Scope-OrgID=a",
        }


def test_pods_are_added_no_faster_than_they_can_take_load() -> None:
    spec = objects({"autoscaling": {"enabled": True, "scaleUp": {"pods": 3}}})["scaledobject.yaml"]["spec"]
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour["scaleUp"]["policies"] == [{"type": "Pods", "value": 3, "periodSeconds": 180}]
    assert behaviour["scaleDown"] == {"stabilizationWindowSeconds": 600}
    assert "fallback" not in spec


def test_without_prometheus_there_are_enough_pods_and_none_is_taken_away() -> None:
    asked = {"enabled": True, "fallback": {"replicas": 3}}
    spec = objects({"autoscaling": asked})["scaledobject.yaml"]["spec"]
    assert spec["fallback"] == {"failureThreshold": 4, "replicas": 3, "behavior": "currentReplicasIfHigher"}
    # KEDA admits a fallback only where a trigger is of this type
    assert "AverageValue" in {trigger["metricType"] for trigger in spec["triggers"]}


def test_the_autoscaler_owns_the_number_of_pods() -> None:
    assert objects({"replicas": 3})["deployment.yaml"]["spec"]["replicas"] == 3
    made = objects({"autoscaling": {"enabled": True, "maxReplicas": 7}})
    assert "replicas" not in made["deployment.yaml"]["spec"]
    scaled = made["scaledobject.yaml"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == made["deployment.yaml"]["metadata"]["name"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 7)


def test_prometheus_finds_the_admin_port_and_nobody_elses() -> None:
    made = objects({"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}}, "adminPort": 9191})
    monitor, admin, api = (
        made[name] for name in ("servicemonitor.yaml", "service-admin.yaml", "service.yaml")
    )
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= admin["metadata"]["labels"].items()
    assert not wanted.items() <= api["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"] == [
        {
            "port": "admin",
            "path": path,
            "interval": "15s",
            "relabelings": [
                {"targetLabel": "job", "replacement": job},
                {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"},
            ],
        }
        for job, path in (("patchbay", "/metrics"), ("vllm", "/metrics/engine"))
    ]
    assert [(port["name"], port["port"]) for port in admin["spec"]["ports"]] == [("admin", 9191)]
    assert monitor["metadata"]["labels"]["release"] == "prom"
    assert [port["targetPort"] for port in api["spec"]["ports"]] == ["http"]
    ports = {port["name"]: port["containerPort"] for port in server(made)["ports"]}
    assert ports == {"http": 8000, "admin": 9191}


def test_an_engine_elsewhere_is_not_scraped_through_the_gateway() -> None:
    """Each of several gateways would count it again."""
    made = objects({**REMOTE, "serviceMonitor": {"enabled": True}})
    assert [entry["path"] for entry in made["servicemonitor.yaml"]["spec"]["endpoints"]] == ["/metrics"]


def test_traffic_from_outside_reaches_the_api() -> None:
    made = objects({**EVERYTHING, "ingress": {"enabled": True, "hosts": ["a.example"], "className": "nginx"}})
    (rule,) = made["ingress.yaml"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"]) == ("a.example", "/v1")
    assert path["backend"]["service"] == {"name": "shop-patchbay", "port": {"name": "http"}}
    assert made["ingress.yaml"]["spec"]["ingressClassName"] == "nginx"
    (rule,) = made["httproute.yaml"]["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "shop-patchbay", "port": 80}]
    assert rule["timeouts"] == {"request": "600s"}
    assert made["httproute.yaml"]["spec"]["parentRefs"] == [{"name": "gate"}]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A copy of the chart without rules and dashboards."""
    chart = tmp_path / "patchbay"
    shutil.copytree(CHART, chart)
    for folder in ("rules", "dashboards"):
        shutil.rmtree(chart / "files" / folder, ignore_errors=True)
    return chart


SHOWN = {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}


def test_rules_and_dashboards_are_files_of_the_chart(bare: Path) -> None:
    assert set(objects(SHOWN, bare)) == BY_DEFAULT
    (bare / "files" / "rules").mkdir()
    (bare / "files" / "dashboards").mkdir()
    for name in ("a", "b"):
        group = {
            "name": name,
            "rules": [{"alert": name, "expr": "up == 0", "annotations": {"s": "{{ $value }}"}}],
        }
        (bare / "files" / "rules" / f"{name}.yaml").write_text(json.dumps({"groups": [group]}))
        (bare / "files" / "dashboards" / f"{name}.json").write_text(json.dumps({"title": "{{x}}"}))
    made = objects(SHOWN, bare)
    assert set(made) == BY_DEFAULT | {"prometheusrule.yaml", "dashboards.yaml"}
    groups = made["prometheusrule.yaml"]["spec"]["groups"]
    assert [group["name"] for group in groups] == ["a", "b"]
    assert groups[0]["rules"][0]["annotations"]["s"] == "{{ $value }}"
    board = made["dashboards.yaml"]
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(board["data"]["a.json"]) == {"title": "{{x}}"}
    assert set(objects({}, bare)) == BY_DEFAULT
