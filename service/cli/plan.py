"""`patchbay plan`: how much of a mix of images a described machine could serve, and how many machines a rate takes.

Describes the machine, makes the plan that `patchbay serve` would make on it, and prints it. Reads the configuration and
the sizes of the weights; downloads no weights, starts nothing, and needs no GPU.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from service.app.prepare import dtype_of, need_of, overrides_of, row_width, served_name_of
from service.arena import ArenaSpec
from service.cli.measured import Replicas, read_measured
from service.cli.plan_options import check_options, imagined, left_for_a_pod, max_sequences
from service.cli.plan_report import as_json, as_text
from service.cli.values import as_yaml, helm_values
from service.domain import Detail
from service.errors import ConfigurationError
from service.families import Geometry, load_checkpoint, load_geometry
from service.planning.compute import compute_of
from service.planning.gpus import data_sheet
from service.planning.parallel import check_division
from service.planning.plan import make_plan
from service.planning.sizing import Kind, Peaks, Workload, size
from service.settings import Settings, load

KIND = re.compile(r"(\d+)x(\d+)(?::(\d+(?:\.\d+)?))?(?::(\w+))?")


def plan(options: argparse.Namespace, given: Mapping[str, Any]) -> int:
    """Prints the sizing; exit status 0.

    Raises ConfigurationError for options out of range and for a model that cannot be served there.
    Raises ContextLengthExceeded when a request of the mix does not fit the model's context.
    """
    check_options(options)
    settings = load(given)
    work = _workload(options, settings)
    replicas = None
    if options.measured:
        replicas = Replicas.of(options.rate, options.headroom, read_measured(options.measured))
    sheet = data_sheet(options.gpu) if options.gpu else None
    checkpoint = load_checkpoint(settings.model, settings.revision, weights=False)
    geometry = load_geometry(checkpoint.path, settings.max_image_tokens)
    _check_kinds(work.kinds, geometry)
    dtype = dtype_of(settings, checkpoint, geometry)
    need = need_of(checkpoint, geometry, dtype)
    images: Literal["handles", "passthrough"] = (
        "passthrough" if settings.images == "passthrough" else "handles"
    )
    overrides = overrides_of(settings, images)
    check_division(overrides.division, checkpoint.text_config)
    described = imagined(sheet, options.cores, options.memory, options.shared_memory, overrides.gpus)
    machine = left_for_a_pod(described) if options.values else described
    planned = make_plan(machine, need, overrides)
    arena = ArenaSpec.for_budget(
        planned.arena_bytes, row_width(checkpoint, geometry), dtype, geometry.max_tokens
    )
    compute = compute_of(checkpoint, need)
    peaks = None
    if sheet and compute and planned.device == "cuda":
        peaks = Peaks(sheet.flops, sheet.bandwidth, compute)
    sizing = size(
        machine,
        need,
        planned,
        geometry,
        arena if images == "handles" else None,
        work,
        max_inflight=settings.max_inflight,
        max_sequences=max_sequences(settings.engine_args),
        peaks=peaks,
    )
    if options.values:
        print(as_yaml(helm_values(settings, machine, planned, need, replicas), described), end="")
    elif options.json:
        print(json.dumps(as_json(planned, need, sizing, replicas), indent=2))
    else:
        print("\n".join(as_text(served_name_of(settings, checkpoint), planned, need, sizing, replicas)))
    return 0


def _workload(options: argparse.Namespace, settings: Settings) -> Workload:
    work = Workload(
        parse_kinds(options.image), options.images_per_request, options.text_tokens, options.answer_tokens
    )
    if work.images > settings.max_images:
        raise ConfigurationError(
            f"images-per-request: got {work.images}, but max_images allows {settings.max_images}: raise max_images"
        )
    return work


def _check_kinds(kinds: Sequence[Kind], geometry: Geometry) -> None:
    facts = geometry.facts
    for kind in kinds:
        long, short = max(kind.width, kind.height), min(kind.width, kind.height)
        if short < facts.min_side or long > facts.max_ratio * short:
            raise ConfigurationError(
                f"image: got {kind.width}x{kind.height}; this model takes no side shorter than {facts.min_side} px "
                f"or longer than {facts.max_ratio:g} times the other"
            )


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
            raise ConfigurationError(f"image: got {text!r}; width, height and weight must be more than 0")
        kinds.append(kind)
    return tuple(kinds)
