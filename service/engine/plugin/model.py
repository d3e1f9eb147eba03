"""vLLM's own model class of an architecture, with a processor that also takes handles.

The class changes in nothing else: weights, layers and forward pass are vLLM's. It is made when vLLM asks this
module for it by name, so that registering it imports no model code.
"""

from __future__ import annotations

from typing import Any

import vllm
from vllm import ModelRegistry

IN_TREE = "InTree"
"""Before an architecture, the name under which vLLM's registry keeps the class that was put behind."""


def put_in_front(architecture: str) -> None:
    """Makes vLLM take the class of this module for `architecture`; twice is harmless. Raises ValueError."""
    models = ModelRegistry.models
    if architecture not in models:
        raise ValueError(f"vLLM {vllm.__version__} has no model class named {architecture!r}")
    if IN_TREE + architecture not in models:
        models[IN_TREE + architecture] = models[architecture]
        # vLLM caches what it learns about a class under its name: its version keeps that cache honest
        ModelRegistry.register_model(architecture, f"{__name__}:{architecture}__{vllm.__version__}")


def __getattr__(name: str) -> Any:
    behind = ModelRegistry.models.get(IN_TREE + name.partition("__")[0])
    if behind is None:
        raise AttributeError(name)
    made = _with_handles(behind.load_model_cls())
    globals()[name] = made
    return made


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
