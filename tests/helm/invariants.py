"""What holds for the chart whatever its values are: each function raises AssertionError where it does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from ipaddress import ip_network

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from deploy.engine_health import ANSWER_SECONDS
from service.app.server import make_server
from service.engine.child import Child
from service.engine.supervisor import Pace
from service.ingest import addresses
from service.pipeline.admission import Admission
from service.server import ConnectionLimits
from service.settings import ENV_PREFIX, Settings
from service.telemetry.metrics import Metrics
from tests.helm.charts import ROOT, Object, containers, pod, policies, server, variables

Made = Mapping[str, Object]


def every_container_is_restricted(made: Made) -> None:
    """Kubernetes' Pod Security Standards, level restricted; and a read-only root."""
    for spec in (pod(made), made["tests/ask.yaml"]["spec"]):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    for container in containers(made):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    kinds = {kind for volume in pod(made)["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "persistentVolumeClaim"}


def no_token_and_no_service_variables(made: Made) -> None:
    """A Service called patchbay would become PATCHBAY_PORT=tcp://…, which Patchbay refuses."""
    for spec in (pod(made), made["tests/ask.yaml"]["spec"]):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
    if "serviceaccount.yaml" in made:
        assert made["serviceaccount.yaml"]["automountServiceAccountToken"] is False


def what_is_written_has_a_place(made: Made) -> None:
    """The root is read-only: temporary files, compiled kernels, downloads and the arena go to volumes."""
    names = {volume["name"] for volume in pod(made)["volumes"]}
    for container in [*pod(made).get("initContainers", []), *pod(made)["containers"]]:
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) <= names
        assert {"/tmp", "/dev/shm"} <= set(mounts)
        given = variables(container)
        assert given["HOME"] == given["XDG_CACHE_HOME"] in mounts
        assert str(given["HF_HOME"]).startswith("/models/") and "/models" in mounts


def the_arena_fits_twice(made: Made) -> None:
    """A killed container leaves its file, and its successor makes a new one before that goes."""
    (shm,) = [volume["emptyDir"] for volume in pod(made)["volumes"] if volume["name"] == "shm"]
    assert shm["medium"] == "Memory"
    arena = int(variables(server(made))["PATCHBAY_ARENA_BYTES"] or 0)
    assert int(shm["sizeLimit"]) > 2 * arena > 0
    for container in pod(made).get("initContainers", []):
        assert variables(container)["PATCHBAY_ARENA_BYTES"] == str(arena)


def every_variable_is_a_setting(made: Made) -> None:
    for container in containers(made):
        names = [name for name in variables(container) if name.startswith(ENV_PREFIX)]
        unknown = [
            name for name in names if name.removeprefix(ENV_PREFIX).lower() not in Settings.model_fields
        ]
        assert unknown == []
        listed = [entry["name"] for entry in container.get("env", [])]
        assert len(listed) == len(set(listed))


def secrets_come_by_reference(made: Made) -> None:
    for container in containers(made):
        for entry in container.get("env", []):
            if entry["name"] in ("PATCHBAY_API_KEYS", "API_KEYS", "HF_TOKEN"):
                assert set(entry) == {"name", "valueFrom"}
                assert set(entry["valueFrom"]) == {"secretKeyRef"}
    assert "Secret" not in {made[name]["kind"] for name in made}


def probes_ask_the_right_questions(made: Made) -> None:
    container = server(made)
    admin = {port["name"]: port["containerPort"] for port in container["ports"]}["admin"]
    assert str(admin) == variables(container)["PATCHBAY_ADMIN_PORT"]
    paths = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for name, path in paths.items():
        assert container[name]["httpGet"] == {"path": path, "port": "admin"}
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


def a_sidecars_liveness_waits_for_its_weights(made: Made) -> None:
    for container in pod(made).get("initContainers", []):
        assert container["restartPolicy"] == "Always"
        # with a startup probe the server would be started only when the engine is up
        assert "startupProbe" not in container and "readinessProbe" not in container
        wait = int(variables(container)["PATCHBAY_ENGINE_START_TIMEOUT"] or 0)
        probe = container["livenessProbe"]
        script, port, patience = probe["exec"]["command"][-3:]
        assert port == variables(container)["PATCHBAY_ENGINE_PORT"] and int(patience) >= wait
        assert (ROOT / script.removeprefix("/opt/patchbay/")).is_file()
        assert probe["timeoutSeconds"] > ANSWER_SECONDS
        # it hangs for minutes before it is restarted, not for as long as a start may take
        assert "initialDelaySeconds" not in probe
        assert 60 <= probe["periodSeconds"] * probe["failureThreshold"] <= 300


def the_grace_outlasts_the_drain(made: Made) -> None:
    """Seconds: still serving, draining, cutting connections, stopping the engine."""
    served = server(made)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drained = int(variables(server(made))["PATCHBAY_DRAIN_TIMEOUT"] or 0)
    made_server = make_server(
        FastAPI(),
        Admission(max_inflight=1, max_visual_tokens=1),
        Metrics(CollectorRegistry()),
        log_level="info",
        drain_timeout=1,
        max_connections=2,
        limits=ConnectionLimits(),
    )
    assert "timeout(self._grace + 5)" in inspect.getsource(Child._end)
    stopped = (made_server.config.timeout_graceful_shutdown or 0) + Pace().grace + 5
    assert served >= 1
    assert pod(made)["terminationGracePeriodSeconds"] > served + drained + stopped


def a_start_is_no_failed_rollout(made: Made) -> None:
    startup = server(made)["startupProbe"]
    engine = int(variables(server(made))["PATCHBAY_ENGINE_START_TIMEOUT"] or 0)
    longest = startup["periodSeconds"] * startup["failureThreshold"] + engine
    assert made["deployment.yaml"]["spec"]["progressDeadlineSeconds"] > longest


def selectors_find_the_server_alone(made: Made) -> None:
    labels = made["deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
    tested = made["tests/ask.yaml"]["metadata"]["labels"]
    selectors = [
        made["service.yaml"]["spec"]["selector"],
        made["service-admin.yaml"]["spec"]["selector"],
        made["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        *(policy["spec"]["podSelector"]["matchLabels"] for policy in policies(made)),
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= tested.items()


def everything_is_denied_first(made: Made) -> None:
    denying = made["networkpolicy-default-deny.yaml"]["spec"]
    assert set(denying["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(denying)
    opened = {}
    for policy in policies(made):
        for rule in policy["spec"].get("ingress", []):
            for port in rule["ports"]:
                opened[port["port"]] = "from" in rule
    assert set(opened) == {"http", "admin"}, "and so nobody reaches the engine's port"
    assert opened["admin"], "metrics are for monitoring alone"


def egress_leads_to_names_and_public_addresses(made: Made) -> None:
    special = {*addresses._PRIVATE, *addresses._SPECIAL_V4, *addresses._SPECIAL_V6}
    open_to_all = {ip_network("0.0.0.0/0"), addresses._GLOBAL_V6}
    seen = set()
    for rule in made["networkpolicy-egress.yaml"]["spec"]["egress"]:
        assert rule.get("to") and rule.get("ports")
        for peer in rule["to"]:
            if "ipBlock" not in peer:
                # the cluster's name servers, and what the operator names: never everybody
                assert all(selector["matchLabels"] for selector in peer.values())
                continue
            block = ip_network(peer["ipBlock"]["cidr"])
            seen.add(block)
            inside = {net for net in special if net.version == block.version and net.subnet_of(block)}
            assert {ip_network(net) for net in peer["ipBlock"]["except"]} == inside
    assert seen == open_to_all


INVARIANTS: tuple[Callable[[Made], None], ...] = (
    every_container_is_restricted,
    no_token_and_no_service_variables,
    what_is_written_has_a_place,
    the_arena_fits_twice,
    every_variable_is_a_setting,
    secrets_come_by_reference,
    probes_ask_the_right_questions,
    a_sidecars_liveness_waits_for_its_weights,
    the_grace_outlasts_the_drain,
    a_start_is_no_failed_rollout,
    selectors_find_the_server_alone,
    everything_is_denied_first,
    egress_leads_to_names_and_public_addresses,
)
