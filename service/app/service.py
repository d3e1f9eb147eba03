"""The composition root: the running service as its HTTP side sees it.

The HTTP side is up immediately and reports the state of the rest while it starts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from service import __version__
from service.api import Backend, RequestLimits, build_admin, build_api
from service.api.chat.template import words_of
from service.api.constraints.budget import ConstraintLimits
from service.app.heap import settle_heap
from service.app.prepare import Prepared
from service.app.start import Say, Start
from service.domain import ChatRequest, TokenCount
from service.engine.external import ExternalEngine
from service.engine.flags import flag_names
from service.engine.scrape import scrape
from service.engine.supervisor import EngineState, EngineSupervisor
from service.errors import ConfigurationError, EngineUnavailable, PatchbayError
from service.keys import KeyStore
from service.pipeline.admission import Admission
from service.pipeline.chat import ChatAnswer
from service.pipeline.tokens import Tokens
from service.playground import playground_routes
from service.settings import EMBEDDED_MODEL
from service.telemetry.lag import watch_lag
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import make_tracing

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)
SCENES = Path(EMBEDDED_MODEL).parent / "scenes"
"""Pictures that the embedded model understands."""
ENGINE_VERSION = "0.32.0"
"""The version that the plugin is written for, pinned in pyproject.toml."""


class Patchbay:
    """The running service. Implements the protocols of `service.api.ports`."""

    def __init__(self, prepared: Prepared, say: Say) -> None:
        self.prepared = prepared
        self.metrics = Metrics(CollectorRegistry())
        self.failed: PatchbayError | None = None
        """Why startup failed; None if it has not."""
        self.started = asyncio.Event()
        """Set once the service is ready for the first time, or startup has failed."""
        self._reasons = {"service": "starting"}
        self._created = int(time.time())
        self._tracing = make_tracing(prepared.settings.otlp_endpoint, model=prepared.served_name)
        self.keys = KeyStore(
            [key.get_secret_value() for key in prepared.settings.api_keys], prepared.settings.api_keys_file
        )
        self.admission = Admission(
            max_inflight=prepared.settings.max_inflight,
            max_bodies=prepared.settings.max_bodies,
            max_visual_tokens=prepared.arena_spec.promised_tokens,
            shared=lambda: len(self.keys) > 1,
        )
        self._start = Start(prepared, self.admission, self.metrics, say)
        self.metrics.limits(
            requests=prepared.settings.max_inflight, visual_tokens=prepared.arena_spec.promised_tokens
        )
        self.metrics.watch_visual_tokens(lambda: self.admission.visual_reserved)
        self.metrics.watch_inflight("request", lambda: self.admission.inflight)
        self.metrics.watch_inflight("body", lambda: self.admission.arriving)
        self.metrics.watch_keys(lambda: len(self.keys), lambda: not self.keys.reload_failed)
        self.metrics.watch_queue("visual_tokens", lambda: self.admission.visual_waiting)
        self.metrics.watch_draining(lambda: self.admission.draining)
        self.metrics.watch_starting(lambda: not self.started.is_set())
        engine = f"vllm {ENGINE_VERSION}" if not prepared.external else "external"
        self.metrics.build(version=__version__, model=prepared.served_name, engine=engine)

    def api(self) -> FastAPI:
        settings, template = self.prepared.settings, self.prepared.checkpoint.chat_template
        return build_api(
            self._backend(),
            metrics=self.metrics,
            limits=RequestLimits(
                max_body_bytes=settings.max_body_bytes,
                body_timeout=settings.body_timeout,
                request_timeout=settings.request_timeout,
                max_images=settings.max_images,
                model_images=self.prepared.geometry.facts.max_images,
                max_choices=settings.max_choices,
                constraints=ConstraintLimits(max_states=settings.max_constraint_states),
                context=self.prepared.plan.max_model_len,
                template_words=None if template is None else words_of(template),
                xgrammar="--structured-outputs-config" not in flag_names(settings.engine_args),
            ),
            keys=self.keys,
            keepalive_seconds=settings.keepalive,
            show_metrics=settings.admin_port is None,
            tracing=self._tracing,
            playground=self._playground(),
            allowed_origins=settings.allowed_origins,
            lifespan=self._lifespan,
        )

    def admin_api(self) -> FastAPI:
        """For `admin_port`; lives as long as `api` does."""
        return build_admin(self._backend(), metrics=self.metrics)

    def _backend(self) -> Backend:
        return Backend(
            chat=self, tokens=self, models=self, readiness=self, permits=self.admission, engine_metrics=self
        )

    def _playground(self) -> APIRouter | None:
        settings = self.prepared.settings
        if not settings.shows_playground:
            return None
        return playground_routes(SCENES if settings.embedded else None)

    async def chat(self, request: ChatRequest, headers: Mapping[str, str]) -> ChatAnswer:
        if self._start.pipeline is None:
            raise self._still_starting()
        return await self._start.pipeline.chat(request, headers)

    async def count(self, request: ChatRequest, headers: Mapping[str, str]) -> TokenCount:
        return await self._tokens.count(request, headers)

    async def ask(self, request: ChatRequest, headers: Mapping[str, str]) -> Mapping[str, Any]:
        return await self._tokens.ask(request, headers)

    @property
    def _tokens(self) -> Tokens:
        if self._start.tokens is None:
            raise self._still_starting()
        return self._start.tokens

    def _still_starting(self) -> EngineUnavailable:
        return EngineUnavailable("The service is still starting.", retry_after=self._start.retry_after())

    async def engine_metrics(self) -> tuple[bytes, str]:
        if self._start.client is None:
            raise EngineUnavailable(
                "The engine has not been started yet.", retry_after=self._start.retry_after()
            )
        return await scrape(self._start.client)

    def names(self) -> Sequence[str]:
        return [self.prepared.served_name, *self.prepared.adapters]

    async def cards(self) -> Sequence[Mapping[str, Any]]:
        plan = self.prepared.plan
        return [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": "patchbay",
                "root": self.prepared.checkpoint.name,
                "parent": None if name == self.prepared.served_name else self.prepared.served_name,
                "max_model_len": plan.max_model_len or None,
                "patchbay": {
                    "family": self.prepared.geometry.facts.family,
                    "images": self.prepared.images,
                    "why": self.prepared.images_why,
                },
            }
            for name in self.names()
        ]

    def reasons(self) -> Mapping[str, str]:
        if self.admission.draining:
            return {"service": "draining"}
        reasons = dict(self._reasons)
        life, encoder = self._start.life, self._start.encoder
        if isinstance(life, EngineSupervisor) and life.state is not EngineState.READY:
            reasons["engine"] = str(life.state)
        if isinstance(life, ExternalEngine) and not life.ready:
            reasons["engine"] = "does not answer at engine_url"
        if encoder is not None and not encoder.healthy:
            reasons["encoder"] = "its last batch failed"
        return reasons

    @asynccontextmanager
    async def _lifespan(self, api: FastAPI) -> AsyncIterator[None]:
        start = asyncio.create_task(self._bring_up(), name="start")
        watching = asyncio.create_task(self.keys.watch(), name="key file watch")
        lag = asyncio.create_task(watch_lag(self.metrics.event_loop_lag), name="event loop lag")
        try:
            yield
        finally:
            for task in (start, watching, lag):
                task.cancel()
            await asyncio.gather(start, watching, lag, return_exceptions=True)
            await self._start.close()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.close)

    async def _bring_up(self) -> None:
        """Starts engine and encoder in parallel; ready means that one image has passed through all stages."""
        try:
            await self._start.run()
            settle_heap()
            self._reasons = {}
        except PatchbayError as error:
            self.failed = error
            self._reasons = {"service": error.message}
        except Exception as error:
            log.exception("startup failed")
            self.failed = ConfigurationError(f"startup failed: {type(error).__name__}: {error}")
            self._reasons = {"service": "startup failed"}
        self.started.set()
