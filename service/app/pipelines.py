"""The pipelines of a running service: one whose requests are answered, and those whose prompts are only tokenized."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from service.app.build import make_ingest
from service.app.prepare import Prepared
from service.domain import Detail, Engine, EngineLife
from service.pipeline.chat import Pipeline
from service.pipeline.handover import ImageHandover, Measures
from service.pipeline.images import ImageReader, Images, ImageSizer
from service.pipeline.suspects import Suspects
from service.pipeline.tokens import Tokens
from service.settings import EIGHT_BITS
from service.telemetry.metrics import Metrics


def make_pipelines(
    prepared: Prepared,
    ends: AsyncExitStack,
    metrics: Metrics,
    engine: Engine,
    life: EngineLife,
    handover: ImageHandover,
    reduces: Callable[[str], bool] | None = None,
) -> tuple[Pipeline, Tokens]:
    """`reduces`: whether the image of a key is to get fewer tiles if its client leaves that open; None: never."""
    settings, geometry, context = prepared.settings, prepared.geometry, prepared.plan.max_model_len
    ingest = make_ingest(prepared, ends)
    suspects = Suspects(settings.block_seconds, on_blocked=metrics.blocked)

    def pipeline(images: Images, handover: ImageHandover) -> Pipeline:
        return Pipeline(
            images=images,
            handover=handover,
            placeholders=geometry.facts.placeholders,
            engine=engine,
            life=life,
            suspects=suspects,
            metrics=metrics,
            by_priority=prepared.engine.by_priority and not prepared.external,
            request_timeout=settings.request_timeout,
            restart_wait=settings.engine_restart_wait,
        )

    reader = ImageReader(ingest, geometry, context, fingerprint_of(prepared), reduces)
    answering = pipeline(reader, handover)
    if prepared.images == "passthrough":
        # only the engine can say what it makes of images that it encodes itself
        same = pipeline(reader, handover)
        return answering, Tokens(counting=same, tokenizing=same)
    sizer, side = ImageSizer(ingest, geometry, context), geometry.facts.min_side
    smallest = geometry.plan(side, side, Detail.LOW).layout
    counting = pipeline(sizer, Measures(stand_in=smallest))
    return answering, Tokens(counting=counting, tokenizing=pipeline(sizer, Measures()))


def fingerprint_of(prepared: Prepared) -> str:
    """What soft tokens depend on beside the image, for its key."""
    fingerprint = f"{prepared.checkpoint.fingerprint}/{prepared.dtype}"
    precision = prepared.settings.encoder_precision
    return f"{fingerprint}/{precision}" if precision in EIGHT_BITS else fingerprint
