"""docker-compose.yml is valid, closed, and agrees with the Dockerfile, the service and what it mounts."""

from __future__ import annotations

import copy
import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from jsonschema import Draft201909Validator

from service import __version__
from service.app.prepare import prepare
from service.engine.launcher import launch
from service.settings import Settings, load
from tests.deploy.images import ROOT, TARGETS

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("patchbay", "patchbay-gpu", "gateway", "engine")
SERVING = tuple(name for name in OURS if name != "engine")
SCHEMA = Draft201909Validator(
    json.loads((ROOT / "tests" / "deploy" / "data" / "compose_spec.json").read_text())
)
PROMETHEUS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
GRAFANA = ROOT / "deploy" / "grafana" / "provisioning"


def test_it_is_a_compose_file() -> None:
    assert [error.message for error in SCHEMA.iter_errors(COMPOSE)] == []


@pytest.mark.parametrize(
    ("field", "value"), [("ports", "8000"), ("read_only", "yes"), ("imge", "x"), ("cap_drop", "ALL")]
)
def test_the_schema_would_find_it(field: str, value: str) -> None:
    broken = copy.deepcopy(COMPOSE)
    broken["services"]["patchbay"][field] = value
    assert list(SCHEMA.iter_errors(broken))


def test_the_embedded_model_is_served_without_a_profile() -> None:
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert always == {"patchbay", "prometheus", "alertmanager", "grafana"}
    assert SERVICES["patchbay-gpu"]["profiles"] == ["gpu"]
    assert SERVICES["gateway"]["profiles"] == SERVICES["engine"]["profiles"] == ["external-engine"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_closed_in(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "devices"} & service.keys()
    assert service["healthcheck"]["test"][0] == "CMD"


def test_only_this_machine_reaches_a_port() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 6
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_of_one_version(name: str) -> None:
    service = SERVICES[name]
    repository, _, tag = service["image"].partition(":")
    assert re.search(r"\d+\.\d+\.\d+", tag), f"{service['image']} names no version"
    if name not in OURS:
        assert re.fullmatch(r"v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", tag), (
            f"{name}: a tag can be moved, a digest cannot"
        )
    else:
        target = service["build"]["target"]
        assert target in TARGETS
        assert (repository, tag) == ("patchbay", f"{__version__}-{target}")


@pytest.mark.parametrize("name", SERVING)
def test_the_environment_is_made_of_settings(name: str) -> None:
    given = SERVICES[name]["environment"]
    assert (given["PATCHBAY_HOST"], given["PATCHBAY_ADMIN_PORT"]) == ("0.0.0.0", "9090")
    load({}, {key: value for key, value in given.items() if not value.startswith("${")})
    assert set(given) <= {f"PATCHBAY_{field.upper()}" for field in Settings.model_fields}


@pytest.mark.parametrize("name", OURS)
def test_a_patchbay_writes_where_it_may(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["volumes"] == ["patchbay-cache:/var/cache/patchbay"]
    assert service["healthcheck"]["test"][1:3] == ["python", "/opt/patchbay/deploy/healthcheck.py"]


@pytest.mark.parametrize("name", SERVING)
def test_running_answers_may_end(name: str) -> None:
    seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings.model_fields["drain_timeout"].default


def test_what_is_mounted_is_there() -> None:
    mounted = [volume for service in SERVICES.values() for volume in service["volumes"]]
    for source in {volume.partition(":")[0] for volume in mounted}:
        if source.startswith("."):
            assert (ROOT / source).is_dir()
        else:
            assert source in COMPOSE["volumes"]
    assert all(volume.endswith(":ro") for volume in mounted if volume.startswith("."))


def expected_engine() -> tuple[dict[str, str], dict[str, str]]:
    """Flags and environment of the engine that the gateway of this file expects."""
    settings = load({"images": "passthrough", "engine_url": "http://engine:8000", "device": "cpu"}, {})
    made = launch(prepare(settings).engine, {})
    flags: dict[str, str] = {}
    for word in made.argv[3:]:
        if word.startswith("--"):
            flags[word] = ""
        else:
            flags[list(flags)[-1]] = word
    return flags, dict(made.environment)


def test_the_engine_is_the_one_that_the_gateway_expects() -> None:
    engine, gateway = SERVICES["engine"], SERVICES["gateway"]
    flags, environment = expected_engine()
    given = {flag: value for flag, _, value in (word.partition("=") for word in engine["command"])}
    own = {
        "--model": "/opt/patchbay/demo/model",
        "--host": "0.0.0.0",
        "--kv-cache-memory-bytes": "268435456",
    }
    assert given == flags | own
    environment.pop("PATCHBAY_LARGE_STEPS", None)  # as many threads as the machine has that made it
    assert engine["environment"] == environment
    assert engine["entrypoint"][1:] == ["-m", "vllm.entrypoints.launchers.api_server.entry"]
    url = urlsplit(gateway["environment"]["PATCHBAY_ENGINE_URL"])
    assert (url.hostname, str(url.port)) == ("engine", given["--port"])


def test_nobody_but_the_gateway_reaches_the_engine() -> None:
    assert COMPOSE["networks"]["engine"] == {"internal": True}
    assert SERVICES["engine"]["networks"] == ["engine"] and "ports" not in SERVICES["engine"]
    assert [name for name in SERVICES if "engine" in SERVICES[name]["networks"]] == ["gateway", "engine"]


def test_prometheus_finds_every_patchbay_on_its_admin_port() -> None:
    paths = {job["job_name"]: job.get("metrics_path", "/metrics") for job in PROMETHEUS["scrape_configs"]}
    assert paths == {"patchbay": "/metrics", "vllm": "/metrics/engine"}
    found, same = [job["dns_sd_configs"][0] for job in PROMETHEUS["scrape_configs"]]
    assert same == found
    assert sorted(found["names"]) == sorted(SERVING)
    for name in SERVING:
        assert SERVICES[name]["environment"]["PATCHBAY_ADMIN_PORT"] == str(found["port"])
        assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"])
    assert "./deploy/prometheus:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"])
    assert PROMETHEUS["rule_files"] == [f"{mounts['./helm/patchbay/files/rules']}/*.yaml"]


def test_alerts_reach_the_alertmanager_and_a_receiver_that_it_has() -> None:
    service = SERVICES["alertmanager"]
    (manager,) = PROMETHEUS["alerting"]["alertmanagers"]
    (where,) = manager["static_configs"][0]["targets"]
    name, _, port = where.partition(":")
    assert SERVICES[name] is service and service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert set(service["networks"]) & set(SERVICES["prometheus"]["networks"])
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    (given,) = [word for word in service["command"] if word.startswith("--config.file=")]
    assert given == f"--config.file={mounts['./deploy/alertmanager']}/alertmanager.yml"
    settings = yaml.safe_load((ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text())
    assert settings["route"]["receiver"] in {receiver["name"] for receiver in settings["receivers"]}


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yml").read_text())["datasources"]
    url = urlsplit(source["url"])
    assert url.hostname in SERVICES and SERVICES["prometheus"]["ports"] == [f"127.0.0.1:9090:{url.port}"]
    (provider,) = yaml.safe_load((GRAFANA / "dashboards" / "patchbay.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    assert mounts["./helm/patchbay/files/dashboards"] == provider["options"]["path"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
