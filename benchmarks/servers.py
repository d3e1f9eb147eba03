"""Patchbay, and vLLM's own server alone, as commands for a benchmark that asks both the same.

vLLM alone gets the flags that Patchbay would give it for images that it handles itself (`--images passthrough`), and
as many compute threads as are asked for. Starts nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.processes import free_port
from service.app.prepare import prepare
from service.engine.launcher import CPU_BLOCK_TOKENS, SERVER, launch
from service.settings import load

KV_CACHE_BYTES = 1 << 30
PATCHBAY = (sys.executable, "-c", "from service.cli import main; raise SystemExit(main())")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that can be started: its command, and the URL that answers 200 when it is ready."""

    name: str
    url: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    ready: str


def patchbay(model: str, engine_args: Sequence[str], settings: Sequence[str] = ()) -> Server:
    port, engine = free_port(), free_port()
    argv = (*PATCHBAY, "serve", model, "--port", str(port), "--engine-port", str(engine), *settings)
    url = f"http://127.0.0.1:{port}"
    further = ("--", *engine_args) if engine_args else ()
    return Server("patchbay", url, (*argv, *further), os.environ, f"{url}/readyz")


def vllm_alone(
    model: str, engine_args: Sequence[str], threads: int, kv_cache_bytes: int | None = None
) -> Server:
    """With Patchbay's own plan for the KV cache unless another size is given. Raises ConfigurationError where Patchbay
    itself could not start this model."""
    port = free_port()
    asked = {"model": model, "images": "passthrough", "engine_port": port, "engine_args": tuple(engine_args)}
    spec = replace(prepare(load(asked)).engine, cpu_threads=threads, large_steps=None)
    if kv_cache_bytes is not None:
        spec = replace(spec, kv_cache_bytes=kv_cache_bytes)
    made = launch(spec, os.environ)
    url = f"http://127.0.0.1:{port}"
    return Server("vllm", url, made.argv, made.environment, f"{url}/health")


def vllm_by_default(model: str) -> Server:
    """As vLLM starts when it is told nothing but the model and the size of its KV cache."""
    return _vllm("vllm, default", model, (), {})


def vllm_by_an_expert(model: str, cores: Sequence[int]) -> Server:
    """On a CPU: every core, blocks small enough for the prefix cache, images shared through memory, compiled."""
    flags = ("--block-size", str(CPU_BLOCK_TOKENS), "--mm-processor-cache-type", "shm", "-O2")
    bound = {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores))}
    return _vllm("vllm, tuned", model, flags, bound)


def _vllm(name: str, model: str, flags: Sequence[str], variables: Mapping[str, str]) -> Server:
    port = free_port()
    argv = (sys.executable, "-m", SERVER, "--model", model, "--host", "127.0.0.1", "--port", str(port))
    quiet = ("--kv-cache-memory-bytes", str(KV_CACHE_BYTES), "--disable-uvicorn-access-log")
    url = f"http://127.0.0.1:{port}"
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    return Server(name, url, (*argv, *quiet, *flags), os.environ | offline | variables, f"{url}/health")
