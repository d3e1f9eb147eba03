"""The central types of Patchbay, in the order in which an image meets them, and the interfaces between rooms.

Knows nothing of HTTP, torch, vLLM or any model family: standard library only, so that the gateway can be installed
without them and every other module can import this one.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from service.errors import EngineUnavailable
from service.telemetry.timeline import StageTimings


class Detail(StrEnum):
    """OpenAI's `image_url.detail`: the level of detail at which an image is processed."""

    LOW = "low"
    HIGH = "high"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A client's reference to an image. Nothing about it has been checked yet."""

    url: str
    detail: Detail
    message: int
    """Index of the message that holds it."""
    part: int
    """Index of the part in that message's content."""
    path: str
    """JSON path of the reference as the client wrote it, for errors: `messages[0].content[1].image_url.url`."""


class ImageFormat(StrEnum):
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """Encoded bytes; only the header has been read, nothing has been decoded."""

    data: bytes = field(repr=False)
    """Empty where only the size was asked for."""
    format: ImageFormat
    width: int
    """Pixels, as displayed: EXIF orientation is already applied to width and height."""
    height: int
    source: Literal["data", "url"]


class Filter(StrEnum):
    """How pixels are resampled when an image is resized; all of them with antialiasing."""

    BICUBIC = "bicubic"
    BILINEAR = "bilinear"
    LANCZOS = "lanczos"


@dataclass(frozen=True, slots=True)
class View:
    """A canvas made from an image and cut into equal tiles, row by row: crop → resize → crop or pad → cut.

    `crop` of the image, or all of it, is resized to each size of `via` in turn, then to `resize`, or to the canvas, and
    placed on the canvas with its top left corner at `offset`. A negative offset cuts off what overhangs; uncovered
    areas have the colour `fill`. All sizes are in pixels, width first.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    crop: tuple[int, int, int, int] | None = None
    """(left, top, width, height)"""
    resize: tuple[int, int] | None = None
    offset: tuple[int, int] = (0, 0)
    """(left, top)"""
    fill: tuple[int, int, int] = (0, 0, 0)
    filter: Filter = Filter.BICUBIC
    via: tuple[tuple[int, int], ...] = ()
    """Sizes before the last one, where a processor resizes several times: each rounds to whole bytes."""

    @property
    def columns(self) -> int:
        return self.width // self.tile_width

    @property
    def rows(self) -> int:
        return self.height // self.tile_height

    @property
    def tiles(self) -> int:
        return self.columns * self.rows

    @property
    def tile_bytes(self) -> int:
        """Bytes of all tiles, as uint8 RGB."""
        return 3 * self.width * self.height


@dataclass(frozen=True, slots=True)
class Run:
    """`count` prompt positions with the token `token`, replaced by soft tokens if `embeds` is true."""

    token: int
    count: int
    embeds: bool


@dataclass(frozen=True, slots=True)
class SoftLayout:
    """One image's layout in the prompt, as token ids.

    `target` is what the checkpoint's chat template writes for one image; the engine's plugin replaces it with `runs`.
    An empty target means that the template writes nothing: the images are at the start of the prompt.
    `grid` is (t, h, w) in patches for families whose position encoding needs it (M-RoPE), else None.
    `joins` are triples (left, right, joined): where the layout meets its neighbour in the prompt with the tokens left
    and right, the tokenizer would have written one token for both. Gemma's newlines are the case.
    `ending` is the token in which a prompt with images ends, and which is added where it does not: PaliGemma's newline.
    `spaced`: text directly behind an image begins with a space, and is given one where it does not (Idefics2).
    """

    target: tuple[int, ...]
    runs: tuple[Run, ...]
    grid: tuple[int, int, int] | None = None
    joins: tuple[tuple[int, int, int], ...] = ()
    ending: int | None = None
    spaced: bool = False

    @property
    def tokens(self) -> int:
        """Soft tokens."""
        return sum(run.count for run in self.runs if run.embeds)

    @property
    def positions(self) -> int:
        """Prompt tokens that the image takes, separators included; where tokens join it is one or two less."""
        return sum(run.count for run in self.runs)


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """The language model of a checkpoint for which vLLM has no class, though it has one for this part."""

    architecture: str
    """vLLM's name of that class."""
    prefix: str
    """How its tensors' names begin in the checkpoint, but for those of its head, `lm_head`."""
    placeholder: str
    """What stands for an image in text, for templates that do not write it themselves."""


@dataclass(frozen=True, slots=True)
class LargeSteps:
    """The engine's steps that compute on more threads of a CPU than its others."""

    tokens: int
    """From how many on a step is one."""
    threads: int


@dataclass(frozen=True, slots=True)
class TokenMap:
    """Which row each soft token is, if they are not simply all rows in order.

    Number n of `index` below `rows` is a row of the tower's output, in the order of views and tiles; number `rows` + n
    is the tower's constant row n, such as the learned newline of LLaVA-NeXT. With `weights` each soft token is a
    weighted sum of rows, as where LLaVA-OneVision shrinks its map of an image.
    """

    rows: int
    index: array[int]
    """[tokens], or [tokens · rows of a sum], type code q"""
    weights: array[float] | None = None
    """One for each number of `index`, type code f"""
    summed: int = 1
    """Rows of a sum."""


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """How an image will be cut, what it costs and its layout in the prompt, all known from its size."""

    detail: Literal["low", "high"]
    """The level that was applied; `auto` has been decided."""
    views: tuple[View, ...]
    patches: int
    """Patches through the vision tower: the cost by which batches are packed."""
    layout: SoftLayout
    token_map: TokenMap | None = None
    grid: int = 0
    """Index of the view with the highest resolution; another one may be an overview."""

    @property
    def tiles(self) -> int:
        return sum(view.tiles for view in self.views)

    @property
    def tokens(self) -> int:
        """Soft tokens."""
        return self.layout.tokens

    @property
    def tower_rows(self) -> int:
        """Rows that the tower makes of the image, before the token map."""
        return self.tokens if self.token_map is None else self.token_map.rows


@dataclass(frozen=True, slots=True)
class ImageJob:
    """One image on its way to soft tokens: the bytes, what to cut from them, and the name of the result."""

    key: str
    """Content key, 64 hexadecimal digits: the same key always names the same soft tokens."""
    image: ImageBytes
    plan: ImagePlan
    path: str
    reduced: bool = False
    """Whether it gets fewer tiles than it would if the encoder had less to do."""


@dataclass(frozen=True, slots=True)
class Handle:
    """What the engine receives in place of an image: a name and a shape, never the tensor."""

    key: str
    layout: SoftLayout


class Lease(Protocol):
    """Soft tokens that stay in the arena until released; releasing twice is harmless."""

    @property
    def key(self) -> str: ...

    @property
    def cached(self) -> bool:
        """True when no encoding was needed."""
        ...

    def release(self, *, quarantine: bool = False) -> None:
        """Releases them; with `quarantine` they are kept for a while, because the engine may still be reading them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUsage:
    """What one image of a request cost."""

    width: int
    """Pixels, as displayed."""
    height: int
    processed: tuple[int, int]
    """Width and height of what the model sees of it at the highest resolution: a canvas, in pixels. Models that locate
    things in pixels count in these."""
    placement: tuple[int, int, int, int]
    """(left, top, width, height) of the whole image on that canvas; what lies beyond the canvas was cut off."""
    grid: tuple[int, int]
    """Columns and rows of tiles, without the thumbnail."""
    tiles: int
    """All tiles, including the thumbnail."""
    tokens: int
    """Soft tokens; separators are not counted."""
    detail: Literal["low", "high"]
    """The level that was applied; `auto` has been decided."""
    cached: bool
    """True if the soft tokens were already cached."""
    reduced: bool = False
    """True if `auto` took fewer tiles because the encoder's queue was long."""


@dataclass(slots=True)
class Record:
    """What is recorded about one request while it is served, for metrics, logs and traces. Contains no content."""

    timings: StageTimings = field(default_factory=StageTimings)
    images: Sequence[ImageUsage] = ()
    """Set once the images have been read; `cached` once they have been handed over."""


class Priority(StrEnum):
    """Whose requests the engine schedules first when some have to wait."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request: the entry of its API key. Where no keys are required, everybody is one caller.

    A limit that is None is the server's own.
    """

    name: str = ""
    tenant: str = ""
    """Salt of every cache: callers with different ones never meet each other's entries. Empty: no salt."""
    models: frozenset[str] | None = None
    """The models that it may use; None: all."""
    priority: Priority = Priority.INTERACTIVE
    weight: float = 1.0
    """Its share of places and of the engine's time, relative to other callers, when there is not enough for all."""
    max_requests: int | None = None
    """Requests in progress at once."""
    max_bodies: int | None = None
    """Request bodies arriving at once."""
    max_visual_tokens: int | None = None
    """Soft tokens of its running requests together."""
    requests_per_minute: int | None = None


ANYBODY = Caller()


class Route(StrEnum):
    """The engine's routes for requests."""

    CHAT = "/v1/chat/completions"
    COMPLETION = "/v1/completions"
    TOKENIZE = "/tokenize"
    DETOKENIZE = "/detokenize"

    @property
    def generates(self) -> bool:
        """Whether a model answers there."""
        return self not in (Route.TOKENIZE, Route.DETOKENIZE)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A validated request: OpenAI's JSON, which still contains the image parts, and its images."""

    payload: Mapping[str, Any]
    images: Sequence[ImageRef]
    model: str
    stream: bool
    include_usage: bool
    request_id: str
    caller: Caller = ANYBODY
    route: Route = Route.CHAT
    rank: int = 0
    """Its place in every queue: lower ones come first. See `service.pipeline.fairness`."""
    record: Record = field(default_factory=Record, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """How long the prompt of a request is."""

    prompt_tokens: int
    """All of it, images included."""
    context: int
    """Tokens that the model can hold, prompt and answer together."""
    images: Sequence[ImageUsage] | None
    """None where only the engine knows what each of them costs."""

    @property
    def fits(self) -> bool:
        """Whether there is room for the prompt and for one token of an answer."""
        return self.prompt_tokens < self.context


class EngineReply(Protocol):
    """The engine's answer, whose body has not been read yet; closing it aborts the generation."""

    status: int
    content_type: str

    def body(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class SoftTokenEncoder(Protocol):
    """Images to leased soft tokens."""

    async def encode(self, job: ImageJob, timings: StageTimings) -> Lease:
        """Returns a lease on the job's soft tokens, encoding them only if no one has yet.

        Raises InvalidImage (cannot be decoded), DecoderUnavailable, ArenaFull, EncoderFailed.
        """
        ...

    def forget(self, key: str) -> None:
        """Drops an entry that the engine could not read, so that the next `encode` encodes the image again."""
        ...


class Engine(Protocol):
    """The language model's server."""

    async def post(self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> EngineReply:
        """Sends `payload` and returns once the engine's status line has arrived.

        Raises EngineUnavailable if there is no answer.
        """
        ...

    async def get(self, route: str) -> EngineReply: ...


class EngineLife(Protocol):
    """Whether the engine is alive, according to its supervisor."""

    @property
    def ready(self) -> bool:
        """Whether it took requests when it was last checked."""
        ...

    @property
    def incarnation(self) -> int:
        """Counts its runs: another number means that it has died in between."""
        ...

    async def alive(self) -> bool:
        """Checks now."""
        ...

    async def wait_ready(self, timeout: float) -> None:
        """Returns once the engine accepts requests. Raises EngineUnavailable after `timeout` seconds."""
        ...

    def unavailable(self) -> EngineUnavailable:
        """The error for a request while there is no engine, with the seconds after which to retry."""
        ...
