"""The composition root: builds every part from what was prepared, starts them in order, and lets them go in reverse.

The HTTP side is up at once and tells the truth while the rest starts. Knows how the parts fit, and none of their work.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from service import __version__
from service.admission import Admission
from service.api import RequestLimits, build_api
from service.arena import ArenaStore
from service.decode import DecodePool
from service.domain import ChatRequest, SoftTokenEncoder
from service.engine.client import VLLMClient
from service.engine.external import ExternalEngine
from service.engine.launcher import launch
from service.engine.supervisor import EngineState, EngineSupervisor, Pace
from service.errors import ConfigurationError, EngineUnavailable, PatchbayError
from service.fitting import largest_plan
from service.handover import HandlePath, ImagePath, PassThrough
from service.ingest import Fetcher, FetchLimits, ImageLimits, Ingest, URLPolicy
from service.metrics import Metrics
from service.pipeline import ChatAnswer, Pipeline, Served
from service.preparation import Prepared
from service.selfcheck import self_check

log = logging.getLogger(__name__)
Say = Callable[[str], None]
ENGINE_VERSION = "0.32.0"
"""The version that the plugin is written for, pinned in pyproject.toml."""


class Patchbay:
    """The running service. Implements what `service.api.ports` asks for."""

    def __init__(self, prepared: Prepared, say: Say) -> None:
        self.prepared = prepared
        self.metrics = Metrics(CollectorRegistry())
        self.failed: PatchbayError | None = None
        """Why the start was given up; None while there is hope."""
        self.started = asyncio.Event()
        """Set once the service is ready for the first time, or never will be."""
        self._say = say
        self._reasons = {"service": "starting"}
        self._pipeline: Pipeline | None = None
        self._life: EngineSupervisor | ExternalEngine | None = None
        self._parts = AsyncExitStack()
        # half of the arena may be promised to running requests; the rest is cache
        rows = prepared.arena_spec.pages * prepared.arena_spec.page_rows // 2
        self.admission = Admission(max_inflight=prepared.settings.max_inflight, max_visual_rows=rows)
        self.metrics.watch_visual_tokens(lambda: self.admission.visual_reserved)
        self.metrics.watch_inflight("request", lambda: self.admission.inflight)
        self.metrics.watch_queue("visual_tokens", lambda: self.admission.visual_waiting)
        self.metrics.watch_draining(lambda: self.admission.draining)
        engine = f"vllm {ENGINE_VERSION}" if prepared.engine else "external"
        self.metrics.build(version=__version__, model=prepared.served_name, engine=engine)

    def api(self) -> FastAPI:
        settings = self.prepared.settings
        return build_api(
            self,
            models=self,
            readiness=self,
            permits=self.admission,
            metrics=self.metrics,
            limits=RequestLimits(
                max_body_bytes=settings.max_body_bytes,
                body_timeout=settings.body_timeout,
                max_images=settings.max_images,
                max_choices=settings.max_choices,
            ),
            api_keys=[key.get_secret_value() for key in settings.api_keys],
            keepalive_seconds=settings.keepalive,
            lifespan=self._lifespan,
        )

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> ChatAnswer:
        if self._pipeline is None:
            raise EngineUnavailable("the service is still starting", retry_after=self._retry_after())
        return await self._pipeline.chat(request, headers)

    def names(self) -> Sequence[str]:
        return [self.prepared.served_name]

    async def cards(self) -> Sequence[Mapping[str, Any]]:
        plan = self.prepared.plan
        return [
            {
                "id": self.prepared.served_name,
                "object": "model",
                "created": 0,
                "owned_by": "patchbay",
                "max_model_len": plan.max_model_len,
            }
        ]

    def reasons(self) -> Mapping[str, str]:
        if self.admission.draining:
            return {"service": "draining"}
        if isinstance(self._life, EngineSupervisor) and self._life.state is not EngineState.READY:
            return {**self._reasons, "engine": str(self._life.state)}
        return self._reasons

    @asynccontextmanager
    async def _lifespan(self, api: FastAPI) -> AsyncIterator[None]:
        start = asyncio.create_task(self._start(), name="start")
        try:
            yield
        finally:
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            await self._parts.aclose()

    async def _start(self) -> None:
        """Engine and encoder come up side by side; ready means that one image has gone all the way."""
        try:
            await self._bring_up()
            self._reasons = {}
            self._say("self-check passed: one image from end to end")
        except PatchbayError as error:
            self.failed = error
            self._reasons = {"service": error.message}
        except Exception as error:
            log.exception("the start failed")
            self.failed = ConfigurationError(f"the start failed: {type(error).__name__}: {error}")
            self._reasons = {"service": "the start failed"}
        self.started.set()

    async def _bring_up(self) -> None:
        prepared = self.prepared
        settings = prepared.settings
        client = VLLMClient(prepared.engine_url, retry_after=self._retry_after)
        self._parts.push_async_callback(client.aclose)
        arena: ArenaStore | None = None
        if settings.images == "handles":
            arena = ArenaStore(prepared.arena_path, prepared.arena_spec)
            self._parts.callback(arena.close)
        life = self._engine(client)
        images: ImagePath
        if arena is None:
            images = PassThrough(prepared.geometry)
        else:
            self._say("loading the vision encoder")
            encoder = await self._encoder(arena)
            images = HandlePath(prepared.geometry, encoder, self.admission, self.metrics)
        fetcher = Fetcher(
            URLPolicy(allow_private=settings.allow_private_urls, allowed_hosts=settings.allowed_url_hosts),
            FetchLimits(
                max_bytes=settings.max_image_bytes,
                timeout=settings.fetch_timeout,
                connect_timeout=settings.fetch_connect_timeout,
                redirects=settings.fetch_redirects,
            ),
        )
        limits = ImageLimits(
            max_bytes=settings.max_image_bytes,
            max_pixels=settings.max_image_pixels,
            min_side=prepared.geometry.min_side,
        )
        ingest = Ingest(fetcher, limits)
        self._parts.push_async_callback(ingest.close)
        self._say("waiting for the engine (about 20 s for the embedded model)")
        if isinstance(life, EngineSupervisor):
            await life.started()
        else:
            await life.wait_ready(settings.engine_start_timeout)
        self._say("the engine answers")
        pipeline = Pipeline(
            Served(
                context=prepared.plan.max_model_len,
                fingerprint=f"{prepared.checkpoint.fingerprint}/{prepared.dtype}",
                request_timeout=settings.request_timeout,
                restart_wait=settings.engine_restart_wait,
            ),
            ingest=ingest,
            geometry=prepared.geometry,
            images=images,
            engine=client,
            life=life,
            metrics=self.metrics,
        )
        await self_check(pipeline, prepared.geometry, prepared.served_name)
        self._pipeline = pipeline

    def _engine(self, client: VLLMClient) -> EngineSupervisor | ExternalEngine:
        prepared = self.prepared
        if prepared.engine is None:
            self._say(f"using the engine at {prepared.engine_url}")
            self._life = ExternalEngine(client)
            return self._life
        self._say("starting vLLM; its log lines begin with [engine]")
        supervisor = EngineSupervisor(
            launch(prepared.engine, os.environ),
            client.health,
            on_state=self._engine_is,
            pace=Pace(start_timeout=prepared.settings.engine_start_timeout),
        )
        self._life = supervisor
        self.metrics.watch_engine(lambda: supervisor.state is EngineState.READY)
        supervisor.start()
        self._parts.push_async_callback(supervisor.stop)
        return supervisor

    async def _encoder(self, arena: ArenaStore) -> SoftTokenEncoder:
        """Tower, decoding processes and device thread; returns when they are warm."""
        # torch and transformers take seconds to import, and a gateway without encoder must not need them
        from service.encoder import LocalEncoder
        from service.families.towers import load_tower

        prepared = self.prepared
        plan, settings = prepared.plan, prepared.settings
        largest = sum(3 * view.width * view.height for view in largest_plan(prepared.geometry).views)
        decode = DecodePool(plan.decode_workers, largest, settings.decode_timeout, settings.max_image_pixels)
        self._parts.callback(decode.close)
        tower, _ = await asyncio.gather(
            asyncio.to_thread(
                load_tower,
                prepared.checkpoint.path,
                device=plan.device,
                dtype=prepared.dtype,
                backend=settings.kernels,
            ),
            decode.start(),
        )
        encoder = LocalEncoder(
            tower,
            decode,
            arena,
            budget=plan.encoder_batch_patches,
            threads=plan.encoder_threads,
            on_batch=lambda items, patches, seconds, waited: self.metrics.batch(
                items=items, patches=patches, seconds=seconds
            ),
        )
        self._parts.push_async_callback(encoder.close)
        self.metrics.watch_cache_bytes(lambda: arena.stats().used_bytes)
        self.metrics.watch_queue("encode", lambda: encoder.stats().waiting)
        self._say(f"encoder ready on {plan.device}, kernels: {tower.backend}")
        await encoder.warm_up()
        return encoder

    def _engine_is(self, state: EngineState) -> None:
        if state is EngineState.STARTING and self._pipeline is not None:
            self.metrics.engine_restarted()

    def _retry_after(self) -> float:
        return self._life.unavailable().retry_after if self._life is not None else 5.0
