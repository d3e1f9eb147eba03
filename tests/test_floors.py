"""Imports go down, never up; the gateway needs no torch; nothing is unpickled."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    {
        "service",
        "service.encoder",
        "service.domain",
        "service.errors",
        "service.settings",
        "service.telemetry.timeline",
    },
    {
        *(
            "service.planning.machine",
            "service.planning.gpus",
            "service.checkpoint.summary",
            "service.planning.plan",
            "service.planning.compute",
            "service.ingest",
            "service.image_header",
        ),
        *("service.families", "service.decode", "service.decode.tiling", "service.telemetry.metrics"),
        *(
            "service.pipeline.together",
            "service.pipeline.scope",
            "service.encoder.single_flight",
            "service.telemetry.logs",
            "service.telemetry.tracing",
            "service.telemetry.otel",
        ),
    },
    {
        *(
            "service.pipeline.admission",
            "service.encoder.packing",
            "service.encoder.batcher",
            "service.arena",
            "service.encoder.local",
        ),
        *(
            "service.engine",
            "service.families.fitting",
            "service.pipeline.handover",
            "service.encoder.staging",
        ),
    },
    {"service.pipeline.chat", "service.app.selfcheck", "service.app.prepare", "service.planning.sizing"},
    {"service.api", "service.playground"},
    {"service.app.service", "service.app.build", "service.app.server", "service.cli"},
]
TOWERS = {
    *("service.families.towers", "service.families.internvl.tower", "service.families.qwen_vl.tower"),
    *("service.encoder.local", "service.encoder.staging"),
}
FILES = sorted(path for folder in ("service", "kernels") for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor_of(module: str) -> int:
    while module:
        for number, floor in enumerate(FLOORS):
            if module in floor and (module != "service" or number == 0):
                return number
        module = module.rpartition(".")[0]
        if module == "service":
            break
    raise AssertionError(f"{module}: on no floor")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down(path: Path) -> None:
    module = module_of(path)
    for imported in imports(path):
        top = imported.partition(".")[0]
        assert top not in {"demo", "tests", "benchmarks"}, f"{module} imports {imported}"
        if top == "kernels" and module.startswith("service"):
            assert module in TOWERS or module.startswith("service.cli"), f"{module} imports {imported}"
        if top == "service":
            assert not module.startswith("kernels"), f"{module} imports {imported}"
            assert floor_of(imported) <= floor_of(module), f"{module} imports {imported}, which is above it"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_is_unpickled(path: Path) -> None:
    assert not {"pickle", "cloudpickle", "dill", "marshal", "shelve"} & set(imports(path))
    text = path.read_text()
    assert "torch.load(" not in text
    assert "allow_pickle=True" not in text


def test_the_gateway_needs_neither_torch_nor_vllm() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'vllm', 'transformers', 'safetensors'): sys.modules[name] = None\n"
        "import service.pipeline.chat, service.pipeline.handover, service.api, service.app.selfcheck, service.families\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
