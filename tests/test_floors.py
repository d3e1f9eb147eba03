"""Imports go down, never up and never round; the gateway needs no torch; nothing is unpickled."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {  # from the ground up: a room imports from those that it names, each of which stands above it in this list
    "errors": "",
    "deadline": "",
    "settings": "errors",
    "telemetry": "errors",
    "domain": "errors telemetry",
    "keys": "errors domain",
    "image_header": "domain",
    "arena": "errors",
    "checkpoint": "errors",
    "families": "errors domain checkpoint kernels",
    "planning": "errors domain arena checkpoint families",
    "decode": "errors domain image_header",
    "ingest": "errors domain telemetry image_header",
    "encoder": "errors domain telemetry arena families planning kernels",
    "engine": "errors domain arena",
    "pipeline": "errors deadline domain telemetry families ingest engine",
    "api": "errors deadline domain telemetry keys",
    "playground": "",
    "server": "errors api",
    "app": "errors settings domain telemetry keys arena checkpoint families planning decode ingest encoder engine "
    "pipeline api playground server",
    "cli": "errors settings domain telemetry keys arena checkpoint families planning encoder engine api server app "
    "kernels",
}
GATEWAY = (
    "ingest image_header pipeline.chat pipeline.handover families api app.selfcheck app.service app.start"
)
"""What a gateway without an encoder imports."""
FILES = sorted(path for folder in ("service", "kernels") for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """`service.arena.store` is in the room `arena`; what is not in `service` is a room by its first name."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "service" else first


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            # a name may be a module of its own
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = {module_of(path): path for path in FILES}


def ours(path: Path) -> set[str]:
    """The modules of `service` and `kernels` that a file imports."""
    return {name for name in imports(path) if name in MODULES and name != module_of(path)}


def test_a_room_names_only_rooms_that_stand_above_it_in_the_list() -> None:
    seen = {"kernels"}
    for room, may in ROOMS.items():
        assert seen.issuperset(may.split()), f"{room} names a room that stands below it in the list"
        seen.add(room)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down(path: Path) -> None:
    module = module_of(path)
    tops = {name.partition(".")[0] for name in imports(path)}
    assert not tops & {"demo", "tests", "benchmarks", "loadtests"}, module
    if module.startswith("kernels"):
        assert "service" not in tops, module
        return
    room = room_of(module)
    allowed = {room, "", *ROOMS[room].split()} if room else set()
    for imported in ours(path):
        assert room_of(imported) in allowed, f"{module} imports {imported}"


def test_the_plugin_inside_vllm_imports_little_of_the_service() -> None:
    for path in (ROOT / "service/engine/plugin").glob("*.py"):
        for imported in ours(path):
            assert imported.startswith(
                ("service.engine.plugin", "service.engine.handles", "service.arena")
            ) or (imported in {"service.domain", "service.errors"}), f"{module_of(path)} imports {imported}"


def test_no_imports_go_round() -> None:
    graph = {module: ours(path) for module, path in MODULES.items()}
    for package in [module for module, path in MODULES.items() if path.name == "__init__.py"]:
        # a package's face imports its files, which may not ask the face for one another
        graph[package] = {name for name in graph[package] if not name.startswith(package + ".")}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_is_unpickled(path: Path) -> None:
    assert not {"pickle", "cloudpickle", "dill", "marshal", "shelve"} & set(imports(path))
    text = path.read_text()
    assert "torch.load(" not in text
    assert "allow_pickle=True" not in text


def test_the_gateway_needs_neither_torch_nor_vllm() -> None:
    code = (
        "import importlib, sys\n"
        "for name in ('torch', 'vllm', 'transformers', 'safetensors'): sys.modules[name] = None\n"
        f"for name in {GATEWAY.split()!r}: importlib.import_module('service.' + name)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
