"""The composition root: builds every part from what was prepared, starts them in order, and lets them go in reverse.

The HTTP side is up at once and tells the truth while the rest starts. Knows how the parts fit, and none of their work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from service import __version__
from service.api import Backend, RequestLimits, build_admin, build_api
from service.app.build import make_cache, make_encoder, make_engine, make_reader
from service.app.prepare import Prepared
from service.app.selfcheck import self_check
from service.arena import ArenaStore
from service.domain import ChatRequest
from service.engine.client import VLLMClient
from service.engine.external import ExternalEngine
from service.engine.scrape import scrape
from service.engine.supervisor import EngineState, EngineSupervisor
from service.errors import ConfigurationError, EngineUnavailable, PatchbayError
from service.pipeline.admission import Admission
from service.pipeline.chat import ChatAnswer, Pipeline
from service.pipeline.handover import Handles, ImageHandover, PassThrough
from service.playground import playground_routes
from service.settings import EMBEDDED_MODEL
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import make_tracing

if TYPE_CHECKING:
    from service.encoder.local import LocalEncoder

log = logging.getLogger(__name__)
Say = Callable[[str], None]
SCENES = Path(EMBEDDED_MODEL).parent / "scenes"
"""Pictures that the embedded model understands."""
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
        self._client: VLLMClient | None = None
        self._tracing = make_tracing(prepared.settings.otlp_endpoint, model=prepared.served_name)
        self._life: EngineSupervisor | ExternalEngine | None = None
        self._encoder: LocalEncoder | None = None
        self._ends = AsyncExitStack()
        self.admission = Admission(
            max_inflight=prepared.settings.max_inflight, max_visual_rows=prepared.arena_spec.promised_rows
        )
        self.metrics.limits(
            requests=prepared.settings.max_inflight, visual_tokens=prepared.arena_spec.promised_rows
        )
        self.metrics.watch_visual_tokens(lambda: self.admission.visual_reserved)
        self.metrics.watch_inflight("request", lambda: self.admission.inflight)
        self.metrics.watch_queue("visual_tokens", lambda: self.admission.visual_waiting)
        self.metrics.watch_draining(lambda: self.admission.draining)
        self.metrics.watch_starting(lambda: not self.started.is_set())
        engine = f"vllm {ENGINE_VERSION}" if not prepared.external else "external"
        self.metrics.build(version=__version__, model=prepared.served_name, engine=engine)

    def api(self) -> FastAPI:
        settings = self.prepared.settings
        return build_api(
            self._backend(),
            metrics=self.metrics,
            limits=RequestLimits(
                max_body_bytes=settings.max_body_bytes,
                body_timeout=settings.body_timeout,
                max_images=settings.max_images,
                max_choices=settings.max_choices,
            ),
            api_keys=[key.get_secret_value() for key in settings.api_keys],
            keepalive_seconds=settings.keepalive,
            show_metrics=settings.admin_port is None,
            tracing=self._tracing,
            playground=self._playground(),
            lifespan=self._lifespan,
        )

    def admin_api(self) -> FastAPI:
        """For `admin_port`; it lives as long as `api` does."""
        return build_admin(self._backend(), metrics=self.metrics)

    def _backend(self) -> Backend:
        return Backend(chat=self, models=self, readiness=self, permits=self.admission, engine_metrics=self)

    def _playground(self) -> APIRouter | None:
        settings = self.prepared.settings
        if not settings.shows_playground:
            return None
        return playground_routes(SCENES if settings.embedded else None)

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> ChatAnswer:
        if self._pipeline is None:
            raise EngineUnavailable("the service is still starting", retry_after=self._retry_after())
        return await self._pipeline.chat(request, headers)

    async def engine_metrics(self) -> tuple[bytes, str]:
        if self._client is None:
            raise EngineUnavailable("the engine is not started yet", retry_after=self._retry_after())
        return await scrape(self._client)

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
        reasons = dict(self._reasons)
        if isinstance(self._life, EngineSupervisor) and self._life.state is not EngineState.READY:
            reasons["engine"] = str(self._life.state)
        if isinstance(self._life, ExternalEngine) and not self._life.answers:
            reasons["engine"] = "does not answer at engine_url"
        if self._encoder is not None and not self._encoder.healthy:
            reasons["encoder"] = "its last batch failed"
        return reasons

    @asynccontextmanager
    async def _lifespan(self, api: FastAPI) -> AsyncIterator[None]:
        start = asyncio.create_task(self._start(), name="start")
        try:
            yield
        finally:
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            await self._ends.aclose()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.close)

    async def _start(self) -> None:
        """Engine and encoder come up side by side; ready means that one image has gone all the way."""
        try:
            await self._bring_up()
            self._reasons = {}
        except PatchbayError as error:
            self.failed = error
            self._reasons = {"service": error.message}
        except Exception as error:
            log.exception("the start failed")
            self.failed = ConfigurationError(f"the start failed: {type(error).__name__}: {error}")
            self._reasons = {"service": "the start failed"}
        self.started.set()

    async def _bring_up(self) -> None:
        prepared, ends, say = self.prepared, self._ends, self._say
        client = self._client = VLLMClient(prepared.engine_url, retry_after=self._retry_after)
        ends.push_async_callback(client.aclose)
        arena: ArenaStore | None = None
        if prepared.settings.images == "handles":
            # before the engine starts: its plugin maps the arena first of all
            arena = ArenaStore(prepared.arena_path, prepared.arena_spec)
            ends.callback(arena.close)
        if prepared.external:
            say(f"expecting an engine at {prepared.engine_url}; `patchbay check` shows how to start it")
        else:
            say("starting vLLM")
        self._life = make_engine(prepared, ends, client, self.metrics)
        handover: ImageHandover = PassThrough(prepared.geometry)
        if arena is not None:
            say("loading the vision encoder")
            self._encoder = await make_encoder(prepared, ends, self.metrics)
            cached = make_cache(self._encoder, arena, ends, self.metrics)
            handover = Handles(cached, self.admission, self.metrics, prepared.arena_spec.room)
            choice = self._encoder.choice
            kernels = f"kernels: {choice.backend}, blocks: {choice.body}"
            say(f"the encoder is warm on {prepared.plan.device}, {kernels}")
        say("waiting for the engine (20 to 40 s for the embedded model)")
        if isinstance(self._life, EngineSupervisor):
            await self._life.started()
        else:
            await self._life.wait_ready(prepared.settings.engine_start_timeout)
        say("the engine answers; sending one image from end to end")
        pipeline = Pipeline(
            images=make_reader(prepared, ends, self.metrics),
            handover=handover,
            placeholders=prepared.geometry.facts.placeholders,
            engine=client,
            life=self._life,
            metrics=self.metrics,
            request_timeout=prepared.settings.request_timeout,
            restart_wait=prepared.settings.engine_restart_wait,
        )
        await self_check(
            pipeline,
            prepared.geometry,
            prepared.served_name,
            max_pixels=prepared.settings.max_image_pixels,
            max_patches=prepared.plan.warm_up_patches,
        )
        self._pipeline = pipeline

    def _retry_after(self) -> float:
        return self._life.unavailable().retry_after if self._life is not None else 5.0
