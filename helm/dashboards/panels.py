"""The few kinds of panels that the dashboards consist of.

Queries are abbreviated: `@` stands for the labels selected by the dashboard's variables, and `[_]` for the range over
which Grafana computes rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

GREEN, YELLOW, RED = "green", "yellow", "red"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
CHOSEN = 'namespace=~"$namespace", service=~"$release", instance=~"$instance"'
RECORDED = 'namespace=~"$namespace", service=~"$release"'
"""The selection that remains in recorded series."""

Steps = Sequence[tuple[float, str]]
"""(from this value on, this colour); green below the first."""


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = ""


def written(expr: str) -> str:
    return expr.replace("@", CHOSEN).replace("[_]", "[$__rate_interval]")


def quantiles(metric: str, *shares: float, labels: str = "@") -> list[Query]:
    """Quantiles of a histogram over all selected instances."""
    return [
        Query(
            f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{{labels}}}[_])))",
            f"p{share * 100:g}",
        )
        for share in shares
    ]


def number(
    title: str, text: str, query: Query, unit: str, *, steps: Steps = (), decimals: int | None = None
) -> Any:
    """The current value, with a sparkline of the last hour; six fill a row."""
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .span(4)
        .height(4)
        .graph_mode(options.BigValueGraphMode.AREA)
        .color_mode(options.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .with_target(_target(query, "A"))
    )
    return panel if decimals is None else panel.decimals(decimals)


def name(title: str, text: str, query: Query) -> Any:
    """The labels of a metric that is always 1, as `query.legend` writes them."""
    return (
        number(title, text, query, "none")
        .text_mode(options.BigValueTextMode.NAME)
        .graph_mode(options.BigValueGraphMode.NONE)
    )


def chart(
    title: str,
    text: str,
    queries: Sequence[Query],
    unit: str,
    *,
    width: int = 8,
    stack: bool = False,
    steps: Steps = (),
    top: float | None = None,
) -> Any:
    """Lines over time, starting at zero; `stack` stacks them."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .span(width)
        .height(8)
        .min(0)
        .line_width(1)
        .fill_opacity(60 if stack else 10)
        .show_points(options.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .placement(options.LegendPlacement.BOTTOM)
            .display_mode(options.LegendDisplayMode.LIST)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(options.TooltipDisplayMode.MULTI)
            .sort(options.SortOrder.NONE if stack else options.SortOrder.DESCENDING)
        )
        .thresholds(_thresholds(steps))
    )
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if steps:
        panel = panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
        )
    if top is not None:
        panel = panel.max(top)
    return _with_targets(panel, queries)


def bars(title: str, text: str, queries: Sequence[Query], unit: str, *, width: int, steps: Steps) -> Any:
    """One bar per query with its current value, in the given order."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .span(width)
        .height(10)
        .min(0)
        .no_value("0")
        .orientation(options.VizOrientation.HORIZONTAL)
        .display_mode(options.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
    )
    return _with_targets(panel, queries)


def spread(title: str, text: str, metric: str, unit: str, *, width: int = 8) -> Any:
    """A histogram's distribution over its buckets, over time."""
    target = _target(Query(f"sum by (le) (increase({metric}_bucket{{@}}[_]))", "{{le}}"), "A").format(
        PromQueryFormat.HEATMAP
    )
    return (
        heatmap.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .span(width)
        .height(8)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .steps(64)
            .exponent(0.5)
        )
        .cell_gap(1)
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(options.AxisPlacement.LEFT))
        .mode(options.TooltipDisplayMode.SINGLE)
        .show_legend()
        .with_target(target)
    )


def _thresholds(steps: Steps) -> build.ThresholdsConfig:
    made = [
        Threshold(value=None, color=GREEN),
        *(Threshold(value=value, color=colour) for value, colour in steps),
    ]
    return build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _target(query: Query, ref: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(written(query.expr))
        .legend_format(query.legend)
        .ref_id(ref)
        .datasource(SOURCE)
    )


def _with_targets(panel: Any, queries: Sequence[Query]) -> Any:
    for index, query in enumerate(queries):
        panel = panel.with_target(_target(query, chr(ord("A") + index)))
    return panel
