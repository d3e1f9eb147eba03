"""Which model classes vLLM has, read from its registry without importing it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from service.engine.model_class import UNKNOWN, ModelClass, model_class
from service.errors import ConfigurationError

REGISTRY = "model_executor/models/registry.py"
GENERATING = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS")
MULTIMODAL = "_MULTIMODAL_MODELS"
DROPPED = "_PREVIOUSLY_SUPPORTED_MODELS"
NEVER = {
    "Idefics2ForConditionalGeneration": "Idefics3ForConditionalGeneration",
    "IdeficsForVisionText2Text": "Idefics3ForConditionalGeneration",
    "InstructBlipForConditionalGeneration": "Blip2ForConditionalGeneration",
    "Florence2ForConditionalGeneration": "PaliGemmaForConditionalGeneration",
    "MllamaForConditionalGeneration": "Llama4ForConditionalGeneration",
}
"""What vLLM does not serve although people ask for it, and what is near."""


@dataclass(frozen=True, slots=True)
class Architectures:
    """Names of model classes."""

    generating: frozenset[str]
    """Those that answer in words."""
    multimodal: frozenset[str]
    """Of these, those that take images, audio or video."""
    others: frozenset[str]
    """Those that embed, classify or score."""
    dropped: Mapping[str, str]
    """What an earlier vLLM had, and the last version that did."""
    classes: Mapping[str, tuple[str, str]]
    """Module and class of each that is multimodal."""

    def check(self, architecture: str) -> None:
        """Raises ConfigurationError for a class that vLLM is known not to serve as a chat model.

        A class that is in no list may be served through transformers, which vLLM itself finds out at its start.
        """
        if self._class(architecture).only_transcribes:
            raise ConfigurationError(
                f"model: {architecture} writes down speech and answers no chat requests; vLLM's own server transcribes "
                "with it, at /v1/audio/transcriptions"
            )
        if architecture in self.generating:
            return
        if architecture in NEVER:
            raise ConfigurationError(
                f"model: vLLM does not serve {architecture}; near it is {NEVER[architecture]}"
            )
        if (last := self.dropped.get(architecture)) is not None:
            raise ConfigurationError(
                f"model: vLLM {last} was the last to serve {architecture}{self._near(architecture)}"
            )
        if architecture in self.others:
            raise ConfigurationError(
                f"model: {architecture} embeds or classifies, and answers no chat requests{self._near(architecture)}"
            )

    def takes_images(self, architecture: str) -> bool:
        """Whether it may: False only for a class that is known to take text alone, or audio and video beside it."""
        return architecture not in self.generating or (
            architecture in self.multimodal and self._class(architecture).takes_images
        )

    def _class(self, architecture: str) -> ModelClass:
        named = self.classes.get(architecture)
        return model_class(*named) if named else UNKNOWN

    def _near(self, architecture: str) -> str:
        near = difflib.get_close_matches(architecture, sorted(self.generating), n=1, cutoff=0.7)
        return f"; near it is {near[0]}" if near else ""


@cache
def installed() -> Architectures | None:
    """Those of the vLLM that is installed here; None without one."""
    spec = find_spec("vllm")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return None
    file = Path(folders[0]) / REGISTRY
    return read(file.read_text()) if file.is_file() else None


def read(source: str) -> Architectures:
    """From the source of vLLM's registry: its tables are literal dictionaries."""
    tables, classes = {}, {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                tables[target.id] = _literal(node.value)
                classes[target.id] = _pairs(node.value)
    generating = frozenset().union(*(tables.get(name, {}) for name in GENERATING))
    models = frozenset().union(*(names for table, names in tables.items() if table.endswith("_MODELS")))
    dropped = {name: version for name, version in tables.get(DROPPED, {}).items() if name not in generating}
    return Architectures(
        generating,
        frozenset(tables.get(MULTIMODAL, {})),
        models - generating - dropped.keys(),
        dropped,
        classes.get(MULTIMODAL, {}),
    )


def _literal(table: ast.Dict) -> dict[str, str]:
    """Keys, and those values that are text."""
    return {
        key.value: str(value.value) if isinstance(value, ast.Constant) else ""
        for key, value in zip(table.keys, table.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _pairs(table: ast.Dict) -> dict[str, tuple[str, str]]:
    """Keys, and those values that are a pair of texts."""
    found = {}
    for key, value in zip(table.keys, table.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
            texts = [str(part.value) for part in value.elts if isinstance(part, ast.Constant)]
            if len(texts) == 2:
                found[str(key.value)] = (texts[0], texts[1])
    return found
