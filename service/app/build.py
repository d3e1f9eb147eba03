"""Builds the parts of the service, each from what was prepared, and enters each in the stack that ends it.

The order in which they start is in `start.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from service.app.prepare import Prepared
from service.arena import ArenaStore
from service.decode import DecodePool
from service.engine.client import VLLMClient
from service.engine.cpu_time import cpu_seconds
from service.engine.external import ExternalEngine
from service.engine.launcher import launch
from service.engine.liveness import Liveness
from service.engine.supervisor import EngineSupervisor, Pace
from service.ingest import USER_AGENT, Fetcher, FetchLimits, ImageLimits, Ingest, RequestLimits, URLPolicy
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.encoder.cached import CachedEncoder
    from service.encoder.local import LocalEncoder
    from service.families.towers import Tower

PROBE_SECONDS = 5.0
"""Between two tries of an encoder whose last batch failed; nobody may ask it while readiness is down."""


def make_ingest(prepared: Prepared, ends: AsyncExitStack) -> Ingest:
    settings = prepared.settings
    fetcher = Fetcher(
        URLPolicy(allow_private=settings.allow_private_urls, allowed_hosts=settings.allowed_url_hosts),
        FetchLimits(
            max_bytes=settings.max_image_bytes,
            timeout=settings.fetch_timeout,
            connect_timeout=settings.fetch_connect_timeout,
            redirects=settings.fetch_redirects,
        ),
        user_agent=settings.fetch_user_agent or USER_AGENT,
    )
    limits = ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        min_side=prepared.geometry.facts.min_side,
        max_ratio=prepared.geometry.facts.max_ratio,
    )
    together = RequestLimits(settings.max_request_image_bytes, settings.max_request_image_pixels)
    ingest = Ingest(fetcher, limits, together, tell_hosts=settings.log_image_hosts)
    ends.push_async_callback(ingest.close)
    return ingest


def make_engine(
    prepared: Prepared, ends: AsyncExitStack, client: VLLMClient, metrics: Metrics
) -> EngineSupervisor | ExternalEngine:
    """Begins to start the engine, or takes the one that somebody else starts; returns at once."""
    stall_timeout = prepared.settings.engine_stall_timeout
    if prepared.external:
        liveness = Liveness(client, prepared.served_name, stall_timeout=stall_timeout)
        ends.push_async_callback(liveness.aclose)
        engine = ExternalEngine(liveness if stall_timeout else client)
        watching = asyncio.create_task(engine.watch(), name="engine watch")
        ends.callback(watching.cancel)
        metrics.watch_engine(lambda: engine.ready, stalls=lambda: liveness.stalls)
        return engine
    on_cpu = prepared.engine.device == "cpu"
    liveness = Liveness(
        client,
        prepared.served_name,
        stall_timeout=stall_timeout,
        by_priority=prepared.engine.by_priority,
        cpu_seconds=(lambda: cpu_seconds(supervisor.session)) if on_cpu else None,
    )
    ends.push_async_callback(liveness.aclose)
    supervisor = EngineSupervisor(
        launch(prepared.engine, os.environ),
        liveness.health if stall_timeout else client.health,
        pace=Pace(start_timeout=prepared.settings.engine_start_timeout),
    )
    metrics.watch_engine(
        lambda: supervisor.ready,
        lambda: supervisor.restarts,
        stalls=lambda: liveness.stalls,
        ends=lambda: supervisor.ends,
    )
    supervisor.start()
    ends.push_async_callback(supervisor.stop)
    return supervisor


async def make_encoder(prepared: Prepared, ends: AsyncExitStack, metrics: Metrics) -> LocalEncoder:
    """Tower, decoding processes and device thread; returns when they are warm. Raises ConfigurationError."""
    # torch and transformers take seconds to import, and a gateway without encoder must not need them
    from service.encoder.local import LocalEncoder
    from service.encoder.staging import make_runner
    from service.encoder.warmup import warm_up_batches

    plan, settings = prepared.plan, prepared.settings
    tower, decode = await _load(prepared, ends, metrics)
    encoder = LocalEncoder(
        tower,
        decode,
        budget=plan.encoder_batch_patches,
        threads=plan.encoder_threads,
        runner=make_runner(tower, plan, copies=settings.encoder_copies),
        attention=settings.encoder_attention,
        on_batch=lambda items, patches, seconds, waited: metrics.batch(
            items=items, patches=patches, seconds=seconds
        ),
    )
    ends.push_async_callback(encoder.close)
    metrics.encoder(
        device=plan.device,
        kernels=encoder.choice.backend,
        body=encoder.choice.body,
        precision=encoder.choice.precision,
    )
    metrics.watch_encoder(lambda: encoder.healthy, lambda: encoder.stats().failed)
    metrics.watch_queue("encode", lambda: encoder.stats().waiting)
    metrics.watch_backlog(lambda: encoder.backlog)
    for patches in warm_up_batches(plan):
        await encoder.warm_up(patches)
    probing = asyncio.create_task(_probe_while_unhealthy(encoder), name="encoder probe")
    ends.callback(probing.cancel)
    return encoder


async def _load(prepared: Prepared, ends: AsyncExitStack, metrics: Metrics) -> tuple[Tower, DecodePool]:
    """The tower's weights and the decoding processes, side by side."""
    from service.families.loading import choose_tower, load_tower

    plan, settings = prepared.plan, prepared.settings
    tile_bytes = sum(view.tile_bytes for view in prepared.geometry.largest.views)
    decode = DecodePool(plan.decode_workers, tile_bytes, settings.decode_timeout, settings.max_image_pixels)
    ends.callback(decode.close)
    metrics.watch_decoder(lambda: decode.losses, lambda: decode.busy, lambda: plan.decode_workers)
    choice = choose_tower(
        prepared.checkpoint.path,
        device=plan.device,
        dtype=prepared.dtype,
        backend=settings.kernels,
        body=settings.encoder_body,
        precision=settings.encoder_precision,
        attention=settings.encoder_attention,
        independent_tiles=prepared.geometry.facts.independent_tiles,
    )
    loading = asyncio.to_thread(load_tower, prepared.checkpoint.path, choice)
    tower, _ = await asyncio.gather(loading, decode.start())
    return tower, decode


def make_cache(
    encoder: LocalEncoder, arena: ArenaStore, ends: AsyncExitStack, metrics: Metrics
) -> CachedEncoder:
    """The arena in front of the encoder."""
    from service.encoder.cached import CachedEncoder

    cached = CachedEncoder(encoder, arena)
    ends.push_async_callback(cached.close)
    metrics.cache_capacity(arena.stats().capacity_bytes)
    metrics.watch_cache(lambda: arena.stats().used_bytes, lambda: arena.stats().entries)
    metrics.watch_cache_evictions(lambda: arena.stats().evictions)
    return cached


def make_reduction(encoder: LocalEncoder, cached: CachedEncoder, bound: float) -> Callable[[str], bool]:
    """Whether the image of a key is to be reduced: while the encoder has more than `bound` seconds of work, unless it
    need not be encoded."""
    from service.encoder.pressure import Pressure

    pressure = Pressure(bound, lambda: encoder.backlog)
    return lambda key: pressure.high and not cached.knows(key)


async def _probe_while_unhealthy(encoder: LocalEncoder) -> None:
    while True:
        await asyncio.sleep(PROBE_SECONDS)
        if not encoder.healthy:
            await encoder.probe()
