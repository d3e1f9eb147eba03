"""A model class for checkpoints that vLLM has none for: their language model alone, which is vLLM's own.

Images come by handle. The vision tower's tensors are not loaded, and what only raw images would need raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch import nn
from vllm import ModelRegistry
from vllm.model_executor.models.interfaces import SupportsMultiModal, SupportsPP
from vllm.model_executor.models.utils import AutoWeightsLoader, init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing import BaseDummyInputsBuilder, BaseMultiModalProcessor, BaseProcessingInfo

from service.domain import LanguageModel

HEAD = "lm_head."
PART = "language_model."


class Images(BaseProcessingInfo):  # type: ignore[misc]
    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None}


class NoDummies(BaseDummyInputsBuilder[Images]):  # type: ignore[misc]
    """The handles' own side says how large images are, so that none is made up."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return ""

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> NoReturn:
        raise NotImplementedError("there is no tower for which images could be made up")


class NoRawImages(BaseMultiModalProcessor[Images]):  # type: ignore[misc]
    """Behind the processor of handles; a raw image is refused before, by the engine's limit of 0."""

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> NoReturn:
        raise NotImplementedError("images come by handle alone")

    def _get_prompt_updates(self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any) -> NoReturn:
        raise NotImplementedError("images come by handle alone")


class LanguageAlone(nn.Module, SupportsMultiModal, SupportsPP):  # type: ignore[misc]
    part: LanguageModel
    _mark_language_model: Any  # vLLM's, which a module's own attributes would hide from a type checker

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        if modality != "image":
            raise ValueError("only images are taken")
        return cls.part.placeholder

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=vllm_config.model_config.hf_config.get_text_config(),
                prefix=maybe_prefix(prefix, PART.rstrip(".")),
                architectures=[self.part.architecture],
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: object) -> NoReturn:
        raise NotImplementedError("soft tokens come by handle alone")

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: object,
    ) -> Any:
        """[tokens] or [tokens, hidden] → hidden states [tokens, hidden]"""
        return self.language_model.model(
            input_ids,
            positions,
            intermediate_tensors,
            inputs_embeds=None if intermediate_tensors is not None else inputs_embeds,
        )

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        logits: torch.Tensor | None = self.language_model.compute_logits(hidden_states)
        return logits

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        loaded: set[str] = AutoWeightsLoader(self).load_weights(own_names(weights, self.part.prefix))
        return loaded


def own_names(weights: Iterable[tuple[str, torch.Tensor]], prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The language model's tensors under the names that they have in `LanguageAlone`; the others are left out."""
    for name, tensor in weights:
        if name.startswith(prefix):
            yield f"{PART}model.{name.removeprefix(prefix)}", tensor
        elif name.startswith(HEAD):
            yield f"{PART}{name}", tensor


def model_of(part: LanguageModel) -> Any:
    """The class that serves it."""
    text = ModelRegistry.models[part.architecture].load_model_cls()
    members = {
        "__module__": __name__,
        "part": part,
        # how quantised checkpoints name what vLLM keeps in one matrix
        "packed_modules_mapping": getattr(text, "packed_modules_mapping", {}),
    }
    made = type(LanguageAlone.__name__, (LanguageAlone,), members)
    return MULTIMODAL_REGISTRY.register_processor(NoRawImages, info=Images, dummy_inputs=NoDummies)(made)
