"""Builds a dashboard from rows of panels, with the variables that select namespaces and instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from helm.dashboards.panels import SOURCE

TAG = "patchbay"


def board(uid: str, title: str, text: str, rows: Sequence[tuple[str, Sequence[Any]]]) -> build.Dashboard:
    """A dashboard of titled rows; panels fill a row's 24 columns from left to right."""
    made = (
        build.Dashboard(f"Patchbay / {title}")
        .uid(f"patchbay-{uid}")
        .description(text)
        .tags([TAG])
        .timezone("browser")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .link(
            build.DashboardLink("Patchbay")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_labels("namespace", "Namespace", "patchbay_build_info"))
        .with_variable(_labels("instance", "Instance", 'patchbay_build_info{namespace=~"$namespace"}'))
    )
    count = 0
    for heading, panels in rows:
        count += 1
        made = made.with_row(build.Row(heading).id(count))
        for panel in panels:
            count += 1
            made = made.with_panel(panel.id(count).datasource(SOURCE))
    return made


def _labels(label: str, title: str, metric: str) -> build.QueryVariable:
    """All values by default, including an absent label: compose has no namespaces."""
    return (
        build.QueryVariable(label)
        .label(title)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all", selected=True))
    )
