"""The example values: each says how it is installed, and what comes out is taken by Helm, Kubernetes and Patchbay."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from service.settings import load
from tests.helm.api_server import REFUSALS
from tests.helm.charts import CHART, VERSIONS, documents, objects, over, pod, server, variables

EXAMPLES = {file.stem: file for file in sorted((CHART / "examples").glob("*.yaml"))}
FOREIGN = {"ServiceMonitor", "PrometheusRule", "Route", "HTTPRoute", "InferencePool"}
COMMAND = re.compile(r"^# helm install (\w+) helm/patchbay((?: -f helm/patchbay/\S+)+)$", re.M)


def installed(file: Path) -> tuple[str, dict[str, Any]]:
    """The release's name and the values of the command in an example's head, later files over earlier ones."""
    (found,) = COMMAND.findall(file.read_text())
    release, flags = found
    paths = [CHART.parent.parent / path for path in flags.split(" -f ")[1:]]
    assert paths[-1] == file
    return release, functools.reduce(over, (yaml.safe_load(path.read_text()) for path in paths))


VALUES = {name: installed(file)[1] for name, file in EXAMPLES.items()}


def test_the_examples_are_those_that_people_ask_for() -> None:
    assert set(EXAMPLES) == {
        "external-engine",
        "inference-pool",
        "mig-slice",
        "model-download",
        "no-prometheus-operator",
        "openshift",
        "private-ca",
        "read-only-models",
        "s3-download",
        "second-release",
        "tensor-parallel",
        "two-gpus",
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_helm_lints_it(name: str, version: str) -> None:
    report = helm_python.lint(CHART, VALUES[name], strict=True, kube_version=f"v{version}.0")
    assert report["errors"] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_kubernetes_takes_it(name: str, version: str) -> None:
    for entry in documents(VALUES[name]):
        if entry["kind"] not in FOREIGN:
            assert kubernetes_validate.validate(dict(entry), version, strict=True) == version


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", EXAMPLES)
def test_its_api_server_takes_it_too(name: str, refusal: Any) -> None:
    refusal(objects(VALUES[name]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_patchbay_takes_its_variables(name: str) -> None:
    given = {
        key: "secret" if value is None else value
        for key, value in variables(server(objects(VALUES[name]))).items()
        if key.startswith("PATCHBAY_")
    }
    load({}, given)


def test_openshift_gets_no_user_and_finds_its_name_servers() -> None:
    made = objects(VALUES["openshift"])
    for spec in (pod(made), made["tests/ask.yaml"]["spec"]):
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    dns = made["networkpolicy-egress.yaml"]["spec"]["egress"][0]
    assert {port["port"] for port in dns["ports"]} == {5353}
    assert made["extra-objects.yaml"]["spec"]["to"]["name"] == "shop-patchbay"


def test_a_slice_takes_the_place_of_the_gpu() -> None:
    limits = server(objects(VALUES["mig-slice"]))["resources"]["limits"]
    assert {name for name in limits if "/" in name} == {"nvidia.com/mig-3g.40gb"}


def test_the_bucket_is_read_before_the_server_starts() -> None:
    spec = pod(objects(VALUES["s3-download"]))
    (download,) = spec["initContainers"]
    written = {mount["name"]: mount["mountPath"] for mount in download["volumeMounts"]}
    read = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert written.items() <= read.items()
    assert download["command"][-1] == variables(spec["containers"][0])["PATCHBAY_MODEL"]


def test_a_gated_checkpoint_is_downloaded_once_with_the_token() -> None:
    made = objects(VALUES["model-download"])
    (job,) = made["model-download.yaml"]["spec"]["template"]["spec"]["containers"]
    assert {entry["name"] for entry in job["env"]} >= {"HF_TOKEN"}
    assert pod(made)["initContainers"][0]["name"] == "model"
    assert variables(server(made))["PATCHBAY_MODEL"] == "/models/gemma-3-4b-it"


def test_a_release_beside_another_shares_no_name_with_it() -> None:
    release, values = installed(EXAMPLES["second-release"])
    assert release == "other"
    first = {(entry["kind"], entry["metadata"]["name"]) for entry in documents({})}
    second = {(entry["kind"], entry["metadata"]["name"]) for entry in documents(values)}
    assert not first & second


def test_nothing_of_the_operator_is_installed() -> None:
    kinds = {entry["kind"] for entry in documents(VALUES["no-prometheus-operator"])}
    assert not kinds & {"ServiceMonitor", "PrometheusRule"}
    made = objects(VALUES["no-prometheus-operator"])
    notes = made["deployment.yaml"]["spec"]["template"]["metadata"]["annotations"]
    ports = {port["name"]: port["containerPort"] for port in server(made)["ports"]}
    assert notes["prometheus.io/port"] == str(ports["admin"])


def test_the_pool_has_the_pods_and_the_route_goes_to_it() -> None:
    values = VALUES["inference-pool"]
    made = documents(values)
    (pool,) = [entry for entry in made if entry["kind"] == "InferencePool"]
    template = objects(values)["deployment.yaml"]["spec"]["template"]
    assert pool["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    for entry in made:  # no pod of a test or a Job
        other = entry["metadata"]["labels"] if entry["kind"] == "Pod" else {}
        assert not pool["spec"]["selector"]["matchLabels"].items() <= other.items()
    ports = {port["name"]: port["containerPort"] for port in server(objects(values))["ports"]}
    assert pool["spec"]["targetPorts"] == [{"number": ports["http"]}]
    (rule,) = objects(values)["httproute.yaml"]["spec"]["rules"]
    assert rule["backendRefs"] == [
        {
            "group": pool["apiVersion"].partition("/")[0],
            "kind": pool["kind"],
            "name": pool["metadata"]["name"],
        }
    ]
    picker = pool["spec"]["endpointPickerRef"]
    (peers,) = [rule["from"] for rule in objects(values)["networkpolicy-monitoring.yaml"]["spec"]["ingress"]]
    assert {"podSelector": {"matchLabels": {"app": picker["name"]}}} in peers


def test_the_picker_is_told_where_the_engines_metrics_are() -> None:
    """What the README gives it is the admin port of the example, and a path that Patchbay answers."""
    text = (CHART / "README.md").read_text()
    ports = {
        port["name"]: port["containerPort"] for port in server(objects(VALUES["inference-pool"]))["ports"]
    }
    (flags,) = re.findall(r"^--pool-name=[^`]+", text, re.M)
    assert f"--model-server-metrics-port={ports['admin']}" in flags
    (path,) = re.findall(r"--model-server-metrics-path=(\S+)", flags)
    monitored = objects({"serviceMonitor": {"enabled": True}})["servicemonitor.yaml"]["spec"]["endpoints"]
    assert path == monitored[1]["path"]


def test_a_larger_model_gets_a_gpu_for_each_rank() -> None:
    made = objects(VALUES["tensor-parallel"])
    ranks = int(variables(server(made))["PATCHBAY_TENSOR_PARALLEL_SIZE"] or "")
    assert server(made)["resources"]["limits"]["nvidia.com/gpu"] == ranks == 4


def test_two_gpus_are_one_for_each_container() -> None:
    made = objects(VALUES["two-gpus"])
    (sidecar,) = pod(made)["initContainers"]
    for container in (server(made), sidecar):
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert variables(container)["PATCHBAY_ENCODER_GPU"] == "own"
