"""Writes the generated parts of the chart: `python helm/document.py` (`make docs`).

README.md lists the values with the comments above them in values.yaml; the `settings` in values.schema.json come from
Patchbay's own settings.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "patchbay"
sys.path.insert(0, str(CHART.parent.parent))

from service.settings import Settings  # noqa: E402

OWNED = {
    "model": "model.name",
    "revision": "model.revision",
    "port": "8000, always",
    "admin_port": "adminPort",
    "api_keys": "auth.existingSecret",
    "api_keys_file": "auth.keysFile.existingSecret",
    "arena_bytes": "arena.size",
    "arena_dir": "/dev/shm, always",
    "drain_timeout": "drain.timeoutSeconds",
    "engine_url": "engine.placement and engine.url",
    "engine_port": "engine.port",
    "engine_args": "engine.args",
    "engine_start_timeout": "engine.startTimeoutSeconds",
}
"""Settings that the chart sets itself, each with the value that determines it."""

HEAD = """# Patchbay on Kubernetes

```sh
helm install patchbay helm/patchbay -f helm/patchbay/profiles/one-gpu.yaml --set image.repository=YOUR.REGISTRY/patchbay
helm test patchbay --logs     # asks about a picture
```

| profile | what runs |
|---|---|
"""
LAYOUT = """
A pod with an encoder also contains the engine, because soft tokens reach vLLM through the pod's own `/dev/shm`. An
engine elsewhere gets the images themselves.

Secrets are referenced by name and never stored in values: `auth.existingSecret`, `auth.keysFile.existingSecret`,
`huggingFace.existingSecret`. The pods run as user 10001 under Pod Security's *restricted* level, with a read-only root
file system and no service-account token; `podSecurityContext` and `securityContext` change that.

## Examples

Its last comment line is the command that installs it, as a rule on top of a profile.

| file | for |
|---|---|
"""
VALUES = """
## The model claim

With `modelCache` alone, each pod downloads what its claim lacks. `modelDownload` fills the claim in a Job instead, once
for all replicas: from the hub, or from an archive at a URL, with checksums. The pods wait for it in an init container.
A checkpoint gets its name only when it is whole and its sums are right, so an interrupted download is never served. For
another checkpoint, name another folder in `model.name`; the old one stays in the claim for a rollback. Add
`--wait-for-jobs --timeout 4h` if `helm` is to wait too.

## Behind an ingress

Controllers have limits of their own, often 1 MiB for a body and 60 seconds for an answer. `ingress.controller` sets the
annotations of four of them. Others are told elsewhere: Traefik has no limit on bodies, and its timeouts belong to its
entry points (`respondingTimeouts`); GKE's load balancer takes `timeoutSec` from a BackendConfig, which `extraObjects`
can install and `service.annotations` can name (`cloud.google.com/backend-config`); a Gateway takes `httpRoute.timeout`.

## Several replicas behind a Gateway

Each replica has its own arena and prefix cache, so that with a Service, which chooses at random, a conversation finds
its images again in one of N turns. The Gateway API's InferencePool asks an endpoint picker (EPP) for the best pod:
[`examples/inference-pool.yaml`](examples/inference-pool.yaml) makes the pool and a route to it
(`httpRoute.inferencePool`). The picker has an installation of its own, for instance the chart `inferencepool` of the
Gateway API Inference Extension, or llm-d's router. It has to be told where vLLM's metrics are, which Patchbay passes on
under their own names:

```
--pool-name=patchbay --pool-namespace=NAMESPACE
--model-server-metrics-port=9090 --model-server-metrics-path=/metrics/engine
```

The port is `adminPort`; newer pickers call these two flags deprecated, but have no other place for a port. Where they
read metrics by a plugin (`metrics-data-source`), its parameter `path` is `/metrics/engine` too. Of the scorers, the one
of prefixes matters most: it compares the beginnings of requests, so that the next turn of a conversation goes where its
images are. `networkPolicy.monitoring` must let the picker in. None of this has run on a cluster.

## Autoscaling

KEDA asks Prometheus, without credentials unless `autoscaling.authentication` names a TriggerAuthentication and
`autoscaling.triggerMetadata.authModes` says how it is used. Thanos on OpenShift, with one made by `extraObjects`:

```yaml
autoscaling:
  prometheusAddress: https://thanos-querier.openshift-monitoring.svc:9092
  authentication:
    name: patchbay-prometheus
  triggerMetadata:
    authModes: bearer
    namespace: vision
extraObjects:
  - apiVersion: keda.sh/v1alpha1
    kind: TriggerAuthentication
    metadata:
      name: patchbay-prometheus
    spec:
      boundServiceAccountToken:
        - parameter: bearerToken
          serviceAccountName: prometheus-reader
```

While Prometheus does not answer, the number of pods stays as it is, or is raised to `autoscaling.fallback.replicas`.
Pods are added two at a time (`autoscaling.scaleUp`), since they take no load until their weights are there.

## Values

Keys that are not listed are refused. Patchbay's own settings go under `settings`, by their names in
[docs/settings.md](../../docs/settings.md), except for those that the chart sets itself: """
TABLE = """

| value | default | meaning |
|---|---|---|
"""
COMMENT = re.compile(r"^ *# (-- )?(.*)$")
KEY = re.compile(r"^( *)([A-Za-z]\w*):")


def readme() -> str:
    profiles = "".join(
        f"| `profiles/{file.name}` | {' '.join(first_comment(file))} |\n"
        for file in sorted((CHART / "profiles").iterdir())
    )
    examples = "".join(
        f"| [`{file.name}`](examples/{file.name}) | {' '.join(first_comment(file)[:-1])} |\n"
        for file in sorted((CHART / "examples").iterdir())
    )
    names = ", ".join(f"`{name}` ({place})" for name, place in OWNED.items())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = (
        f"| `{'.'.join(path)}` | {default(at(values, path))} | {text} |\n"
        for path, text in documented((CHART / "values.yaml").read_text())
    )
    return HEAD + profiles + LAYOUT + examples + VALUES + names + "." + TABLE + "".join(rows)


def schema() -> str:
    """values.schema.json with `settings` as Patchbay declares them."""
    whole = json.loads((CHART / "values.schema.json").read_text())
    whole["$defs"]["settings"] = settings_schema()
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def settings_schema() -> dict[str, Any]:
    declared = Settings.model_json_schema()["properties"]
    properties = {name: one_type(entry) for name, entry in declared.items() if name not in OWNED}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def one_type(declared: dict[str, Any]) -> dict[str, Any]:
    """Without default, title and null: to Helm, null means that a key is absent."""
    merged = {**declared, **declared.get("anyOf", [{}])[0]}
    return {key: value for key, value in merged.items() if key not in ("default", "title", "anyOf")}


def documented(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, comment) of each key of a YAML text whose comment begins with `# --`."""
    path: list[str] = []
    comment: list[str] | None = None
    for line in text.splitlines():
        if match := COMMENT.match(line):
            if match[1]:
                comment = [match[2]]
            elif comment is not None:
                comment.append(match[2])
        elif match := KEY.match(line):
            path[len(match[1]) // 2 :] = [match[2]]
            if comment:
                yield tuple(path), " ".join(comment)
            comment = None
        else:
            comment = None


def first_comment(file: Path) -> list[str]:
    """The comment lines with which a file begins."""
    lines = file.read_text().splitlines()
    end = next(index for index, line in enumerate(lines) if not line.startswith("# "))
    return [line.removeprefix("# ") for line in lines[:end]]


def at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def default(value: Any) -> str:
    return "" if value in ("", [], {}) else f"`{json.dumps(value)}`".replace('`"', "`").replace('"`', "`")


def main() -> None:
    (CHART / "README.md").write_text(readme())
    (CHART / "values.schema.json").write_text(schema())


if __name__ == "__main__":
    main()
