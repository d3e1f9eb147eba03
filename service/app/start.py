"""The startup sequence: the arena, engine and encoder in parallel, then one image through all stages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from service.app.build import make_cache, make_encoder, make_engine, make_reduction
from service.app.pipelines import make_pipelines
from service.app.prepare import Prepared
from service.app.selfcheck import self_check
from service.arena import ArenaStore, remove_orphans
from service.engine.client import VLLMClient
from service.engine.external import ExternalEngine
from service.engine.supervisor import End, EndReason, EngineSupervisor
from service.errors import ConfigurationError, EngineUnavailable
from service.pipeline.admission import Admission
from service.pipeline.chat import Pipeline
from service.pipeline.handover import Handles, ImageHandover, PassThrough
from service.pipeline.tokens import Tokens
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.encoder.local import LocalEncoder

Say = Callable[[str], None]
MISSING = "'_OpNamespace'"
"""In the error of PyTorch's for an operation that nobody has registered."""
NO_OPERATION = "\nThis build of vLLM lacks an operation that the model needs; that for GPUs may have it."
END_SECONDS = 30
"""How long an engine that was lost in the test may take to end, so that its reason can be told."""


class Start:
    """One start of the service. The attributes are None until the part is up. Must always be closed."""

    def __init__(self, prepared: Prepared, admission: Admission, metrics: Metrics, say: Say) -> None:
        self.client: VLLMClient | None = None
        self.life: EngineSupervisor | ExternalEngine | None = None
        self.encoder: LocalEncoder | None = None
        self.pipeline: Pipeline | None = None
        self.tokens: Tokens | None = None
        self._prepared = prepared
        self._admission = admission
        self._metrics = metrics
        self._say = say
        self._reduces: Callable[[str], bool] | None = None
        """Whether `detail: auto` is to be reduced for the image of that key."""
        self._ends = AsyncExitStack()

    async def run(self) -> None:
        """Returns once one image has passed through all stages. Raises whatever a part that cannot start raises."""
        self._say(f"images: {self._prepared.images}: {self._prepared.images_why}")
        client = self.client = VLLMClient(self._prepared.engine_url, retry_after=self.retry_after)
        self._ends.push_async_callback(client.aclose)
        # before the engine starts, because its plugin maps the arena first
        arena = self._open_arena() if self._prepared.images == "handles" else None
        life = self.life = self._start_engine(client)
        handover = PassThrough(self._prepared.geometry) if arena is None else await self._encode_into(arena)
        await self._wait_for(life)
        pipeline, tokens = make_pipelines(
            self._prepared, self._ends, self._metrics, client, life, handover, self._reduces
        )
        self.pipeline, self.tokens = await self._checked(pipeline), tokens

    async def close(self) -> None:
        """Closes everything, in reverse order."""
        await self._ends.aclose()

    def retry_after(self) -> float:
        """Seconds after which a client should retry while the engine does not answer."""
        return self.life.unavailable().retry_after if self.life is not None else 5.0

    def _open_arena(self) -> ArenaStore:
        remove_orphans(str(self._prepared.settings.arena_dir))
        arena = ArenaStore(self._prepared.arena_path, self._prepared.arena_spec)
        self._ends.callback(arena.close)
        return arena

    def _start_engine(self, client: VLLMClient) -> EngineSupervisor | ExternalEngine:
        if self._prepared.external:
            url = self._prepared.engine_url
            self._say(f"expecting an engine at {url}; `patchbay check` shows how to start it")
        else:
            self._say("starting vLLM")
        return make_engine(self._prepared, self._ends, client, self._metrics)

    async def _encode_into(self, arena: ArenaStore) -> ImageHandover:
        self._say("loading the vision encoder")
        encoder = self.encoder = await make_encoder(self._prepared, self._ends, self._metrics)
        cached = make_cache(encoder, arena, self._ends, self._metrics)
        if bound := self._prepared.settings.auto_detail_backlog:
            self._reduces = make_reduction(encoder, cached, bound)
        choice = encoder.choice
        kernels = f"kernels: {choice.backend}, blocks: {choice.body}, precision: {choice.precision}"
        self._say(f"the encoder is ready on {self._prepared.plan.device}, {kernels}")
        return Handles(cached, self._admission, self._metrics, self._prepared.arena_spec.room)

    async def _wait_for(self, life: EngineSupervisor | ExternalEngine) -> None:
        self._say("waiting for the engine (20 to 40 s for the embedded model)")
        if isinstance(life, EngineSupervisor):
            await life.started()
        else:
            await life.wait_ready(self._prepared.settings.engine_start_timeout)

    async def _checked(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline, once it has answered. An engine that hung is restarted and asked once more: one that exits
        does so again, and its reason is told, but a hang is more often the machine's."""
        facts = self._prepared.geometry.facts
        self._say(f"the engine is up; testing with one {'image' if facts.counted else 'question'}")
        try:
            await self._ask(pipeline)
        except EngineUnavailable:
            end = await self._end_of_engine()
            if end is None:
                raise
            if end.reason is not EndReason.UNHEALTHY:
                raise lost(end) from None
            self._say("the engine hung at the first request; once more with a new one")
            await self._ask_again(pipeline)
        if isinstance(self.life, EngineSupervisor):
            self.life.show_tracebacks()
        return pipeline

    async def _ask_again(self, pipeline: Pipeline) -> None:
        assert self.life is not None
        await self.life.wait_ready(self._prepared.settings.engine_start_timeout)
        try:
            await self._ask(pipeline)
        except EngineUnavailable:
            if end := await self._end_of_engine():
                raise lost(end) from None
            raise

    async def _ask(self, pipeline: Pipeline) -> None:
        await self_check(
            pipeline,
            self._prepared.geometry,
            self._prepared.served_name,
            max_pixels=self._prepared.settings.max_image_pixels,
            max_patches=self._prepared.plan.warm_up_patches,
        )

    async def _end_of_engine(self) -> End | None:
        return await self.life.last_end(END_SECONDS) if isinstance(self.life, EngineSupervisor) else None


def lost(end: End) -> ConfigurationError:
    """An engine that ended at the first request: why, with a hint where there is one."""
    hint = NO_OPERATION if MISSING in end.lines else ""
    return ConfigurationError(f"the engine was ready, and at the first request {end}{hint}")
