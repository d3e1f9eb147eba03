"""vLLM's own model class of an architecture, with a processor that also takes handles.

The class changes in nothing else: weights, layers and forward pass are vLLM's. Where vLLM has none, `language` makes
one. It is made when vLLM asks this module for it by name, so that registering it imports no model code.
"""

from __future__ import annotations

import os
from typing import Any

import vllm
from vllm import ModelRegistry

from service.engine.plugin.contract import VARIABLE, PluginSettings

IN_TREE = "InTree"
"""Before an architecture, the name under which vLLM's registry keeps the class that was put behind."""


def put_in_front(settings: PluginSettings) -> None:
    """Makes vLLM take a class of this module for the architecture; twice is harmless. Raises ValueError."""
    models, architecture = ModelRegistry.models, settings.architecture
    if IN_TREE + architecture in models:
        return
    if architecture in models:
        models[IN_TREE + architecture] = models[architecture]
    elif settings.language is None:
        raise ValueError(f"vLLM {vllm.__version__} has no model class named {architecture!r}")
    # vLLM caches what it learns about a class under its name: its version keeps that cache honest
    ModelRegistry.register_model(architecture, f"{__name__}:{architecture}__{vllm.__version__}")


def __getattr__(name: str) -> Any:
    base = _behind(name.partition("__")[0])
    if base is None:
        raise AttributeError(name)
    made = _with_handles(base)
    globals()[name] = made
    return made


def _behind(architecture: str) -> Any:
    """The class that handles are put in front of; None where there is none."""
    if (own := ModelRegistry.models.get(IN_TREE + architecture)) is not None:
        return own.load_model_cls()
    settings = PluginSettings.from_json(text) if (text := os.environ.get(VARIABLE)) else None
    if settings is None or settings.architecture != architecture or settings.language is None:
        return None
    from service.engine.plugin.language import model_of

    return model_of(settings.language)


def _with_handles(base: Any) -> Any:
    from vllm.multimodal import MULTIMODAL_REGISTRY

    from service.engine.plugin.media import refuse_tensors
    from service.engine.plugin.processor import HandleInfo, HandleProcessor, graft

    refuse_tensors()
    factories = base._processor_factory
    soft = type(
        base.__name__, (base,), {"__module__": __name__, "get_placeholder_str": _for_embeddings(base)}
    )
    return MULTIMODAL_REGISTRY.register_processor(
        lambda info, dummy_inputs: graft(factories.processor(info, dummy_inputs), HandleProcessor),
        info=lambda context: graft(factories.info(context), HandleInfo),
        dummy_inputs=factories.dummy_inputs,
    )(soft)


def _for_embeddings(base: Any) -> Any:
    """For `image_embeds`, which handles are to vLLM, the placeholder of an `image`: some classes know only that."""

    def get_placeholder_str(cls: Any, modality: str, i: int) -> str | None:
        placeholder: str | None = base.get_placeholder_str(modality.removesuffix("_embeds"), i)
        return placeholder

    return classmethod(get_placeholder_str)
