"""The nouns of Patchbay, in the order in which one image meets them, and the two seams.

Knows nothing of HTTP, torch, vLLM or any model family: standard library only, so that the gateway can be
installed without them and every other module can import this one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from service.errors import EngineUnavailable
from service.telemetry.timeline import StageTimings


class Detail(StrEnum):
    """OpenAI's `image_url.detail`: how closely an image is to be looked at."""

    LOW = "low"
    HIGH = "high"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where a client said that an image is. Nothing about it has been checked."""

    url: str
    detail: Detail
    path: str
    """JSON path of the reference, for errors: `messages[0].content[1].image_url.url`."""


class ImageFormat(StrEnum):
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """Encoded bytes of which only the header was read; nothing has been decoded."""

    data: bytes = field(repr=False)
    format: ImageFormat
    width: int
    """Pixels, as displayed: EXIF orientation is already applied to width and height."""
    height: int
    source: Literal["data", "url"]


@dataclass(frozen=True, slots=True)
class View:
    """The whole image resized to `width` × `height` pixels, then cut into equal tiles, row by row."""

    width: int
    height: int
    tile_width: int
    tile_height: int

    @property
    def columns(self) -> int:
        return self.width // self.tile_width

    @property
    def rows(self) -> int:
        return self.height // self.tile_height

    @property
    def tiles(self) -> int:
        return self.columns * self.rows


@dataclass(frozen=True, slots=True)
class TilePlan:
    """What will be cut from an image and what it costs, known from its size alone."""

    detail: Literal["low", "high"]
    """The level that was applied; `auto` has been decided."""
    views: tuple[View, ...]
    rows: int
    """Soft tokens: rows of the encoder's output."""
    patches: int
    """Patches through the vision tower: the cost by which batches are packed."""

    @property
    def tiles(self) -> int:
        return sum(view.tiles for view in self.views)


@dataclass(frozen=True, slots=True)
class Run:
    """`count` prompt positions that hold `token`; soft tokens take their place where `embeds` is true."""

    token: int
    count: int
    embeds: bool


@dataclass(frozen=True, slots=True)
class SoftLayout:
    """How one image stands in the prompt, as token ids.

    `target` is what the checkpoint's chat template writes for one image; the engine's plugin puts `runs` in its
    place. `grid` is (t, h, w) in patches for families whose position encoding needs it (M-RoPE), else None.
    """

    target: tuple[int, ...]
    runs: tuple[Run, ...]
    grid: tuple[int, int, int] | None = None

    @property
    def rows(self) -> int:
        return sum(run.count for run in self.runs if run.embeds)

    @property
    def positions(self) -> int:
        """Prompt tokens that the image takes, separators included."""
        return sum(run.count for run in self.runs)


@dataclass(frozen=True, slots=True)
class ImageJob:
    """One image on its way to soft tokens: the bytes, what to cut from them, and the name of the result."""

    key: str
    """Content key, 64 hexadecimal digits: the same key always names the same soft tokens."""
    image: ImageBytes
    plan: TilePlan
    path: str


@dataclass(frozen=True, slots=True)
class Handle:
    """What the engine receives in an image's place: a name and a shape, never the tensor."""

    key: str
    layout: SoftLayout


class Lease(Protocol):
    """Soft tokens that stay in the arena until released; releasing twice is harmless."""

    @property
    def key(self) -> str: ...

    @property
    def rows(self) -> int: ...

    @property
    def cached(self) -> bool:
        """True when no encoding was needed."""
        ...

    def release(self, *, quarantine: bool = False) -> None:
        """Gives the rows up; with `quarantine` they stay a while, for an engine that may still be reading."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUsage:
    """What one image of a request cost."""

    width: int
    """Pixels, as displayed."""
    height: int
    grid: tuple[int, int]
    """Columns and rows of the tiles that it was cut into; a thumbnail is not among them."""
    tiles: int
    """All of them, the thumbnail included."""
    tokens: int
    """Soft tokens: rows of the encoder's output, separators not counted."""
    detail: Literal["low", "high"]
    """The level that was applied; `auto` has been decided."""
    cached: bool
    """True when the soft tokens were there already."""


@dataclass(slots=True)
class Record:
    """What is written down of one request while it is served, for metrics, logs and traces. Holds no content."""

    timings: StageTimings = field(default_factory=StageTimings)
    images: Sequence[ImageUsage] = ()
    """Known once the images were read; `cached` once they were put before the engine."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request that has passed the schema: OpenAI's JSON, and the images found in it.

    `payload` still holds the image parts; `places` are their positions as (message index, part index), in the order
    of `images`.
    """

    payload: Mapping[str, Any]
    images: Sequence[ImageRef]
    places: Sequence[tuple[int, int]]
    model: str
    stream: bool
    include_usage: bool
    request_id: str
    tenant: str = ""
    """Salt for cache keys: one tenant never meets another's entries."""
    record: Record = field(default_factory=Record, compare=False, repr=False)


class EngineReply(Protocol):
    """The engine's answer with its body still to be read; closing it aborts the generation."""

    status: int
    content_type: str

    def body(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class SoftTokenEncoder(Protocol):
    """Images to leased soft tokens."""

    async def encode(self, job: ImageJob, timings: StageTimings) -> Lease:
        """Returns a lease on the job's soft tokens, encoding them only if no one has yet.

        Raises InvalidImage (cannot be decoded), ArenaFull, EncoderFailed.
        """
        ...

    def forget(self, key: str) -> None:
        """Drops an entry that the engine could not read, so that the next `encode` makes it anew."""
        ...


class Engine(Protocol):
    """The language model's server."""

    async def post(self, route: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> EngineReply:
        """Sends `payload` and returns when the engine's status line has come.

        Raises EngineUnavailable when nobody answers.
        """
        ...

    async def get(self, route: str) -> EngineReply: ...


class EngineLife(Protocol):
    """Whether the engine lives, from the one who looks after it."""

    async def alive(self) -> bool:
        """Asks now."""
        ...

    async def wait_ready(self, timeout: float) -> None:
        """Returns once the engine takes requests. Raises EngineUnavailable after `timeout` seconds."""
        ...

    def unavailable(self) -> EngineUnavailable:
        """The error for a request that met no engine, with the seconds after which to come back."""
        ...
