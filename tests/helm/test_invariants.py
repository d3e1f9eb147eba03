"""What holds whatever the values are, for each profile; and that a damaged chart is found out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helm import invariants
from tests.helm.charts import CHART, EVERYTHING, PROFILES, REMOTE, objects, profile
from tests.helm.invariants import INVARIANTS, Made

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    **{name: profile(name) for name in PROFILES},
    "everything": EVERYTHING,
    "remote": REMOTE,
}


@pytest.fixture(scope="module")
def made() -> dict[str, Made]:
    return {name: objects(values) for name, values in VALUES.items()}


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", VALUES)
def test_it_holds(made: dict[str, Made], name: str, invariant: Any) -> None:
    invariant(made[name])


DAMAGE = [
    ("../values.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "every_container_is_restricted"),
    ("../values.yaml", "drop: [ALL]", "drop: [NET_RAW]", "every_container_is_restricted"),
    ("../values.yaml", "readOnlyRootFilesystem: true", "", "every_container_is_restricted"),
    (
        "deployment.yaml",
        "enableServiceLinks: false",
        "enableServiceLinks: true",
        "no_token_and_no_service_variables",
    ),
    (
        "serviceaccount.yaml",
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        "no_token_and_no_service_variables",
    ),
    ("_helpers.tpl", "mountPath: /tmp", "mountPath: /scratch", "what_is_written_has_a_place"),
    ("_helpers.tpl", "mul 2 $arena", "mul 1 $arena", "the_arena_fits_twice"),
    ("_helpers.tpl", "PATCHBAY_ARENA_DIR", "PATCHBAY_ARENA_FOLDER", "every_variable_is_a_setting"),
    ("deployment.yaml", "path: /readyz", "path: /livez", "probes_ask_the_right_questions"),
    ("deployment.yaml", "startupProbe:", "notProbed:", "probes_ask_the_right_questions"),
    ("_helpers.tpl", "5 15 10", "5", "the_grace_outlasts_the_drain"),
    ("deployment.yaml", "preStop:", "postStart:", "the_grace_outlasts_the_drain"),
    ("service.yaml", "patchbay.selectorLabels", "patchbay.testLabels", "selectors_find_the_server_alone"),
    (
        "networkpolicy-default-deny.yaml",
        "[Ingress, Egress]",
        "[Ingress]",
        "everything_is_denied_first",
    ),
    ("networkpolicy-default-deny.yaml", ".enabled", ".clients", "everything_is_denied_first"),
    (
        "networkpolicy-egress.yaml",
        "- 169.254.0.0/16",
        "- 169.254.0.0/17",
        "egress_leads_to_names_and_public_addresses",
    ),
]


@pytest.mark.parametrize(("template", "old", "new", "invariant"), DAMAGE)
def test_damage_is_found_out(template: str, old: str, new: str, invariant: str, tmp_path: Path) -> None:
    chart = tmp_path / "patchbay"
    shutil.copytree(CHART, chart)
    file = chart / "templates" / template
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises((AssertionError, KeyError)):
        getattr(invariants, invariant)(objects({}, chart))
