"""A real vLLM on the CPU with our plugin, on a checkpoint of any family.

The engine's copy of the checkpoint holds no weight of the vision tower or the projector: it could not load them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np

from benchmarks.processes import free_port, wait_ready
from service.arena import ArenaSpec, ArenaStore
from service.arena.store import ArenaLease
from service.domain import Handle, SoftLayout
from service.engine import reaper
from service.engine.handles import part
from service.engine.launcher import EngineSpec, HandlesSpec, launch

START_SECONDS = 300

Grid = tuple[int, int, int]
Layout = Callable[[int, Grid | None], SoftLayout]
"""How a family lays out an image of so many rows and of that grid, if it needs one."""


@dataclass(frozen=True)
class Engine:
    url: str
    store: ArenaStore
    layout: Layout
    leases: list[ArenaLease] = field(default_factory=list)

    def put(self, rows: np.ndarray) -> ArenaLease:
        """Rows, float32 [rows, width], under their content's key, leased until the test ends."""
        raw = np.ascontiguousarray(rows, np.float32).view(np.uint8)
        lease = self.store.put(hashlib.sha256(raw.tobytes()).hexdigest(), raw)
        self.leases.append(lease)
        return lease

    def part(self, key: str, rows: int, grid: Grid | None = None, **changes: Any) -> dict[str, Any]:
        """The content part of an image, with fields changed or (None) left out."""
        made = part(Handle(key, self.layout(rows, grid)))
        fields = {**made["image_embeds"], **changes}
        return {**made, "image_embeds": {name: value for name, value in fields.items() if value is not None}}

    def body(self, content: Sequence[dict[str, Any]], **options: Any) -> dict[str, Any]:
        return {
            "model": "m",
            "messages": [{"role": "user", "content": list(content)}],
            "max_tokens": 12,
            "temperature": 0,
            "logprobs": True,
            "return_token_ids": True,
            **options,
        }

    def ask(self, *content: dict[str, Any], question: str = "What is it?", **options: Any) -> httpx.Response:
        body = self.body([*content, {"type": "text", "text": question}], **options)
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=120)

    def gather(self, bodies: Sequence[dict[str, Any]]) -> list[httpx.Response]:
        """All of them at once."""

        async def together() -> list[httpx.Response]:
            async with httpx.AsyncClient(timeout=120) as client:
                url = f"{self.url}/v1/chat/completions"
                return await asyncio.gather(*(client.post(url, json=body) for body in bodies))

        return asyncio.run(together())

    def release(self) -> None:
        for lease in self.leases:
            lease.release()


def same(one: tuple[str, list[float]], other: tuple[str, list[float]]) -> bool:
    return one[0] == other[0] and np.allclose(one[1], other[1], atol=2e-3)


def answer(reply: httpx.Response) -> tuple[str, list[float]]:
    assert reply.status_code == 200, reply.text
    choice = reply.json()["choices"][0]
    return choice["message"]["content"], [token["logprob"] for token in choice["logprobs"]["content"]]


def cached_tokens(reply: httpx.Response) -> int:
    return int(reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


def special_tokens(checkpoint: Path) -> dict[str, int]:
    """Ids by text."""
    added = json.loads((checkpoint / "tokenizer.json").read_text())["added_tokens"]
    return {token["content"]: token["id"] for token in added}


def without_tower(checkpoint: Path, folder: Path, *tower: str) -> Path:
    """A copy in `folder` without the tensors in whose names one of `tower` stands."""
    from safetensors.numpy import load_file, save_file

    copy = Path(shutil.copytree(checkpoint, folder / "model"))
    weights = load_file(copy / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not any(part in name for part in tower)}
    assert 0 < len(kept) < len(weights)
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@contextmanager
def arena_for(checkpoint: Path, max_tokens: int) -> Iterator[ArenaStore]:
    width = json.loads((checkpoint / "config.json").read_text())["text_config"]["hidden_size"]
    store = ArenaStore(
        f"/dev/shm/patchbay-test-{os.getpid()}-{uuid4().hex[:8]}",
        ArenaSpec.for_budget(2**20, width, "float32", max_tokens),
    )
    try:
        yield store
    finally:
        store.close()


@contextmanager
def running_engine(checkpoint: Path, store: ArenaStore, max_tokens: int, log: Path) -> Iterator[str]:
    """The base URL of an engine that answers."""
    architecture = json.loads((checkpoint / "config.json").read_text())["architectures"][0]
    spec = EngineSpec(
        model=str(checkpoint),
        served_model_name="m",
        port=free_port(),
        device="cpu",
        dtype="float32",
        max_model_len=1024,
        max_batched_tokens=256,  # images cross steps, and do not all fit vLLM's encoder cache
        kv_cache_bytes=2**27,
        handles=HandlesSpec(store.path, store.spec.width, max_tokens, architecture),
    )
    start = launch(spec, os.environ)
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__, "10", *start.argv],
            env=start.environment,
            stdin=subprocess.PIPE,  # its end, even by a kill of pytest, ends the engine
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as child,
    ):
        wait_ready(f"{spec.base_url}/health", child, log, START_SECONDS)
        yield spec.base_url
        child.terminate()
