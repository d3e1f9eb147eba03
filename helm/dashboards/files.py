"""Every generated file, as text, by its path. Writes nothing."""

from __future__ import annotations

from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from helm.dashboards import cache, encoder, engine, overview, slo, stages

FILES = Path(__file__).parent.parent / "patchbay" / "files"
RULES_HEAD = "# Generated from helm/dashboards/slo.py by `make docs`.\n"
DASHBOARDS = (overview, stages, encoder, cache, engine)


def made() -> dict[Path, str]:
    texts = {
        FILES / "dashboards" / f"{module.__name__.rpartition('.')[2]}.json": JSONEncoder(
            sort_keys=True, indent=1, ensure_ascii=False
        ).encode(module.dashboard().build())
        + "\n"
        for module in DASHBOARDS
    }
    rules = yaml.safe_dump({"groups": slo.groups()}, sort_keys=False, width=200)
    texts[FILES / "rules" / "slo.yaml"] = RULES_HEAD + rules
    return texts
