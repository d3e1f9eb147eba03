"""The output of `patchbay plan`, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from service.cli.measured import Replicas
from service.planning.resources import GIB, MIB, Need, ResourcePlan
from service.planning.sizing import Sizing


def as_json(
    planned: ResourcePlan, need: Need, sizing: Sizing, replicas: Replicas | None = None
) -> dict[str, Any]:
    """Bytes, tokens and seconds, under the names that they have in the code."""
    resources = {name: value for name, value in asdict(planned).items() if name != "lines"}
    ceiling = sizing.ceiling
    return {
        "plan": resources,
        "weights": {"vision_bytes": need.vision_bytes, "text_bytes": need.text_bytes},
        "images": [
            {
                "width": cost.kind.width,
                "height": cost.kind.height,
                "weight": cost.kind.weight,
                "detail": cost.plan.detail,
                "tiles": cost.plan.tiles,
                "patches": cost.plan.patches,
                "soft_tokens": cost.plan.tokens,
                "prompt_tokens": cost.positions,
            }
            for cost in sizing.costs
        ],
        "request": asdict(sizing.mean),
        "kv_tokens": sizing.kv_tokens,
        "requests_at_once": sizing.at_once,
        "limits": [asdict(limit) for limit in sizing.limits],
        "ceiling": asdict(ceiling) | {"requests_per_second": ceiling.requests_per_second}
        if ceiling
        else None,
        "replicas": asdict(replicas) if replicas else None,
    }


def as_text(
    name: str, planned: ResourcePlan, need: Need, sizing: Sizing, replicas: Replicas | None = None
) -> list[str]:
    """Sections as `patchbay check` prints them."""
    mean = sizing.mean
    lines = [
        "",
        "model",
        f"  name        {name}",
        f"  weights     {_size(need.vision_bytes)} vision, {_size(need.text_bytes)} language, as {need.dtype}",
        "",
        "plan",
        *(f"  {line}" for line in planned.lines),
        "",
        "images",
        f"  {'pixels':>12}  {'weight':>6}  {'detail':>6}  {'tiles':>5}  {'patches':>7}  {'soft tokens':>11}",
    ]
    lines += [
        f"  {f'{cost.kind.width}x{cost.kind.height}':>12}  {cost.kind.weight:>6g}  {cost.plan.detail:>6}  "
        f"{cost.plan.tiles:>5}  {cost.plan.patches:>7,}  {cost.plan.tokens:>11,}"
        for cost in sizing.costs
    ]
    lines += [
        f"  mean request: {mean.prompt:,.0f} prompt tokens, {mean.rows:,.0f} of them soft tokens; "
        f"{mean.context:,.0f} including the answer",
        "",
        "concurrent requests",
        f"  KV cache of {sizing.kv_tokens:,} tokens",
    ]
    bound, *others = sizing.limits
    lines.append(f"  {bound.requests:>8,}  {bound.name:<24}  <- the limit: {bound.knob}")
    lines += [f"  {limit.requests:>8,}  {limit.name}" for limit in others]
    return lines + _ceiling(planned, sizing) + _replicas(sizing, replicas)


def _ceiling(planned: ResourcePlan, sizing: Sizing) -> list[str]:
    if sizing.at_once == 0:
        return ["", "Not one request of this mix fits: raise the limit above, or send smaller images."]
    if sizing.ceiling is None:
        why = (
            "a CPU"
            if planned.device == "cpu"
            else "a mixture of experts, where each token uses only some of the weights"
        )
        return ["", f"No ceiling can be calculated for {why}: measure it with a load test."]
    ceiling = sizing.ceiling
    shares = ", ".join(
        f"{name} {part / ceiling.arithmetic:.0%}"
        for name, part in (
            ("encoding", ceiling.encode),
            ("prompt", ceiling.prefill),
            ("answer", ceiling.decode),
        )
    )
    return [
        "",
        "ceiling from the data sheet, assuming that no image or text repeats",
        f"  {ceiling.requests_per_second:,.1f} requests/s; each takes, at peak rates,",
        f"  {_time(ceiling.arithmetic)} of arithmetic ({shares})",
        f"  {_time(ceiling.traffic)} of memory traffic, which can overlap with it",
        "This is calculated, not measured: run a load test on the machine itself.",
    ]


def _replicas(sizing: Sizing, replicas: Replicas | None) -> list[str]:
    if replicas is None:
        return []
    measured = replicas.measured
    sustains = f"{'at least ' if measured.at_least else ''}{measured.rate:g}"
    lines = [
        "",
        "replicas",
        f"  {replicas.count:>8,}  for {replicas.rate:g} requests/s and {replicas.headroom:.0%} on top, where one "
        f"sustains {sustains} ({measured.source})",
        f"  {replicas.count + 1:>8,}  so that one can be down: an upgrade, a lost node",
    ]
    ceiling = sizing.ceiling
    if ceiling is not None and replicas.measured.rate > ceiling.requests_per_second:
        lines.append(
            "  The measured rate is above the ceiling: another machine or mix was measured, or images repeated."
        )
    return lines


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:,.1f} µs"


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"
