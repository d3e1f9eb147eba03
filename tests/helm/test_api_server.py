"""The API server takes what the chart renders, and these checks notice what it would refuse."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.helm import api_server
from tests.helm.api_server import REFUSALS
from tests.helm.charts import EVERYTHING, PROFILES, REMOTE, objects, profile, server

VALUES: dict[str, dict[str, Any]] = {
    **{name: profile(name) for name in PROFILES},
    "everything": EVERYTHING,
    "remote": REMOTE,
    "sidecar, volumes": {
        **profile("external-engine"),
        "extraVolumes": [{"name": "ca", "configMap": {"name": "company-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    },
    "recreate": {"strategy": {"type": "Recreate"}},
    "one-gpu, recreate": {**profile("one-gpu"), "strategy": {"type": "Recreate"}},
}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", VALUES)
def test_nothing_is_refused(name: str, refusal: Any) -> None:
    refusal(objects(VALUES[name]))


def test_a_strategy_without_its_block_is_kubernetes_own() -> None:
    made = objects({"strategy": {"rollingUpdate": None}})
    assert made["deployment.yaml"]["spec"]["strategy"] == {"type": "RollingUpdate"}
    api_server.the_strategy_is_consistent(made)


def damaged() -> Any:
    return copy.deepcopy(dict(objects(profile("one-gpu"))))


@pytest.mark.parametrize(
    "strategy",
    [
        {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
        {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}},
    ],
)
def test_a_strategy_that_contradicts_itself_is_noticed(strategy: dict[str, Any]) -> None:
    made = damaged()
    made["deployment.yaml"]["spec"]["strategy"] = strategy
    with pytest.raises(AssertionError):
        api_server.the_strategy_is_consistent(made)


def test_a_path_that_is_mounted_twice_is_noticed() -> None:
    made = damaged()
    server(made)["volumeMounts"].append({"name": "models", "mountPath": "/tmp"})
    with pytest.raises(AssertionError):
        api_server.names_are_unique(made)


def test_a_volume_that_is_missing_is_noticed() -> None:
    made = damaged()
    server(made)["volumeMounts"].append({"name": "elsewhere", "mountPath": "/elsewhere"})
    with pytest.raises(AssertionError):
        api_server.what_is_mounted_exists(made)


def test_a_gpu_that_is_only_requested_is_noticed() -> None:
    made = damaged()
    server(made)["resources"] = {"requests": {"nvidia.com/gpu": 1}}
    with pytest.raises(AssertionError):
        api_server.devices_are_limits(made)
