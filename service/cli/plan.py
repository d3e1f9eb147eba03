"""`patchbay plan`: what a machine that is not at hand would hold of a checkpoint and a mix of images."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from service.arena import ArenaSpec
from service.checkpoint import read_checkpoint
from service.domain import Detail
from service.errors import ConfigurationError
from service.families import load_geometry
from service.gpus import DataSheet, data_sheet
from service.machine import Machine
from service.plan import GIB, MIB, Need, ResourcePlan, make_plan
from service.preparation import dtype_of, need_of, wish_of
from service.settings import load
from service.sizing import Kind, Sizing, Workload, size

KIND = re.compile(r"(\d+)x(\d+)(?::(\d+(?:\.\d+)?))?(?::(\w+))?")
LEAST = {"cores": 1, "images_per_request": 1, "text_tokens": 0, "answer_tokens": 1}


def plan(options: argparse.Namespace, given: Mapping[str, Any]) -> int:
    """Prints the sizing; exit status 0.

    Raises ConfigurationError for options out of range and for what cannot be served there.
    Raises ContextLengthExceeded when a request of the mix does not fit the model's context.
    """
    _check(options)
    settings = load(given)
    work = Workload(
        parse_kinds(options.image), options.images_per_request, options.text_tokens, options.answer_tokens
    )
    if work.images > settings.max_images:
        raise ConfigurationError(
            f"images-per-request: got {work.images}, and max_images allows {settings.max_images}: raise max_images"
        )
    sheet = data_sheet(options.gpu) if options.gpu else None
    machine = imagined(sheet, options.cores, options.memory, options.shared_memory)
    checkpoint = read_checkpoint(settings.model, settings.revision, weights=False)
    geometry = load_geometry(checkpoint.path)
    dtype = dtype_of(settings, checkpoint)
    need = need_of(checkpoint, geometry, dtype)
    planned = make_plan(machine, need, wish_of(settings))
    arena = ArenaSpec.for_budget(planned.arena_bytes, checkpoint.hidden_size, dtype, geometry.max_rows)
    peaks = (sheet.flops, sheet.bandwidth) if sheet and planned.device == "cuda" else None
    sizing = size(
        machine, need, planned, geometry, arena, work, max_inflight=settings.max_inflight, peaks=peaks
    )
    if options.json:
        print(json.dumps(as_json(planned, need, sizing), indent=2))
    else:
        print("\n".join(as_text(checkpoint.name, planned, need, sizing)))
    return 0


def parse_kinds(texts: Sequence[str]) -> tuple[Kind, ...]:
    """`1920x1080:3:low` → width, height, weight, detail. Raises ConfigurationError naming the one that is wrong."""
    kinds = []
    for text in texts:
        found = KIND.fullmatch(text)
        details = tuple(detail.value for detail in Detail)
        if found is None or (found[4] or "auto") not in details:
            raise ConfigurationError(
                f"image: got {text!r}; allowed is WIDTHxHEIGHT[:WEIGHT[:DETAIL]] with detail {', '.join(details)}, "
                "as in 1920x1080 or 640x480:2:low"
            )
        kind = Kind(int(found[1]), int(found[2]), Detail(found[4] or "auto"), float(found[3] or 1))
        if not (kind.width and kind.height and kind.weight):
            raise ConfigurationError(f"image: got {text!r}; width, height and weight are more than 0")
        kinds.append(kind)
    return tuple(kinds)


def imagined(sheet: DataSheet | None, cores: int, memory: float, shared: float | None) -> Machine:
    """The machine that was described; memory in GiB."""
    return Machine(
        cores=tuple(range(cores)),
        memory_bytes=int(memory * GIB),
        shared_memory_bytes=int((memory / 2 if shared is None else shared) * GIB),
        gpu=sheet.gpu if sheet else None,
    )


def _check(options: argparse.Namespace) -> None:
    for name, least in LEAST.items():
        if (value := getattr(options, name)) < least:
            raise ConfigurationError(f"{name.replace('_', '-')}: got {value}, allowed is {least} or more")
    for name in ("memory", "shared_memory"):
        if (value := getattr(options, name)) is not None and not value > 0:
            raise ConfigurationError(f"{name.replace('_', '-')}: got {value:g}, allowed is more than 0 GiB")


def as_json(planned: ResourcePlan, need: Need, sizing: Sizing) -> dict[str, Any]:
    """Bytes, tokens, seconds; names as in the code."""
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
                "soft_tokens": cost.plan.rows,
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
    }


def as_text(name: str, planned: ResourcePlan, need: Need, sizing: Sizing) -> list[str]:
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
        f"{cost.plan.tiles:>5}  {cost.plan.patches:>7,}  {cost.plan.rows:>11,}"
        for cost in sizing.costs
    ]
    lines += [
        f"  mean request: {mean.prompt:,.0f} tokens of prompt, {mean.rows:,.0f} of them soft; "
        f"{mean.context:,.0f} with its answer",
        "",
        "requests at once",
        f"  KV cache of {sizing.kv_tokens:,} tokens",
    ]
    bound, *others = sizing.limits
    lines.append(f"  {bound.requests:>8,}  {bound.name:<24}  <- the bound: {bound.knob}")
    lines += [f"  {limit.requests:>8,}  {limit.name}" for limit in others]
    return lines + _ceiling(sizing)


def _ceiling(sizing: Sizing) -> list[str]:
    if sizing.at_once == 0:
        return ["", "Not one request of this mix fits: raise the bound above, or send smaller images."]
    if sizing.ceiling is None:
        return ["", "No data sheet for a CPU: measure with a load test."]
    ceiling = sizing.ceiling
    total = ceiling.encode + ceiling.prefill + ceiling.decode
    shares = ", ".join(
        f"{name} {part / total:.0%}"
        for name, part in (
            ("encoding", ceiling.encode),
            ("prompt", ceiling.prefill),
            ("answer", ceiling.decode),
        )
    )
    return [
        "",
        "ceiling by the data sheet, never reached",
        f"  {ceiling.requests_per_second:,.1f} requests/s ({shares})",
        "Nothing is measured here: run a load test on the machine itself.",
    ]


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"
