"""Every knob of Patchbay, with its default, its limits and its reason.

The only reader of the environment. Each field is a flag (`--max-image-pixels`) and a variable
(`PATCHBAY_MAX_IMAGE_PIXELS`) of the same name. Frozen, unknown names are refused, and combinations that cannot work
are refused in a sentence that names both knobs. Knows nothing of how the values are used.
"""

from __future__ import annotations

import difflib
import os
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
"""Short for its folder; a folder of one's own with this name is `./demo`."""
MIB = 1024**2


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    model: str = Field(
        EMBEDDED_MODEL,
        description="Checkpoint to serve: a folder in Hugging Face format, or a hub id. Default, or `demo`: the "
        "embedded model.",
    )
    revision: str | None = Field(
        None, description="Revision of a hub checkpoint: a branch, a tag or a commit."
    )
    served_model_name: str | None = Field(
        None, description="Name under which clients ask for the model. Default: the checkpoint's own."
    )

    host: str = Field(
        "127.0.0.1", description="Address to listen on. 0.0.0.0 opens the service to the network."
    )
    port: int = Field(8000, ge=1, le=65535, description="TCP port to listen on.")
    admin_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="TCP port of its own for /metrics and /metrics/engine, which then leave `port`; /livez and "
        "/readyz answer on both. Default: all on one port.",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Bearer keys that clients must show, separated by commas. None: everybody is served. "
        "Each key has image-cache entries of its own.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line shown."
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description="text: lines for people. json: one object a line, with stage times, image sizes and tokens of "
        "each request. Neither holds content or URLs.",
    )
    playground: bool | None = Field(
        None,
        description="The page at / on which one can ask about pictures and see what they cost. Default: on for the "
        "embedded model, off for any other.",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        description="Collector that gets OpenTelemetry traces over OTLP/HTTP, such as http://127.0.0.1:4318. Needs "
        "the extra `otel`. Default: no traces.",
    )

    images: Literal["handles", "passthrough"] = Field(
        "handles",
        description="handles: Patchbay encodes images and the engine runs without its own vision tower. "
        "passthrough: images go to the engine as they are, and its own tower encodes them.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the vision encoder runs.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of encoder and engine. auto: the checkpoint's own."
    )
    kernels: Literal["auto", "triton", "cpu", "reference"] = Field(
        "auto", description="Implementation of the encoder's front end. auto: triton on a GPU, cpu elsewhere."
    )
    encoder_body: Literal["auto", "transformers", "fused", "compiled"] = Field(
        "auto",
        description="Who runs the transformer blocks of the encoder. fused: our own, on a CPU, and for images of any "
        "sizes on a GPU too. transformers: its modules. compiled: these through torch.compile, at the start. auto: "
        "fused where it can run, else transformers.",
    )
    encoder_copies: Literal["auto", "staged", "plain"] = Field(
        "auto",
        description="How batches reach a GPU. staged: in chunks through pinned memory, copies beside the compute. "
        "plain: one copy, waited for. auto: staged where there is a GPU.",
    )
    encoder_graph_bytes: int | None = Field(
        None,
        ge=0,
        description="Most GPU memory for CUDA graphs of the encoder, captured at the start for one tile and as many "
        "more as it holds. 0: none. Default: from the resource plan.",
    )
    encoder_attention: Literal["auto", "flash", "cudnn", "efficient", "math"] = Field(
        "auto",
        description="PyTorch's attention kernel for an encoder on a GPU; one that cannot run is refused at the start. "
        "auto: PyTorch chooses.",
    )
    encoder_batch_patches: int | None = Field(
        None, ge=1, description="Most patches in one encoder batch. Default: from the resource plan."
    )
    encoder_threads: int | None = Field(
        None, ge=1, description="CPU threads of the encoder's device thread. Default: from the resource plan."
    )
    decode_workers: int | None = Field(
        None, ge=1, description="Sandboxed processes that decode images. Default: from the resource plan."
    )
    decode_timeout: float = Field(
        10.0, gt=0, description="Seconds that one image may take to decode and tile."
    )
    arena_bytes: int | None = Field(
        None, ge=MIB, description="Shared memory for soft tokens, in bytes. Default: from the resource plan."
    )
    arena_dir: Path = Field(
        Path("/dev/shm"), description="Where the arena's file lies; encoder and engine must both see it."
    )

    max_body_bytes: int = Field(
        50 * MIB, ge=1024, description="Most bytes of a request body, images as data URLs included."
    )
    max_image_bytes: int = Field(20 * MIB, ge=1024, description="Most bytes of one encoded image.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Most pixels (width × height) of one image.")
    max_request_image_bytes: int = Field(
        64 * MIB, ge=1024, description="Most bytes of all encoded images of one request together."
    )
    max_request_image_pixels: int = Field(
        200_000_000, ge=1, description="Most pixels of all images of one request together."
    )
    max_image_tokens: int | None = Field(
        None,
        ge=1,
        description="Most soft tokens of one image; what would take more is made smaller, also under detail=high. "
        "Default: what the checkpoint's image processor allows.",
    )
    max_images: int = Field(8, ge=1, description="Most images in one request.")
    max_choices: int = Field(8, ge=1, description="Most answers (`n`) to one request.")
    max_inflight: int = Field(
        256, ge=1, description="Requests served at once; more are refused with 429 and a Retry-After."
    )
    body_timeout: float = Field(30.0, gt=0, description="Seconds in which a request body must have arrived.")
    request_timeout: float = Field(
        600.0,
        gt=0,
        description="Seconds after which a request is given up, also when it is its client that does not read.",
    )
    keepalive: float = Field(
        15.0, gt=0, description="Seconds of silence after which a stream carries a keep-alive comment."
    )
    idle_timeout: int = Field(
        75,
        ge=1,
        description="Seconds that a connection without a request stays open. More than any proxy in front keeps it: "
        "else a request meets a connection that is being closed, and clients see a 502.",
    )
    header_timeout: float = Field(
        20.0,
        gt=0,
        description="Seconds in which the headers of a request must have arrived; a connection on which none arrive is "
        "closed.",
    )
    write_timeout: float = Field(
        30.0,
        gt=0,
        description="Seconds for which a client may read nothing of an answer that waits for it; then its "
        "connection is closed and its request ends.",
    )
    max_header_bytes: int = Field(
        64 * 1024,
        ge=1024,
        description="Most bytes of a request's line and headers; more are refused with 431.",
    )
    max_headers: int = Field(100, ge=16, description="Most headers of a request; more are refused with 431.")
    max_connections: int | None = Field(
        None,
        ge=2,
        description="Connections of clients that may be open at once. For one more, the one that has waited longest "
        "for a request is closed; if none waits, the new one is refused with 503. Default: four for each of "
        "max_inflight, or as many as the process's limit of file descriptors leaves room for.",
    )
    drain_timeout: float = Field(
        60.0, ge=0, description="Seconds that running requests have to end after a SIGTERM."
    )

    fetch_timeout: float = Field(10.0, gt=0, description="Seconds in which an image URL must have been read.")
    fetch_connect_timeout: float = Field(
        5.0, gt=0, description="Seconds in which its server must have answered."
    )
    fetch_redirects: int = Field(3, ge=0, le=10, description="Redirects followed; each hop is checked anew.")
    fetch_user_agent: str | None = Field(
        None,
        pattern=r"^[!-~]([ -~]{0,254}[!-~])?$",
        description="User-Agent header with which images are fetched: printable ASCII. Some hosts serve only those "
        "that name a page or an address to write to. Default: patchbay/ and the version.",
    )
    allow_private_urls: bool = Field(
        False,
        description="Also fetch images from private and loopback addresses. A hole into your network: know why.",
    )
    allowed_url_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts from which images may be fetched, separated by commas. None: any public host."
    )

    engine_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#]+/?$",
        description="Base URL of an engine that you start yourself; `patchbay check` shows the command. With "
        "images=handles it must share this machine's shared memory and have Patchbay's plugin.",
    )
    engine_port: int | None = Field(
        None, ge=1, le=65535, description="Loopback port of the engine. Default: any that is free."
    )
    engine_args: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Further flags for vLLM, as a shell would split them; or everything after `--`."
    )
    engine_start_timeout: float = Field(
        900.0, gt=0, description="Seconds that the engine may take to become ready, weights included."
    )
    engine_restart_wait: float = Field(
        5.0, ge=0, description="Seconds a request waits for a restarting engine before it is answered 503."
    )
    gpu_memory_utilization: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the GPU's memory for the engine. Default: from the resource plan.",
    )
    max_model_len: int | None = Field(
        None, ge=64, description="Most tokens of prompt and answer together. Default: the checkpoint's own."
    )

    @property
    def embedded(self) -> bool:
        """Whether the model that comes with Patchbay is served."""
        return self.model == EMBEDDED_MODEL

    @property
    def shows_playground(self) -> bool:
        return self.embedded if self.playground is None else self.playground

    @field_validator("model")
    @classmethod
    def _embedded_by_name(cls, value: str) -> str:
        return EMBEDDED_MODEL if value == EMBEDDED_ALIAS else value

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in ("api_keys", "allowed_url_hosts"):
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
                "engine_args are for an engine that Patchbay starts, and engine_url names one that runs: give one"
            )
        if self.engine_url and self.engine_port:
            raise ValueError(
                "engine_port is for an engine that Patchbay starts, and engine_url names one: give one"
            )
        for name, other in (("port", self.port), ("engine_port", self.engine_port)):
            if self.admin_port is not None and self.admin_port == other:
                raise ValueError(
                    f"admin_port and {name} are both {other}: give each a port of its own, or leave admin_port unset"
                )
        if self.kernels == "triton" and self.device == "cpu":
            raise ValueError(
                "kernels=triton needs a GPU and device=cpu forbids it: choose kernels=cpu or device=cuda"
            )
        if self.encoder_body == "fused" and self.device == "cuda":
            raise ValueError(
                "encoder_body=fused runs on a CPU and device=cuda forbids it: choose encoder_body=transformers or "
                "device=cpu"
            )
        self._possible_on_a_gpu()
        return self

    def _possible_on_a_gpu(self) -> None:
        wanted = {
            "encoder_copies=staged": self.encoder_copies == "staged",
            f"encoder_graph_bytes={self.encoder_graph_bytes}": bool(self.encoder_graph_bytes),
            f"encoder_attention={self.encoder_attention}": self.encoder_attention != "auto",
        }
        for setting, given in wanted.items():
            if given and self.device == "cpu":
                raise ValueError(f"{setting} is for a GPU and device=cpu forbids it: leave one of them out")
        if self.encoder_graph_bytes and self.encoder_copies == "plain":
            raise ValueError(
                "encoder_graph_bytes needs staged copies and encoder_copies=plain forbids them: leave one of them out"
            )


def load(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from command-line flags, which win, and `PATCHBAY_*` variables.

    Raises ConfigurationError: one sentence for each value that is unknown, malformed or impossible.
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
    return f"{name} is no setting of Patchbay.{hint}"


def _sentence(item: Any) -> str:
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    return f"{item['loc'][0]}: {item['msg']} (got {item['input']!r})"
