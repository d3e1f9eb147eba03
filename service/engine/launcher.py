"""The command line and the environment with which vLLM's OpenAI server is started.

A pure function of an `EngineSpec`: every flag and variable that Patchbay sets is here, with its reason. Written for
vLLM 0.32. `supervisor` runs the result.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from service.domain import LanguageModel, LargeSteps
from service.engine.flags import check_flags, flag_names
from service.engine.handles import PLUGIN_VERSION
from service.errors import ConfigurationError

# the `vllm` command fails under the CPU wheel, which lacks the metadata of a distribution called vllm
SERVER = "vllm.entrypoints.launchers.api_server.entry"
CPU_BLOCK_TOKENS = 32
"""With the CPU build's default of 128, no prompt shorter than that could hit the prefix cache."""
STRUCTURED_OUTPUTS = {"backend": "xgrammar", "disable_any_whitespace": True}
"""White space between values would be allowed without end, and small models write it without end. The backend is named
because with vLLM's own choice the first request would decide it for all that follow."""
HUGGING_FACE = {"config-format": "hf", "tokenizer-mode": "hf", "load-format": "safetensors"}
"""Geometry and encoder read these files. Mistral's checkpoints hold others beside them, which vLLM would take first: of
another model class, with another tokenizer."""
CALL_FORMATS = {"<function=": "qwen3_coder", "<arg_key>": "glm45"}
"""What templates of Qwen3.5 and Qwen3-Coder, and of GLM from 4.5 on, write within `<tool_call>`, where Qwen2.5 and
Qwen3 write JSON: vLLM's name of the parser."""
MODALITIES = ("image", "video", "audio")
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
NOT_INHERITED = ("PATCHBAY_", "VLLM_API_KEY")
"""Patchbay's own settings contain secrets; and if vLLM found an API key, it would require it of Patchbay."""


@dataclass(frozen=True, slots=True)
class HandlesSpec:
    """What vLLM's side of the handover must know."""

    arena_path: str
    width: int
    """Values in a row of soft tokens."""
    max_tokens: int
    """Soft tokens of the largest image."""
    architecture: str
    """vLLM's name for the model class."""
    language: LanguageModel | None = None
    """Where vLLM has no such class, what the plugin's own serves."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine. Raises ConfigurationError at once for a combination that cannot work."""

    model: str
    """A folder, or a hub id."""
    served_model_name: str
    port: int
    device: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16", "float16", "auto"]
    max_model_len: int | None
    """None: the checkpoint's own, as vLLM finds it."""
    handles: HandlesSpec | None
    """None: pass-through, images are passed on to the engine unchanged."""
    tower: Literal["absent", "loaded", "present"] = "absent"
    """Whether the engine has a vision tower of its own: not at all, loaded without being used, or for raw images."""
    revision: str | None = None
    max_batched_tokens: int | None = None
    cpu_threads: int = 1
    """Compute threads on a CPU. More than one is faster only for models that keep the cores busy in every layer."""
    large_steps: LargeSteps | None = None
    """Steps that are worth more threads than that. Ignored if the operator sets OMP_NUM_THREADS."""
    compiled: bool = False
    """Whether vLLM compiles the model with torch.compile, and on a GPU captures CUDA graphs of it."""
    kv_cache_bytes: int | None = None
    """Size of the KV cache on a CPU; on a GPU it is what remains of vLLM's share of the memory."""
    gpu_memory_utilization: float | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    first_gpu: int = 0
    """The first of its GPUs, counted among those that the process that starts it sees: the encoder may have one."""
    by_priority: bool = False
    """Whether waiting requests are scheduled by their `priority`, lowest first, rather than in order of arrival."""
    tool_call_parser: str | None = None
    """vLLM's name for the model's format of tool calls; without one vLLM refuses requests with tools (400)."""
    otlp_traces_url: str | None = None
    """Where the engine sends its spans, children of the gateway's, over OTLP/HTTP."""
    extra_args: tuple[str, ...] = field(default=())
    """The operator's own flags for vLLM."""

    def __post_init__(self) -> None:
        check_flags(self.extra_args)
        if self.handles is None and self.tower != "present":
            raise ConfigurationError("images=passthrough requires the engine's own vision tower")
        if self.device == "cuda" and self.gpu_memory_utilization is None:
            raise ConfigurationError(
                "an engine on a GPU requires its share of the memory: gpu_memory_utilization"
            )
        if self.device == "cpu" and self.kv_cache_bytes is None:
            raise ConfigurationError("an engine on a CPU requires the size of its KV cache: kv_cache_bytes")
        if self.cpu_threads < 1:
            raise ConfigurationError(f"cpu_threads is {self.cpu_threads}; the engine needs at least 1")

    @property
    def ranks(self) -> int:
        """Processes that compute, each with a part of the model."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def compiles(self) -> bool:
        """Whether vLLM compiles the model: the operator's flags have the last word."""
        return self.compiled or _optimized(self.extra_args) or "--no-enforce-eager" in self.extra_args


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line and the complete environment of the process that it starts."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    leftovers: tuple[str, ...] = ()
    """Files that whoever starts it holds locked, and that are to be removed should it be killed."""


def launch(spec: EngineSpec, inherited: Mapping[str, str]) -> Launch:
    """How to start `spec`; `inherited` is the environment of the process that starts it.

    The operator's own flags come last and so override Patchbay's; variables that the operator has set are kept.
    """
    environment = {name: value for name, value in inherited.items() if not name.startswith(NOT_INHERITED)}
    argv = (sys.executable, "-m", SERVER, *_flags(spec), *spec.extra_args)
    leftovers = (spec.handles.arena_path,) if spec.handles is not None else ()
    gpus = _gpus(spec, inherited.get(VISIBLE_GPUS))
    steps = {} if "OMP_NUM_THREADS" in environment else _large_steps(spec)
    return Launch(argv, {**_defaults(spec), **environment, **_contract(spec), **steps, **gpus}, leftovers)


def describe(spec: EngineSpec) -> str:
    """The command that starts `spec`, quoted for a shell."""
    made = launch(spec, {})
    return shlex.join(["env", *(f"{name}={value}" for name, value in made.environment.items()), *made.argv])


def tool_call_parser(template: str | None) -> str | None:
    """The parser for a checkpoint's chat template, or None if only the operator can know it.

    If the template writes `<tool_call>`, what is within tells the format. `hermes` also if it does not mention tools:
    then the model calls a tool only if a request forces it, and the parser that forces the call is the one that reads
    it.
    """
    if template is None or "tools" not in template:
        return "hermes"
    if "<tool_call>" not in template:
        return None
    return next((parser for within, parser in CALL_FORMATS.items() if within in template), "hermes")


def _flags(spec: EngineSpec) -> list[str]:
    values: dict[str, object] = {
        "model": spec.model,
        "served-model-name": spec.served_model_name,
        "host": "127.0.0.1",
        "port": spec.port,
        "dtype": spec.dtype,
        "uvicorn-log-level": "warning",
    }
    switches = ["enable-prompt-tokens-details", "disable-uvicorn-access-log", "disable-fastapi-docs"]
    if spec.max_model_len is not None:
        values["max-model-len"] = spec.max_model_len
    if spec.revision is not None:
        values["revision"] = spec.revision
    if spec.max_batched_tokens is not None:
        values["max-num-batched-tokens"] = spec.max_batched_tokens
    if spec.device == "cpu":
        values |= {"block-size": CPU_BLOCK_TOKENS, "kv-cache-memory-bytes": spec.kv_cache_bytes}
    else:
        values["gpu-memory-utilization"] = spec.gpu_memory_utilization
    for name, size in (("tensor", spec.tensor_parallel_size), ("pipeline", spec.pipeline_parallel_size)):
        if size > 1:
            values[f"{name}-parallel-size"] = size
    if not spec.compiles:
        switches.append("enforce-eager")
    elif spec.device == "cpu" and not _optimized(spec.extra_args):
        values["optimization-level"] = 1  # the least that compiles
    if spec.handles is not None:
        values["ec-transfer-config"] = json.dumps(_transfer(spec.handles))
        switches.append("enable-mm-embeds")
        values |= HUGGING_FACE
    if spec.handles is None:
        # Patchbay is the only client and uses them to pass on the level of detail
        switches.append("trust-request-mm-kwargs")
    if spec.by_priority:
        values["scheduling-policy"] = "priority"
    if spec.tower != "present":
        # one modality that is allowed loads the tower. Videos, which Patchbay never sends: images stay handles alone
        allowed = {"video": 1} if spec.tower == "loaded" else {}
        values["limit-mm-per-prompt"] = json.dumps({**dict.fromkeys(MODALITIES, 0), **allowed})
    if spec.tower == "loaded":
        switches.append("skip-mm-profiling")
    if spec.tool_call_parser is not None and "--tool-call-parser" not in flag_names(spec.extra_args):
        values["tool-call-parser"] = spec.tool_call_parser
        switches.append("enable-auto-tool-choice")
    if "--structured-outputs-config" not in flag_names(spec.extra_args):
        values["structured-outputs-config"] = json.dumps(STRUCTURED_OUTPUTS)
    if spec.otlp_traces_url is not None:
        values["otlp-traces-endpoint"] = spec.otlp_traces_url
    given = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return [*given, *(f"--{name}" for name in switches)]


def _optimized(words: tuple[str, ...]) -> bool:
    """Whether the operator's flags say how to compile."""
    named = {"--optimization-level", "--compilation-config"} & flag_names(words)
    return bool(named) or any(word.startswith(("-O", "-cc")) for word in words)


def _transfer(handles: HandlesSpec) -> dict[str, object]:
    return {
        "ec_connector": "ArenaConnector",
        "ec_role": "ec_consumer",
        "ec_connector_module_path": "service.engine.plugin.connector",
        "ec_connector_extra_config": {"arena": handles.arena_path, "width": handles.width},
    }


def _defaults(spec: EngineSpec) -> dict[str, str]:
    """Variables that the operator may override."""
    variables = {"NO_COLOR": "1"}
    if Path(spec.model).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    if spec.otlp_traces_url is not None:
        # vLLM's own default is gRPC
        variables |= {
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "patchbay-engine",
        }
    if spec.device == "cpu":
        variables |= {
            # the model runs in the engine core's process: one process less to start, and none that busy-waits beside it
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": str(spec.cpu_threads),
            # threads that busy-wait would starve gateway and encoder, which share the cores
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        if spec.ranks > 1:
            # vLLM would bind each rank to a NUMA node of its own, and refuse where there are fewer
            variables["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        if not spec.compiles:
            # otherwise the first request for log probabilities waits 18 s while vLLM compiles C++ for its sampler
            variables["TORCH_COMPILE_DISABLE"] = "1"
    return variables


def _contract(spec: EngineSpec) -> dict[str, str]:
    """Variables that the operator cannot override."""
    variables = {
        "PYTHONSAFEPATH": "1",  # a folder named torch in the working directory must not become the engine's torch
        "PYTHONUNBUFFERED": "1",
        # vLLM's server in Rust would take requests past our processor
        "VLLM_USE_RUST_FRONTEND": "0",
        "PATCHBAY_ENGINE": "1",  # asks our plugin for its mends of vLLM
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
    }
    if spec.handles is not None:
        settings = {
            "architecture": spec.handles.architecture,
            "max_tokens": spec.handles.max_tokens,
            "version": PLUGIN_VERSION,
            **({"language": asdict(spec.handles.language)} if spec.handles.language else {}),
        }
        variables["PATCHBAY_PLUGIN"] = json.dumps(settings)
    return variables


def _large_steps(spec: EngineSpec) -> dict[str, str]:
    return {"PATCHBAY_LARGE_STEPS": json.dumps(asdict(spec.large_steps))} if spec.large_steps else {}


def _gpus(spec: EngineSpec, named: str | None) -> dict[str, str]:
    """Hides the GPUs before its first from the engine; `named` are those that the process that starts it sees."""
    if spec.device == "cpu" or not spec.first_gpu:
        return {}
    last = spec.first_gpu + spec.ranks
    seen = [str(index) for index in range(last)] if named is None else named.split(",")
    return {VISIBLE_GPUS: ",".join(name.strip() for name in seen[spec.first_gpu : last])}
