"""What Kubernetes' API server refuses although its schema permits it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.helm.charts import Object, pod


def the_strategy_is_consistent(made: Mapping[str, Object]) -> None:
    """Recreate admits no rollingUpdate, and a rolling update must be able to take a step."""
    strategy = made["deployment.yaml"]["spec"]["strategy"]
    rolling = strategy.get("rollingUpdate", {})
    assert strategy["type"] == "RollingUpdate" or "rollingUpdate" not in strategy
    steps = rolling.get("maxSurge", "25%"), rolling.get("maxUnavailable", "25%")
    assert not all(step in (0, "0%") for step in steps)


def names_are_unique(made: Mapping[str, Object]) -> None:
    """Of containers, of volumes, of their ports; and a container mounts one volume at a path."""
    spec = pod(made)
    every = [*spec.get("initContainers", []), *spec["containers"]]
    _differ(container["name"] for container in every)
    _differ(volume["name"] for volume in spec["volumes"])
    for container in every:
        _differ(port["name"] for port in container.get("ports", []))
        _differ(mount["mountPath"] for mount in container.get("volumeMounts", []))


def what_is_mounted_exists(made: Mapping[str, Object]) -> None:
    spec = pod(made)
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


def devices_are_limits(made: Mapping[str, Object]) -> None:
    """Extended resources, such as a GPU, cannot be overcommitted: what is requested is the limit."""
    spec = pod(made)
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        limits = container.get("resources", {}).get("limits", {})
        requests = container.get("resources", {}).get("requests", {})
        for name in (name for name in requests if "/" in name):
            assert limits.get(name) == requests[name]


def _differ(names: Iterable[str]) -> None:
    listed = list(names)
    assert len(listed) == len(set(listed))


REFUSALS = (the_strategy_is_consistent, names_are_unique, what_is_mounted_exists, devices_are_limits)
