"""A real vLLM on the CPU with our plugin, and transformers' own model beside it as the reference.

The engine's copy of the checkpoint holds no weight of the vision tower or the projector: it could not load them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks.processes import free_port, wait_ready
from service.arena import ArenaSpec, ArenaStore
from service.arena.store import ArenaLease
from service.domain import Handle, Run, SoftLayout
from service.engine import leash
from service.engine.handles import part
from service.engine.launcher import EngineSpec, HandlesSpec, launch

CHECKPOINT = Path(__file__).parents[3] / "demo" / "model"
MAX_ROWS = 160  # nine tiles and a thumbnail, 16 rows each
VISION = ("vision_tower", "multi_modal_projector")
START_SECONDS = 300


@dataclass(frozen=True)
class Engine:
    url: str
    store: ArenaStore
    tokens: dict[str, int]
    """Ids of the special tokens, by text."""
    leases: list[ArenaLease] = field(default_factory=list)

    def put(self, rows: np.ndarray) -> ArenaLease:
        """Rows, float32 [rows, width], under their content's key, leased until the test ends."""
        raw = np.ascontiguousarray(rows, np.float32).view(np.uint8)
        lease = self.store.put(hashlib.sha256(raw.tobytes()).hexdigest(), raw)
        self.leases.append(lease)
        return lease

    def part(self, key: str, rows: int, **changes: Any) -> dict[str, Any]:
        """The content part of an image, with fields changed or (None) left out."""
        image = self.tokens["<IMG_CONTEXT>"]
        runs = (
            Run(self.tokens["<img>"], 1, False),
            Run(image, rows, True),
            Run(self.tokens["</img>"], 1, False),
        )
        made = part(Handle(key, SoftLayout((image,), runs)))
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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that a training that goes on does not change it meanwhile."""
    return Path(shutil.copytree(CHECKPOINT, tmp_path_factory.mktemp("checkpoint") / "model"))


@pytest.fixture(scope="session")
def towerless(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.numpy import load_file, save_file

    copy = Path(shutil.copytree(checkpoint, tmp_path_factory.mktemp("towerless") / "model"))
    weights = load_file(copy / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not any(part in name for part in VISION)}
    assert 0 < len(kept) < len(weights)
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.fixture(scope="session")
def store(checkpoint: Path) -> Iterator[ArenaStore]:
    width = json.loads((checkpoint / "config.json").read_text())["text_config"]["hidden_size"]
    store = ArenaStore(
        f"/dev/shm/patchbay-test-{os.getpid()}", ArenaSpec.for_budget(2**20, width, "float32", MAX_ROWS)
    )
    yield store
    store.close()


@pytest.fixture(scope="session")
def running(
    checkpoint: Path, towerless: Path, store: ArenaStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The base URL of the engine, which is started once."""
    port = free_port()
    architecture = json.loads((checkpoint / "config.json").read_text())["architectures"][0]
    spec = EngineSpec(
        model=str(towerless),
        served_model_name="m",
        port=port,
        device="cpu",
        dtype="float32",
        max_model_len=1024,
        max_batched_tokens=256,  # images cross steps, and do not all fit vLLM's encoder cache
        kv_cache_bytes=2**27,
        handles=HandlesSpec(store.path, store.spec.width, MAX_ROWS, architecture),
    )
    start = launch(spec, os.environ)
    log = tmp_path_factory.mktemp("engine") / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-I", "-S", leash.__file__, "10", *start.argv],
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


@pytest.fixture
def engine(running: str, store: ArenaStore, checkpoint: Path) -> Iterator[Engine]:
    engine = Engine(running, store, special_tokens(checkpoint))
    yield engine
    for lease in engine.leases:
        lease.release()


def special_tokens(checkpoint: Path) -> dict[str, int]:
    added = json.loads((checkpoint / "tokenizer.json").read_text())["added_tokens"]
    return {token["content"]: token["id"] for token in added}
