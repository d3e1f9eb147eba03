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

from helm.dashboards.panels import RECORDED, SOURCE

TAG = "patchbay"
NAMESPACE = 'namespace=~"$namespace"'


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
        .with_variable(_labels("namespace", "Namespace", "patchbay_build_info").all_value(".*"))
        .with_variable(
            _labels("service", "Release", f"patchbay_build_info{{{NAMESPACE}}}", "release").all_value(".*")
        )
        .with_variable(_labels("model", "Model", f"patchbay_build_info{{{RECORDED}}}").all_value(".*"))
        # all of them are those that are listed: the instances of the chosen models
        .with_variable(_labels("instance", "Instance", f'patchbay_build_info{{{RECORDED}, model=~"$model"}}'))
    )
    count = 0
    for heading, panels in rows:
        count += 1
        made = made.with_row(build.Row(heading).id(count))
        for panel in panels:
            count += 1
            made = made.with_panel(panel.id(count).datasource(SOURCE))
    return made


def _labels(label: str, title: str, metric: str, name: str = "") -> build.QueryVariable:
    """The values of a label, all of them by default. `.all_value(".*")` includes an absent label: compose has neither
    namespaces nor services.
    """
    return (
        build.QueryVariable(name or label)
        .label(title)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(VariableOption(text="All", value="$__all", selected=True))
    )
