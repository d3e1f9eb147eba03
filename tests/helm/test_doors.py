"""What operators add to the pod and beside it: containers, variables, identities, names, devices, objects."""

from __future__ import annotations

from typing import Any

import pytest

from service.settings import Settings
from tests.helm.charts import REMOTE, documents, objects, pod, profile, server, variables

SIDECAR = profile("external-engine")
BUSYBOX = {"name": "wait", "image": "busybox", "command": ["sleep", "1"]}
PROXY = {"name": "proxy", "image": "envoy", "ports": [{"name": "envoy", "containerPort": 10000}]}


def test_containers_come_before_the_engine_and_beside_the_server() -> None:
    spec = pod(objects({**SIDECAR, "initContainers": [BUSYBOX], "extraContainers": [PROXY]}))
    assert [container["name"] for container in spec["initContainers"]] == ["wait", "engine"]
    assert spec["initContainers"][0] == BUSYBOX
    assert [container["name"] for container in spec["containers"]] == ["patchbay", "proxy"]
    assert spec["containers"][1] == PROXY
    alone = pod(objects({"initContainers": [BUSYBOX]}))
    assert alone["initContainers"] == [BUSYBOX]


def test_variables_come_from_secrets_and_config_maps() -> None:
    sources = [{"secretRef": {"name": "proxy", "optional": True}}, {"configMapRef": {"name": "region"}}]
    spec = pod(objects({**SIDECAR, "envFrom": sources}))
    assert spec["initContainers"][0]["envFrom"] == spec["containers"][0]["envFrom"] == sources
    assert "envFrom" not in server(objects())


def test_security_contexts_are_changed_key_by_key() -> None:
    values = {
        "podSecurityContext": {"runAsUser": 2000, "fsGroup": None},
        "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}},
    }
    made = objects(values)
    for spec in (pod(made), made["tests/ask.yaml"]["spec"]):
        context = spec["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], "fsGroup" in context) == (2000, 10001, False)
        assert context["runAsNonRoot"] is True
        own = spec["containers"][0]["securityContext"]
        assert own["capabilities"] == {"add": ["SYS_PTRACE"], "drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True


def test_a_user_without_a_name_has_one() -> None:
    """`getpass.getuser`, which torch calls, asks the variables before /etc/passwd."""
    assert variables(server(objects()))["USER"] == "patchbay"


def test_scheduler_names_and_devices_are_passed_on() -> None:
    claim = {"name": "gpu", "resourceClaimTemplateName": "half-a-gpu"}
    values = {
        "schedulerName": "volcano",
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.53"], "options": [{"name": "ndots", "value": "2"}]},
        "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["hub.internal"]}],
        "resourceClaims": [claim],
        "resources": {"claims": [{"name": "gpu"}]},
    }
    spec = pod(objects(values))
    assert {name: spec[name] for name in values if name != "resources"} == {
        name: value for name, value in values.items() if name != "resources"
    }
    assert spec["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert not set(values) & set(pod(objects()))


def test_labels_are_everywhere_but_in_selectors() -> None:
    values = {"commonLabels": {"team": "vision"}, "deploymentAnnotations": {"reloader": "true"}}
    for entry in documents(values):
        if entry["kind"] != "Pod":
            assert entry["metadata"]["labels"]["team"] == "vision", entry["kind"]
    made = objects(values)
    deployment = made["deployment.yaml"]
    assert deployment["metadata"]["annotations"] == {"reloader": "true"}
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "vision"
    assert "team" not in deployment["spec"]["selector"]["matchLabels"]
    assert "team" not in made["service.yaml"]["spec"]["selector"]


def test_objects_are_installed_as_they_are_and_strings_as_templates() -> None:
    plain = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "{{ no }}"}}
    written = 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ include "patchbay.fullname" . }}-b\n'
    made = documents({"extraObjects": [plain, written]})
    maps = [entry for entry in made if entry["kind"] == "ConfigMap"]
    assert maps[0] == plain
    assert maps[1]["metadata"]["name"] == "shop-patchbay-b"


def test_name_servers_are_reached_at_their_own_ports() -> None:
    made = objects({"networkPolicy": {"dnsPorts": [53, 5353]}})
    ports = made["networkpolicy-egress.yaml"]["spec"]["egress"][0]["ports"]
    assert {(entry["port"], entry["protocol"]) for entry in ports} == {
        (port, protocol) for port in (53, 5353) for protocol in ("TCP", "UDP")
    }


def test_a_claim_that_is_only_read() -> None:
    values = {
        "model": {"name": "/models/m"},
        "modelCache": {"enabled": True, "existingClaim": "m", "readOnly": True},
        "replicas": 4,
    }
    spec = pod(objects(values))
    (volume,) = [entry for entry in spec["volumes"] if entry["name"] == "models"]
    assert volume["persistentVolumeClaim"] == {"claimName": "m", "readOnly": True}
    (mount,) = [entry for entry in server(objects(values))["volumeMounts"] if entry["name"] == "models"]
    assert mount == {"name": "models", "mountPath": "/models", "readOnly": True}
    assert variables(spec["containers"][0])["HF_HUB_OFFLINE"] == "1"


def annotations(controller: str, **more: Any) -> dict[str, str]:
    ingress = {"enabled": True, "hosts": ["a.example"], "controller": controller}
    made = objects({"ingress": {**ingress, **more.pop("ingress", {})}, **more})
    found: dict[str, str] = made["ingress.yaml"]["metadata"].get("annotations", {})
    return found


BODY = {
    "ingress-nginx": "nginx.ingress.kubernetes.io/proxy-body-size",
    "nginx-inc": "nginx.org/client-max-body-size",
}
TIME = {
    "ingress-nginx": ("nginx.ingress.kubernetes.io/proxy-read-timeout", "{}"),
    "nginx-inc": ("nginx.org/proxy-read-timeout", "{}s"),
    "haproxy": ("haproxy.org/timeout-server", "{}s"),
    "alb": ("alb.ingress.kubernetes.io/load-balancer-attributes", "idle_timeout.timeout_seconds={}"),
}


@pytest.mark.parametrize("controller", TIME)
def test_pictures_get_in_and_long_answers_out(controller: str) -> None:
    fields = Settings.model_fields
    key, form = TIME[controller]
    assert annotations(controller)[key] == form.format(int(fields["request_timeout"].default))
    changed = annotations(controller, settings={"max_body_bytes": 104857600, "request_timeout": 900})
    assert changed[key] == form.format(900)
    if controller in BODY:
        assert annotations(controller)[BODY[controller]] == str(fields["max_body_bytes"].default)
        assert changed[BODY[controller]] == "104857600"


def test_own_annotations_override_the_controllers() -> None:
    key = BODY["ingress-nginx"]
    mine = {key: "1m", "x": "y"}
    made = annotations("ingress-nginx", ingress={"annotations": mine})
    assert made.items() >= mine.items() and len(made) > 2
    assert annotations("") == {}


def test_a_gateway_has_the_same_doors() -> None:
    assert pod(objects({**REMOTE, "extraContainers": [PROXY]}))["containers"][1] == PROXY
