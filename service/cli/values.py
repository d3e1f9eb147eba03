"""A plan as values for the chart `helm/patchbay`, with which a pod makes the same plan again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.cli.measured import Replicas
from service.errors import ConfigurationError
from service.planning.machine import Machine
from service.planning.resources import GIB, MIB, Need, ResourcePlan
from service.settings import Settings

OWN = {
    *("model", "revision", "port", "admin_port", "api_keys", "api_keys_file", "drain_timeout"),
    *("arena_bytes", "arena_dir", "engine_url", "engine_port", "engine_args", "engine_start_timeout"),
}
"""Settings that do not go under the chart's `settings`: it has other values for them, or sets them itself."""
LEAST_CACHE = 50 * GIB

Values = dict[str, Any]


def helm_values(
    settings: Settings, machine: Machine, plan: ResourcePlan, need: Need, replicas: Replicas | None
) -> Values:
    """What differs from the chart's own values and, on a GPU, from its profile `one-gpu`.

    Numbers of workers and threads are given as settings, because a pod sees all of its node's cores. Keys are left out:
    they belong in a Secret. Raises ConfigurationError where the engine runs elsewhere.
    """
    if settings.engine_url is not None:
        raise ConfigurationError(
            "values are for pods with encoder and engine, but engine_url names an engine elsewhere: start from "
            "helm/patchbay/profiles/gateway.yaml"
        )
    on_gpu = plan.device == "cuda"
    values: Values = {
        "image": {"variant": "cuda" if on_gpu else "cpu"},
        "model": {"name": _model(settings), "revision": settings.revision or ""},
        "settings": _settings(settings)
        | {
            "device": plan.device,
            "decode_workers": plan.decode_workers,
            "encoder_threads": plan.encoder_threads,
        },
        # rounded up to whole MiB, so that it is no less than the plan's minimum
        "arena": {"size": f"{-(-plan.arena_bytes // MIB)}Mi"},
        "resources": _resources(machine, plan.gpus),
    }
    if settings.engine_args:
        values["engine"] = {"args": list(settings.engine_args)}
    if "engine_start_timeout" in settings.model_fields_set:
        seconds = max(1, round(settings.engine_start_timeout))
        values["engine"] = values.get("engine", {}) | {"startTimeoutSeconds": seconds}
    if "drain_timeout" in settings.model_fields_set:
        values["drain"] = {"timeoutSeconds": round(settings.drain_timeout)}
    if settings.admin_port is not None:
        values["adminPort"] = settings.admin_port
    if replicas is not None:
        values["replicas"] = replicas.count
    values["modelCache"] = _model_cache(settings, need, replicas)
    if values["modelCache"]["enabled"] and "accessModes" not in values["modelCache"]:
        # one pod's claim, which the next one can attach only when the first has gone
        values["strategy"] = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return values


def as_yaml(values: Mapping[str, Any], node: Machine) -> str:
    """A values file for Helm, with the command that uses it at the top, and the node that was described."""
    profile = "-f helm/patchbay/profiles/one-gpu.yaml " if values["image"]["variant"] == "cuda" else ""
    head = f"# helm install patchbay helm/patchbay {profile}-f THIS --set image.repository=YOUR.REGISTRY/patchbay\n"
    memory = f"{node.memory_bytes / GIB:g} GiB"
    head += f"# For nodes of {len(node.cores)} cores and {memory}, which keep a part for themselves.\n"
    if values["model"]["name"].startswith("/models/"):
        head += f"# The checkpoint's folder is expected at {values['model']['name']}, on the volume of modelCache;\n"
        head += "# modelDownload puts it there from the hub or from an archive.\n"
    return head + "".join(_lines(values, ""))


def _lines(values: Mapping[str, Any], indent: str) -> list[str]:
    """YAML whose scalars and lists are written as JSON, a subset of YAML."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}:\n", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}\n")
    return lines


def _model(settings: Settings) -> str:
    """A hub id unchanged; for a local folder, its path on the volume. The embedded model is in the image."""
    if settings.embedded:
        return ""
    folder = Path(settings.model).expanduser()
    return f"/models/{folder.resolve().name}" if folder.is_dir() else settings.model


def _settings(settings: Settings) -> Values:
    """Those that were set explicitly."""
    given = settings.model_dump(mode="json", include=settings.model_fields_set - OWN)
    return {name: value for name, value in given.items() if value is not None}


def _resources(machine: Machine, gpus: int) -> Values:
    memory = f"{machine.memory_bytes // MIB}Mi"
    gpu = {"nvidia.com/gpu": gpus} if gpus else {}
    return {
        "requests": {"cpu": str(len(machine.cores)), "memory": memory},
        "limits": {"memory": memory, **gpu},
    }


def _model_cache(settings: Settings, need: Need, replicas: Replicas | None) -> Values:
    if settings.embedded:
        return {"enabled": False}
    size = max(LEAST_CACHE, 2 * (need.vision_bytes + need.text_bytes))
    cache: Values = {"enabled": True, "size": f"{-(-size // GIB)}Gi"}
    if replicas is not None and replicas.count > 1:
        cache["accessModes"] = ["ReadWriteMany"]
    return cache
