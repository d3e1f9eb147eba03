"""Every setting of Patchbay, with its default, its limits and its description.

The only reader of the environment. Each field is a flag (`--max-image-pixels`) and a variable
(`PATCHBAY_MAX_IMAGE_PIXELS`) of the same name. Settings are immutable. Unknown names are refused, and so are
combinations that cannot work, with a message that names both settings.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import ConfigurationError

ENV_PREFIX = "PATCHBAY_"
EMBEDDED_MODEL = str(Path(__file__).resolve().parent.parent / "demo" / "model")
EMBEDDED_ALIAS = "demo"
"""Stands for the embedded model's folder; to serve a folder of your own with this name, write `./demo`."""
MIB = 1024**2
EIGHT_BITS = ("int8", "fp8")
"""Of `encoder_precision`: soft tokens differ from those in full precision."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    model: str = Field(
        EMBEDDED_MODEL,
        description="Checkpoint to serve: a folder in Hugging Face format or a hub id. Default, or `demo`: the "
        "embedded model.",
    )
    revision: str | None = Field(
        None, description="Revision of a hub checkpoint: a branch, a tag or a commit."
    )
    served_model_name: str | None = Field(
        None, description="Model name that clients use. Default: the checkpoint's own."
    )

    host: str = Field(
        "127.0.0.1", description="Address to listen on. 0.0.0.0 exposes the service to the network."
    )
    port: int = Field(8000, ge=1, le=65535, description="TCP port to listen on.")
    admin_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Separate TCP port for /metrics and /metrics/engine, which are then no longer served on `port`; "
        "/livez and /readyz answer on both. Default: everything on one port.",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Bearer keys that clients must present, separated by commas. None: no authentication. Each key has "
        "its own cache entries. For limits, priorities and changes without a restart, see api_keys_file.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of API keys as hashes, with a name, limits and a priority for each: see docs/keys.md and "
        "`patchbay key`. Read again when it changes. Used in addition to api_keys.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of web pages that may call the API from a browser (CORS), separated by commas, such as "
        "https://chat.example.com; * for all. None: no page of another origin may.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description="text: human-readable lines. json: one object per line, with each request's stage times, image "
        "sizes and token counts. Neither contains content or URLs.",
    )
    log_image_hosts: bool = Field(
        False,
        description="Also log the host of each image URL, and the time that it took, in the line of its request, and "
        "name it in traces: for finding slow and failing hosts. Never the rest of a URL: it may contain a signature.",
    )
    playground: bool | None = Field(
        None,
        description="Serve the page at /, where you can ask about pictures and see what they cost. Default: on for the "
        "embedded model, off for any other.",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        description="Collector to send OpenTelemetry traces to over OTLP/HTTP, such as http://127.0.0.1:4318. Needs "
        "the extra `otel`. Default: no traces.",
    )

    images: Literal["auto", "handles", "passthrough"] = Field(
        "auto",
        description="handles: Patchbay encodes images, and the engine runs without its own vision tower. "
        "passthrough: images are sent to the engine unchanged, and its own tower encodes them. auto: handles if "
        "Patchbay knows the checkpoint's family and can load its tower, otherwise passthrough.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the vision encoder runs.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of the encoder and the engine. auto: the checkpoint's own."
    )
    kernels: Literal["auto", "triton", "cpu", "reference"] = Field(
        "auto", description="Implementation of the encoder's front end. auto: triton on a GPU, cpu elsewhere."
    )
    encoder_body: Literal["auto", "transformers", "fused", "triton", "compiled"] = Field(
        "auto",
        description="Implementation of the encoder's transformer blocks. fused: Patchbay's own, on a CPU, and on a GPU "
        "too for models that take images at their own size. triton: Patchbay's own on a GPU, with Triton kernels "
        "between matrix products; not yet measured. transformers: its modules. compiled: the same modules through "
        "torch.compile, at startup. auto: fused where it can run, else transformers.",
    )
    encoder_precision: Literal["auto", "full", "int8", "fp8"] = Field(
        "auto",
        description="Precision of the linear layers in the encoder's blocks. int8: on a CPU with AVX512-VNNI or AMX, "
        "where it is faster for towers of 768 and wider. fp8: on a Hopper GPU, for bfloat16. With both, soft tokens "
        "differ by a few percent, which `patchbay check` measures. full: the encoder's number format. auto: full.",
    )
    encoder_copies: Literal["auto", "staged", "plain"] = Field(
        "auto",
        description="How batches are copied to a GPU. staged: in chunks through pinned memory, overlapping with "
        "compute. plain: one blocking copy. auto: staged where there is a GPU.",
    )
    encoder_graph_bytes: int | None = Field(
        None,
        ge=0,
        description="GPU memory limit, in bytes, for the encoder's CUDA graphs, which are captured at startup for as "
        "many batch sizes as fit, starting with one tile. 0: no graphs. Default: from the resource plan.",
    )
    encoder_attention: Literal["auto", "flash", "cudnn", "efficient", "math", "varlen"] = Field(
        "auto",
        description="PyTorch's attention kernel for an encoder on a GPU; one that cannot run is refused at startup. "
        "varlen: one call a layer for all images, for models that take them at their own size; not yet measured. "
        "auto: PyTorch chooses.",
    )
    encoder_batch_patches: int | None = Field(
        None,
        ge=1,
        description="Maximum number of patches in one encoder batch. Default: from the resource plan.",
    )
    auto_detail_backlog: float = Field(
        0.0,
        ge=0,
        description="Seconds of work before the encoder above which images with `detail: auto` get a quarter of their "
        "tiles, though never fewer than with `low`, until the backlog is half as long. Images that are cached keep "
        "theirs, and `low` and `high` stay as asked. 0: never.",
    )
    encoder_threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads that the encoder computes with; they give way to the engine's. Default: from the "
        "resource plan: every core on a CPU, one for a tower too small to be divided.",
    )
    decode_workers: int | None = Field(
        None,
        ge=1,
        description="Number of sandboxed processes that decode images. Default: from the resource plan.",
    )
    decode_timeout: float = Field(
        10.0, gt=0, description="Seconds allowed for decoding and tiling one image."
    )
    arena_bytes: int | None = Field(
        None, ge=MIB, description="Shared memory for soft tokens, in bytes. Default: from the resource plan."
    )
    arena_dir: Path = Field(
        Path("/dev/shm"),
        description="Folder of the arena's file; the encoder and the engine must both see it.",
    )

    max_body_bytes: int = Field(
        50 * MIB, ge=1024, description="Largest request body in bytes, including images as data URLs."
    )
    max_image_bytes: int = Field(20 * MIB, ge=1024, description="Largest encoded image in bytes.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image in pixels (width × height).")
    max_request_image_bytes: int = Field(
        64 * MIB, ge=1024, description="Maximum total size of a request's encoded images, in bytes."
    )
    max_request_image_pixels: int = Field(
        200_000_000, ge=1, description="Maximum total number of pixels of a request's images."
    )
    max_image_tokens: int | None = Field(
        None,
        ge=1,
        description="Maximum number of soft tokens per image; images that would take more are scaled down, even with "
        "detail=high. Default: what the checkpoint's image processor allows.",
    )
    max_images: int = Field(8, ge=1, description="Maximum number of images in one request.")
    max_choices: int = Field(8, ge=1, description="Maximum number of answers (`n`) to one request.")
    max_constraint_states: int = Field(
        30_000,
        ge=1000,
        description="Maximum size, in states, of all schemas, patterns and grammars that are compiled for one request: "
        "roughly the characters of names, listed values and patterns, each as often as it is repeated, and more for "
        "character classes. The default takes up to about 30 s of one core with a vocabulary of 131,000 tokens.",
    )
    max_inflight: int = Field(
        256, ge=1, description="Requests served concurrently; more are refused with 429 and a Retry-After."
    )
    body_timeout: float = Field(
        30.0, gt=0, description="Seconds within which a request body must have arrived."
    )
    max_bodies: int = Field(
        256,
        ge=1,
        description="Maximum number of request bodies arriving at once; further ones are refused with 429.",
    )
    request_timeout: float = Field(
        600.0,
        gt=0,
        description="Seconds after which a request is aborted, even if its client is what is slow.",
    )
    keepalive: float = Field(
        15.0, gt=0, description="Seconds of silence after which a keep-alive comment is sent on a stream."
    )
    idle_timeout: int = Field(
        75,
        ge=1,
        description="Seconds that an idle connection stays open. Set it higher than in any proxy in front: otherwise a "
        "request can arrive on a connection that is just being closed, and clients see a 502.",
    )
    header_timeout: float = Field(
        20.0,
        gt=0,
        description="Seconds within which the headers of a request must have arrived; otherwise the connection is "
        "closed.",
    )
    write_timeout: float = Field(
        30.0,
        gt=0,
        description="Seconds for which a client may read nothing of an answer that is ready for it; then its "
        "connection is closed and its request ends.",
    )
    max_header_bytes: int = Field(
        64 * 1024,
        ge=1024,
        description="Maximum size of a request's request line and headers, in bytes; more are refused with 431.",
    )
    max_headers: int = Field(
        100, ge=16, description="Maximum number of headers in a request; more are refused with 431."
    )
    max_connections: int | None = Field(
        None,
        ge=2,
        description="Maximum number of open client connections. Beyond it, the one that has been idle longest is "
        "closed; if none is idle, the new one is refused with 503. Default: 16 times max_inflight, or as many as the "
        "process's limit on file descriptors allows.",
    )
    drain_timeout: float = Field(
        60.0, ge=0, description="Seconds that running requests get to finish after a SIGTERM."
    )

    fetch_timeout: float = Field(
        10.0, gt=0, description="Seconds within which an image must have been downloaded from its URL."
    )
    fetch_connect_timeout: float = Field(
        5.0, gt=0, description="Seconds within which a connection to the image's server must be established."
    )
    fetch_redirects: int = Field(
        3, ge=0, le=10, description="Maximum number of redirects followed; each hop is checked again."
    )
    fetch_user_agent: str | None = Field(
        None,
        pattern=r"^[!-~]([ -~]{0,254}[!-~])?$",
        description="User-Agent header for fetching images, in printable ASCII. Some hosts only serve clients "
        "whose User-Agent names a web page or a contact address. Default: patchbay/ and the version.",
    )
    allow_private_urls: bool = Field(
        False,
        description="Also fetch images from private and loopback addresses. This opens your network to anyone who can "
        "send a request.",
    )
    allowed_url_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts that images may be fetched from, separated by commas. None: any public host."
    )

    engine_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#]+/?$",
        description="Base URL of an engine that you start yourself; `patchbay check` shows the command. With "
        "images=handles, it must share this machine's shared memory and have Patchbay's plugin installed.",
    )
    engine_port: int | None = Field(
        None, ge=1, le=65535, description="Loopback port of the engine. Default: any free port."
    )
    engine_args: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Additional flags for vLLM, split as a shell would; or everything after `--`."
    )
    engine_compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether vLLM compiles the language model with torch.compile. It delays the first start; what was "
        "compiled is kept in VLLM_CACHE_ROOT for the next. off: on a GPU, without CUDA graphs either. auto: on a GPU, "
        "and on a CPU only where the model is divided into stages, because steps of 0.5 billion parameters get no "
        "faster there, and only much smaller ones do.",
    )
    engine_start_timeout: float = Field(
        900.0,
        gt=0,
        description="Seconds that the engine may take to become ready, including loading the weights.",
    )
    engine_restart_wait: float = Field(
        5.0,
        ge=0,
        description="Seconds that a request waits for a restarting engine before it is answered with a 503; it gets "
        "that at once if the engine's last start took longer.",
    )
    engine_stall_timeout: float = Field(
        12.0,
        ge=0,
        description="Seconds without progress after which the engine counts as stuck, although its server answers: "
        "readiness drops, and it is restarted. Raise it if single steps of the model may take longer on your GPU. "
        "0: never.",
    )
    block_seconds: float = Field(
        300.0,
        ge=0,
        description="Seconds for which a request is refused that was in progress when the engine died, twice in a "
        "row. 0: it is never refused.",
    )
    tensor_parallel_size: int = Field(
        1,
        ge=1,
        description="Number of GPUs among which each layer of the language model is divided, as vLLM does it. The "
        "model's attention heads must be divisible by it. Times pipeline_parallel_size: the GPUs of one engine, all in "
        "this machine.",
    )
    pipeline_parallel_size: int = Field(
        1,
        ge=1,
        description="Number of stages into which the language model's layers are divided, each on "
        "tensor_parallel_size GPUs of its own.",
    )
    encoder_gpu: Literal["shared", "own"] = Field(
        "shared",
        description="shared: the vision encoder is on the engine's first GPU, which the resource plan divides. own: it "
        "has a GPU of its own, the first that this process sees; an engine that Patchbay starts gets those after it, "
        "and `patchbay engine` all that it sees.",
    )
    gpu_memory_utilization: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Fraction of the GPU's memory for the engine, of each GPU where it has several. Default: from the "
        "resource plan.",
    )
    max_model_len: int | None = Field(
        None,
        ge=64,
        description="Maximum length of prompt and answer together, in tokens. Default: the checkpoint's own.",
    )

    @property
    def requires_keys(self) -> bool:
        return bool(self.api_keys) or self.api_keys_file is not None

    @property
    def embedded(self) -> bool:
        """Whether the served model is the one that comes with Patchbay."""
        return self.model == EMBEDDED_MODEL

    @property
    def shows_playground(self) -> bool:
        return self.embedded if self.playground is None else self.playground

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if value != "*" and not re.fullmatch(r"https?://[^/?#@\s]+", value):
                raise ValueError(
                    f"{value!r} is no origin: scheme, host and port alone, such as https://chat.example.com:8443"
                )
        return values

    @field_validator("model")
    @classmethod
    def _embedded_by_name(cls, value: str) -> str:
        return EMBEDDED_MODEL if value == EMBEDDED_ALIAS else value

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in ("api_keys", "allowed_url_hosts", "allowed_origins"):
            if isinstance(value := values.get(name), str):
                values[name] = tuple(item.strip() for item in value.split(",") if item.strip())
        if isinstance(value := values.get("engine_args"), str):
            values["engine_args"] = tuple(shlex.split(value))
        return values

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_image_bytes > self.max_body_bytes:
            raise ValueError(
                f"max_image_bytes ({self.max_image_bytes}) is more than max_body_bytes ({self.max_body_bytes}), "
                "so no data URL could reach it: lower max_image_bytes or raise max_body_bytes"
            )
        for unit in ("bytes", "pixels"):
            one, together = getattr(self, f"max_image_{unit}"), getattr(self, f"max_request_image_{unit}")
            if one > together:
                raise ValueError(
                    f"max_image_{unit} ({one}) is more than max_request_image_{unit} ({together}), so no request could "
                    f"have an image that large: lower max_image_{unit} or raise max_request_image_{unit}"
                )
        if self.max_connections is not None and self.max_connections <= self.max_inflight:
            raise ValueError(
                f"max_connections ({self.max_connections}) must be more than max_inflight ({self.max_inflight}), "
                "because each request in flight has a connection: raise the first or lower the second"
            )
        if self.fetch_connect_timeout > self.fetch_timeout:
            raise ValueError(
                f"fetch_connect_timeout ({self.fetch_connect_timeout} s) is longer than fetch_timeout "
                f"({self.fetch_timeout} s), which includes it: lower the first or raise the second"
            )
        if self.engine_url and self.engine_args:
            raise ValueError(
                "engine_args are for an engine that Patchbay starts; engine_url names one that you start: set only one"
            )
        if self.engine_url and self.engine_port:
            raise ValueError(
                "engine_port is for an engine that Patchbay starts; engine_url names one that you start: set only one"
            )
        for name, other in (("port", self.port), ("engine_port", self.engine_port)):
            if self.admin_port is not None and self.admin_port == other:
                raise ValueError(
                    f"admin_port and {name} are both {other}: give them different ports, or leave admin_port unset"
                )
        if self.kernels == "triton" and self.device == "cpu":
            raise ValueError(
                "kernels=triton needs a GPU, but device=cpu rules it out: choose kernels=cpu or device=cuda"
            )
        if self.encoder_body == "fused" and self.device == "cuda":
            raise ValueError(
                "encoder_body=fused runs on a CPU, but device=cuda rules it out: choose encoder_body=transformers or "
                "device=cpu"
            )
        needs = {"int8": "cpu", "fp8": "cuda"}.get(self.encoder_precision, self.device)
        if self.device not in ("auto", needs):
            raise ValueError(
                f"encoder_precision={self.encoder_precision} is for device={needs}, but device={self.device} rules it "
                "out: choose encoder_precision=full, or the other device"
            )
        self._possible_on_a_gpu()
        return self

    def _possible_on_a_gpu(self) -> None:
        wanted = {
            "encoder_copies=staged": self.encoder_copies == "staged",
            f"encoder_graph_bytes={self.encoder_graph_bytes}": bool(self.encoder_graph_bytes),
            f"encoder_attention={self.encoder_attention}": self.encoder_attention != "auto",
            "encoder_body=triton": self.encoder_body == "triton",
            "encoder_gpu=own": self.encoder_gpu == "own",
        }
        for setting, given in wanted.items():
            if given and self.device == "cpu":
                raise ValueError(f"{setting} is for a GPU, but device=cpu rules it out: remove one of them")
        if self.encoder_graph_bytes and self.encoder_copies == "plain":
            raise ValueError(
                "encoder_graph_bytes needs staged copies, but encoder_copies=plain rules them out: remove one of them"
            )


def load(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from command-line flags, which win, and `PATCHBAY_*` variables.

    Raises ConfigurationError, with one sentence for each value that is unknown, malformed or impossible.
    """
    environment = os.environ if environment is None else environment
    unknown = [
        name
        for name in environment
        if name.startswith(ENV_PREFIX) and _field(name) not in Settings.model_fields
    ]
    if unknown:
        raise ConfigurationError(" ".join(_unknown_variable(name) for name in sorted(unknown)))
    given = {_field(name): value for name, value in environment.items() if name.startswith(ENV_PREFIX)}
    try:
        return Settings(**{**given, **flags})
    except ValidationError as error:
        raise ConfigurationError("; ".join(_sentence(item) for item in error.errors())) from None


def _field(variable: str) -> str:
    return variable.removeprefix(ENV_PREFIX).lower()


def _unknown_variable(name: str) -> str:
    close = difflib.get_close_matches(_field(name), Settings.model_fields, n=1)
    hint = f" Did you mean {ENV_PREFIX}{close[0].upper()}?" if close else ""
    return f"{name} is not a setting of Patchbay.{hint}"


def _sentence(item: Any) -> str:
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    return f"{item['loc'][0]}: {item['msg']} (got {item['input']!r})"
