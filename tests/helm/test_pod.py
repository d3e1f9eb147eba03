"""The pod: what values change in it, and that Patchbay itself accepts what it is given."""

from __future__ import annotations

from typing import Any

import pytest

from service.app import prepare as preparation
from service.app.prepare import prepare
from service.engine.flags import check_flags
from service.planning.machine import Machine
from service.planning.plan import FEWEST_DECODERS, RANK_SHARED_BYTES
from service.planning.visible_gpu import GPU
from service.settings import EMBEDDED_MODEL, load
from tests.helm.charts import EVERYTHING, PROFILES, REMOTE, objects, pod, profile, server, variables

GIB = 1024**3
H200 = GPU("H200", 141 * GIB, 141 * GIB)
UNITS = {"Mi": 1024**2, "Gi": GIB}


def given(container: Any) -> dict[str, str]:
    """Patchbay's variables, with something in the place of what comes from Secrets."""
    return {
        name: "secret" if value is None else value
        for name, value in variables(container).items()
        if name.startswith("PATCHBAY_")
    }


@pytest.mark.parametrize("values", [*map(profile, PROFILES), EVERYTHING, REMOTE])
def test_patchbay_takes_its_variables(values: dict[str, Any]) -> None:
    made = objects(values)
    for container in [*pod(made).get("initContainers", []), server(made)]:
        load({}, given(container))


@pytest.mark.parametrize("name", PROFILES)
def test_the_resource_plan_works_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with the arena of a killed predecessor still there."""
    made = objects(profile(name))
    limits = server(made)["resources"]["limits"]
    memory = int(limits["memory"][:-2]) * UNITS[limits["memory"][-2:]]
    cores = int(server(made)["resources"]["requests"]["cpu"])
    (shm,) = [volume["emptyDir"] for volume in pod(made)["volumes"] if volume["name"] == "shm"]
    settings = load({"model": EMBEDDED_MODEL}, given(server(made)))
    arena = settings.arena_bytes or 0
    machine = Machine(
        cores=tuple(range(cores)),
        memory_bytes=memory,
        shared_memory_bytes=int(shm["sizeLimit"]) - arena,
        gpu=H200 if "nvidia.com/gpu" in limits else None,
    )
    monkeypatch.setattr(preparation, "inspect", lambda _: machine)
    plan = prepare(settings).plan
    assert plan.arena_bytes == arena or settings.images == "passthrough"
    assert plan.device == ("cuda" if machine.gpu else "cpu")
    assert plan.encoder_threads <= cores
    assert plan.decode_workers <= max(FEWEST_DECODERS, cores - 1)
    assert int(shm["sizeLimit"]) < memory / 2


def test_server_and_sidecar_meet_at_one_arena_and_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    made = objects(profile("external-engine"))
    (sidecar,) = pod(made)["initContainers"]
    machine = Machine((0, 1, 2, 3), 64 * GIB, 64 * GIB, H200)
    monkeypatch.setattr(preparation, "inspect", lambda _: machine)
    ours, theirs = (
        prepare(load({"model": EMBEDDED_MODEL}, given(container)), encoder_elsewhere=container is sidecar)
        for container in (server(made), sidecar)
    )
    assert ours.external and not theirs.external
    assert ours.engine_url == theirs.engine_url
    assert ours.engine == theirs.engine
    assert ours.arena_path.startswith("/dev/shm/")
    assert sidecar["command"] == ["patchbay", "engine"]
    assert sidecar["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod(made)["securityContext"]["runAsUser"] == 10001, "the arena is its maker's alone"


@pytest.mark.parametrize("placement", ["child", "sidecar"])
def test_engine_flags_are_passed_on_as_they_are(placement: str) -> None:
    flags = ["--max-num-seqs", "64", "--compilation-config", '{"level": 3}']
    made = objects({"engine": {"placement": placement, "args": flags}})
    args = {item["name"]: item.get("args") for item in [*pod(made).get("initContainers", []), server(made)]}
    assert server(made)["command"] == ["patchbay", "serve"]
    assert args.pop("engine" if placement == "sidecar" else "patchbay") == ["--", *flags]
    assert set(args.values()) <= {None}
    check_flags(flags)


def test_a_remote_engine_is_named_and_nothing_else_is_started() -> None:
    made = objects(REMOTE)
    assert "initContainers" not in pod(made)
    assert variables(server(made))["PATCHBAY_ENGINE_URL"] == "http://vllm.models.svc:8000"
    assert server(made)["image"] == "patchbay:0.1.0-gateway"


def test_numbers_and_lists_are_written_as_patchbay_reads_them() -> None:
    values = {
        "settings": {
            "max_body_bytes": 104857600,
            "fetch_timeout": 7.5,
            "allow_private_urls": True,
            "allowed_url_hosts": ["a.example", "b.example"],
        },
        "arena": {"size": "3Gi"},
    }
    read = load({}, given(server(objects(values))))
    assert read.max_body_bytes == 104857600
    assert read.fetch_timeout == 7.5
    assert read.allow_private_urls is True
    assert read.allowed_url_hosts == ("a.example", "b.example")
    assert read.arena_bytes == 3 * GIB


def test_an_image_is_named_by_tag_or_digest() -> None:
    digest = "sha256:" + "0" * 64
    assert server(objects())["image"] == "patchbay:0.1.0-cpu"
    assert server(objects({"image": {"tag": "nightly"}}))["image"] == "patchbay:nightly"
    assert server(objects({"image": {"tag": "x", "digest": digest}}))["image"] == f"patchbay@{digest}"


def test_drain_and_grace_move_together() -> None:
    made = objects({"drain": {"preStopSeconds": 20, "timeoutSeconds": 300}})
    assert variables(server(made))["PATCHBAY_DRAIN_TIMEOUT"] == "300"
    assert server(made)["lifecycle"]["preStop"]["sleep"]["seconds"] == 20
    assert pod(made)["terminationGracePeriodSeconds"] == 350


def test_a_startup_probe_is_as_long_as_was_asked() -> None:
    probe = server(objects({"probes": {"startup": {"timeoutSeconds": 3605}}}))["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 3610


def test_the_gpu_profile_asks_for_a_gpu_and_its_node() -> None:
    spec = pod(made := objects(profile("one-gpu")))
    assert server(made)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert made["deployment.yaml"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0
    assert variables(server(made))["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


@pytest.mark.parametrize(
    ("settings", "gpus", "placement"),
    [
        ({"tensor_parallel_size": 2}, 2, "child"),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 4, "child"),
        ({"tensor_parallel_size": 2, "encoder_gpu": "own"}, 3, "child"),
        ({"tensor_parallel_size": 2, "encoder_gpu": "own"}, 2, "sidecar"),
    ],
)
def test_there_is_a_gpu_for_each_rank(settings: dict[str, Any], gpus: int, placement: str) -> None:
    def values(count: int) -> dict[str, Any]:
        resources = {"limits": {"nvidia.com/gpu": count}}
        if placement == "child":
            return {"settings": settings, "resources": resources}
        return {"settings": settings, "engine": {"placement": placement, "resources": resources}}

    assert objects(values(gpus))
    where = "engine.resources.limits" if placement == "sidecar" else "resources.limits"
    with pytest.raises(Exception, match=f"{where} has 1 of nvidia.com/gpu, but .* make it {gpus}"):
        objects(values(1))
    if placement == "sidecar":
        with pytest.raises(Exception, match="set settings.encoder_gpu to own"):
            objects(values(2) | {"settings": {"tensor_parallel_size": 2}})


def test_ranks_get_shared_memory_to_exchange_data() -> None:
    def size(settings: dict[str, Any]) -> int:
        volumes = pod(objects({"settings": settings}))["volumes"]
        return next(int(entry["emptyDir"]["sizeLimit"]) for entry in volumes if entry["name"] == "shm")

    more = size({"tensor_parallel_size": 2, "pipeline_parallel_size": 2}) - size({})
    assert more == 4 * RANK_SHARED_BYTES
    assert size({"tensor_parallel_size": 1}) == size({})


def test_ranks_are_those_of_an_engine_in_the_pod() -> None:
    settings = {**REMOTE["settings"], "tensor_parallel_size": 2}
    with pytest.raises(Exception, match="engine.placement is remote: give them to that engine"):
        objects({**REMOTE, "settings": settings})


def test_what_kubernetes_schedules_by_is_passed_on() -> None:
    term = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}
    values = {
        "runtimeClassName": "nvidia",
        "priorityClassName": "high",
        "affinity": affinity,
        "podLabels": {"team": "vision"},
        "podAnnotations": {"note": "x"},
        "imagePullSecrets": [{"name": "registry"}],
    }
    made = objects(values)
    spec, metadata = pod(made), made["deployment.yaml"]["spec"]["template"]["metadata"]
    assert (spec["runtimeClassName"], spec["priorityClassName"]) == ("nvidia", "high")
    assert spec["affinity"] == affinity
    assert metadata["labels"]["team"] == "vision" and metadata["annotations"] == {"note": "x"}
    assert spec["imagePullSecrets"] == made["tests/ask.yaml"]["spec"]["imagePullSecrets"]
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= metadata["labels"].items()
    assert spread["matchLabelKeys"] == ["pod-template-hash"]


def test_compiled_kernels_may_outlive_the_pod() -> None:
    def volume(values: dict[str, Any]) -> Any:
        return next(entry for entry in pod(objects(values))["volumes"] if entry["name"] == "cache")

    assert volume({}) == {"name": "cache", "emptyDir": {"sizeLimit": "10Gi"}}
    kept = {"scratch": {"cacheClaim": "compiled"}}
    assert volume(kept) == {"name": "cache", "persistentVolumeClaim": {"claimName": "compiled"}}
    (home,) = [
        entry["mountPath"] for entry in server(objects(kept))["volumeMounts"] if entry["name"] == "cache"
    ]
    assert home == "/var/cache/patchbay"


def test_models_lie_in_a_claim_or_go_with_the_pod() -> None:
    def volume(values: dict[str, Any]) -> Any:
        return next(entry for entry in pod(objects(values))["volumes"] if entry["name"] == "models")

    assert volume({}) == {"name": "models", "emptyDir": {"sizeLimit": "50Gi"}}
    alone = {"modelCache": {"enabled": True}, "strategy": {"type": "Recreate"}}
    assert volume(alone)["persistentVolumeClaim"]["claimName"] == "shop-patchbay"
    existing = {"modelCache": {"enabled": True, "existingClaim": "weights"}, "replicas": 3}
    assert volume(existing)["persistentVolumeClaim"]["claimName"] == "weights"
    assert "persistentvolumeclaim.yaml" not in objects(existing)


def test_secrets_are_named() -> None:
    entries = {entry["name"]: entry for entry in server(objects(EVERYTHING))["env"]}
    keys, token = (entries[name]["valueFrom"]["secretKeyRef"] for name in ("PATCHBAY_API_KEYS", "HF_TOKEN"))
    assert keys == {"name": "keys", "key": "api-keys"}
    assert token == {"name": "hub", "key": "token"}
    assert not {"PATCHBAY_API_KEYS", "HF_TOKEN"} & set(variables(server(objects())))


def test_both_containers_mount_additional_volumes() -> None:
    volume = {"name": "ca", "configMap": {"name": "company-ca"}}
    mount = {"name": "ca", "mountPath": "/etc/ca", "readOnly": True}
    values = {**profile("external-engine"), "extraVolumes": [volume], "extraVolumeMounts": [mount]}
    spec = pod(objects(values))
    assert volume in spec["volumes"]
    (engine,) = spec["initContainers"]
    assert mount in engine["volumeMounts"] and mount in spec["containers"][0]["volumeMounts"]


DISK = "ephemeral-storage"


def test_a_node_must_have_disk_for_what_a_pod_writes() -> None:
    asked = {"resources": {"requests": {"cpu": "2"}, "limits": {"memory": "6Gi"}}}
    assert server(objects())["resources"] == {"requests": {DISK: "2Gi"}}
    assert server(objects({**asked, "scratch": {"request": "30Gi"}}))["resources"] == {
        "requests": {"cpu": "2", DISK: "30Gi"},
        "limits": {"memory": "6Gi"},
    }
    assert server(objects({**asked, "scratch": {"request": ""}}))["resources"] == asked["resources"]


@pytest.mark.parametrize("kind", ["requests", "limits"])
def test_who_says_something_about_the_disk_has_said_all(kind: str) -> None:
    """A request above the limit would be refused, and without one it is the limit."""
    asked = {kind: {DISK: "1Gi"}}
    assert server(objects({"resources": asked}))["resources"] == asked


def test_a_download_without_a_claim_cannot_fill_the_nodes_disk() -> None:
    volumes = {volume["name"]: volume for volume in pod(objects({"modelCache": {"size": "80Gi"}}))["volumes"]}
    assert volumes["models"]["emptyDir"] == {"sizeLimit": "80Gi"}
    for name in ("cache", "tmp"):
        assert volumes[name]["emptyDir"] == {"sizeLimit": "10Gi"}
