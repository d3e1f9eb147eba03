"""What one of vLLM's model classes says of itself, read from its source without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

MODELS = "model_executor/models"
LIMITS = "get_supported_mm_limits"
"""The method that returns how many items of each modality a prompt may have."""
TRANSCRIBES = "supports_transcription_only"
NO_IMAGES = frozenset({"audio", "video"})


@dataclass(frozen=True, slots=True)
class ModelClass:
    takes_images: bool
    """False only where the class lists what it takes, and images are not among it."""
    only_transcribes: bool
    """Such a class writes down speech, and has no chat."""


UNKNOWN = ModelClass(takes_images=True, only_transcribes=False)


@cache
def model_class(module: str, name: str) -> ModelClass:
    """Of the class `name` in the `module` that vLLM's registry has for it; `UNKNOWN` where there is no such file."""
    spec = find_spec("vllm")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return UNKNOWN
    inner = (
        module.removeprefix("vllm.").replace(".", "/") if module.startswith("vllm.") else f"{MODELS}/{module}"
    )
    file = Path(folders[0]) / f"{inner}.py"
    return read_class(file.read_text(), name) if file.is_file() else UNKNOWN


def read_class(source: str, name: str) -> ModelClass:
    """The same from a module's source."""
    tree = ast.parse(source)
    listed = [_modalities(node) for node in _functions(tree) if node.name == LIMITS]
    known = bool(listed) and all(each is not None and each <= NO_IMAGES for each in listed)
    return ModelClass(not known, any(_transcribes(node) for node in tree.body if _is_class(node, name)))


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _is_class(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == name


def _modalities(function: ast.FunctionDef) -> frozenset[str] | None:
    """The keys of the dictionary that the function returns; None when it computes them."""
    (*_, last) = function.body
    if len(function.body) > 1 or not isinstance(last, ast.Return) or not isinstance(last.value, ast.Dict):
        return None
    keys = [key.value if isinstance(key, ast.Constant) else None for key in last.value.keys]
    return frozenset(str(key) for key in keys) if None not in keys else None


def _transcribes(made: ast.stmt) -> bool:
    body = made.body if isinstance(made, ast.ClassDef) else []
    return any(
        isinstance(line, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == TRANSCRIBES for target in line.targets)
        and isinstance(line.value, ast.Constant)
        and line.value.value is True
        for line in body
    )
