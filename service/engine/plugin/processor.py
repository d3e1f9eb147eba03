"""Lays handles out in the prompt: what the chat template wrote for an image gives way to the image's own layout.

`HandleInfo`, `HandleParser` and `HandleProcessor` go in front of a family's own classes, which stay in charge of
raw images. For handles no Hugging Face processor runs, and nothing of the image is here but its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import BatchFeature
from vllm.exceptions import VLLMValidationError
from vllm.inputs import mm_input
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems, PlaceholderRange
from vllm.multimodal.parse import DictEmbeddingItems, MultiModalDataParser
from vllm.multimodal.processing import BaseMultiModalProcessor, BaseProcessingInfo
from vllm.multimodal.processing.processor import iter_token_matches

from service.domain import SoftLayout
from service.engine.plugin.contract import (
    FIELDS,
    OPTIONAL,
    REQUIRED,
    HandleRefused,
    Limits,
    PluginSettings,
    check_key,
    must,
    read_layout,
)


def graft(thing: Any, front: type) -> Any:
    """A copy of `thing` whose class has `front` before its own: vLLM's factories are sometimes functions."""
    new: Any = object.__new__(type("Handle" + type(thing).__name__, (front, type(thing)), {}))
    vars(new).update(vars(thing))
    return new


def field_configs(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: MultiModalFieldConfig.batched("image", keep_on_cpu=True) for key in data}


class Handles(DictEmbeddingItems):  # type: ignore[misc]
    """The handles of a request. vLLM lets a DictEmbeddingItems pass where the tower's own limit is 0."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data, "image", required_fields=set(REQUIRED), fields_factory=field_configs)

    def lists(self) -> list[dict[str, list[int]]]:
        """The number lists of each handle."""
        handles = self.get_all()
        for handle in handles:
            for name, numbers in handle.items():
                must(
                    numbers.ndim == 1 and (numbers.dtype == torch.int64 or not len(numbers)),
                    f"{name} of a handle must be a list of whole numbers",
                )
        return [{name: numbers.tolist() for name, numbers in handle.items()} for handle in handles]


class HandleParser(MultiModalDataParser):  # type: ignore[misc]
    @classmethod
    def placeholder_metadata_fields(cls, modality: str) -> set[str]:
        if modality == "image":
            return set(FIELDS)
        fields: set[str] = super().placeholder_metadata_fields(modality)
        return fields

    def _parse_image_data(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            if not REQUIRED <= data.keys() <= FIELDS:
                raise VLLMValidationError(
                    f"a handle has the fields {sorted(data)}; "
                    f"it must have {sorted(REQUIRED)} and may have {sorted(OPTIONAL)}",
                    parameter="messages",
                )
            return Handles(data)
        return super()._parse_image_data(data)


class HandleInfo(BaseProcessingInfo):  # type: ignore[misc]
    def get_data_parser(self) -> Any:
        return graft(super().get_data_parser(), HandleParser)

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Any:
        # sizes vLLM's encoder cache, and spares it dummy images that only a tower could encode
        if self.ctx.get_mm_config().get_limit_per_prompt("image") > 0:
            return super().get_mm_max_tokens_per_item(seq_len, mm_counts)
        return dict.fromkeys(mm_counts, PluginSettings.from_environment().max_tokens)

    def limits(self) -> Limits:
        config = self.ctx.model_config
        vision = getattr(config.hf_config, "vision_config", None)
        return Limits(
            max_tokens=PluginSettings.from_environment().max_tokens,
            max_positions=config.max_model_len,
            vocabulary=config.get_vocab_size(),
            merge=getattr(vision, "spatial_merge_size", 1) if config.uses_mrope else None,
        )


class HandleProcessor(BaseMultiModalProcessor):  # type: ignore[misc]
    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> Any:
        if "soft_layout" in hf_inputs:  # the chat route asks while it merges the parts of a request
            return field_configs(hf_inputs)
        return super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs)

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        items = inputs.mm_data_items.get("image")
        if not isinstance(items, Handles):
            return super().apply(inputs, timing_ctx)
        try:
            return self._lay_out(inputs, items)
        except HandleRefused as refused:
            raise VLLMValidationError(str(refused), parameter="messages") from None

    def _lay_out(self, inputs: Any, items: Handles) -> Any:
        keys = list((inputs.mm_uuid_items or {}).get("image") or [None])
        for key in keys:
            check_key(key)
        must(
            len(inputs.mm_data_items) == 1 and not inputs.hf_processor_mm_kwargs,
            "beside handles a request may have no other media and no processor arguments",
        )
        limits = self.info.limits()
        layouts = [read_layout(lists, limits) for lists in items.lists()]
        prompt, ranges = lay_out(inputs.prompt, layouts)
        data = MultiModalKwargsItems.from_hf_inputs(BatchFeature(items.data), field_configs(items.data))
        return mm_input(prompt, data, {"image": keys}, {"image": ranges})


def lay_out(prompt: list[int], layouts: list[SoftLayout]) -> tuple[list[int], list[PlaceholderRange]]:
    """The prompt with each target replaced by its image's runs, and where these are. Raises HandleRefused.

    Images without a target stand at the start of the prompt. A token that an image shares with what stands before it
    is not in the image's range.
    """
    joins = {(left, right): joined for left, right, joined in layouts[0].joins}
    must(all(layout.joins == layouts[0].joins for layout in layouts), "handles differ in their joins")
    ending = layouts[0].ending
    must(all(layout.ending == ending for layout in layouts), "handles differ in their ending")
    laid: list[int] = []
    ranges, done = [], 0
    for (begin, end), layout in zip(_targets(prompt, layouts), layouts, strict=True):
        _append(laid, prompt[done:begin], joins)
        own = _append(laid, [run.token for run in layout.runs for _ in range(run.count)], joins)
        carries = torch.tensor([run.embeds for run in layout.runs for _ in range(run.count)][-own:])
        ranges.append(PlaceholderRange(len(laid) - own, own, None if carries.all() else carries))
        done = end
    _append(laid, prompt[done:], joins)
    if ending is not None and laid[-1] != ending:
        laid.append(ending)
    return laid, ranges


def _append(laid: list[int], tokens: list[int], joins: Mapping[tuple[int, int], int]) -> int:
    """Adds the tokens to those laid so far, joining the two that meet; how many came as they were."""
    if laid and tokens and (joined := joins.get((laid[-1], tokens[0]))) is not None:
        laid[-1] = joined
        tokens = tokens[1:]
    laid += tokens
    return len(tokens)


def _targets(prompt: list[int], layouts: list[SoftLayout]) -> list[tuple[int, int]]:
    """Where in the prompt each image's target begins and ends. Raises HandleRefused."""
    target = list(layouts[0].target)
    must(all(list(layout.target) == target for layout in layouts), "handles differ in their target")
    if not target:
        return [(0, 0)] * len(layouts)
    found = [(match.start_idx, match.end_idx) for match in iter_token_matches(prompt, target)]
    must(
        len(found) == len(layouts),
        f"the prompt has {len(found)} image placeholders for {len(layouts)} images: "
        "text may not contain the placeholder",
    )
    return found
