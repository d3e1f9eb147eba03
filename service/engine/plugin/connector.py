"""Brings soft tokens from the arena into vLLM's encoder cache: an EC consumer that encodes nothing.

vLLM makes one connector in the scheduler's process and one in each worker, one for each rank; `ledger` decides in the
first what the others load. Each of these copies the rows from the arena by itself, but for later stages of pipeline
parallelism, which embed no prompt and are asked for nothing. A request whose image cannot be loaded is failed alone:
HTTP 500, or an error event in a stream.

The gateway holds a lease until the answer has ended, so an entry cannot go between check and load. Should it go all
the same, the worker raises, which ends the engine's process: rows that are wrong would be answered from, and
their KV blocks would stay in the prefix cache under that key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from vllm.distributed.ec_transfer.ec_connector.base import ECConnectorBase, ECConnectorMetadata
from vllm.logger import init_logger

from service.arena import ArenaReader, Entry
from service.arena.layout import ITEMSIZES
from service.engine.plugin.ledger import Ledger, load

logger = init_logger("vllm.patchbay")


@dataclass
class ArenaMetadata(ECConnectorMetadata):  # type: ignore[misc]
    """From the scheduler to the workers: what to load before a step, by key."""

    loads: dict[str, Entry] = field(default_factory=dict)


class ArenaConnector(ECConnectorBase):  # type: ignore[misc]
    """Extra configuration: `arena`, the path; `width` of a row where it is not the model's embedding width.

    Raises ValueError for other fields or dtypes, ArenaMismatch for an arena that does not fit the model.
    """

    def __init__(self, vllm_config: Any, role: Any) -> None:
        super().__init__(vllm_config, role)
        extra = vllm_config.ec_transfer_config.ec_connector_extra_config
        if not {"arena"} <= extra.keys() <= {"arena", "width"}:
            raise ValueError(f"ec_connector_extra_config is {extra}; it must have arena and may have width")
        model = vllm_config.model_config
        self._dtype = str(model.dtype).removeprefix("torch.")
        if self._dtype not in ITEMSIZES:
            raise ValueError(f"the model's dtype is {self._dtype}; allowed are {', '.join(ITEMSIZES)}")
        # "cuda" without a number is the rank's own: its worker has made that the current one
        self._device = vllm_config.device_config.device
        self._reader = ArenaReader(extra["arena"], width=extra.get("width", model.get_inputs_embeds_size()))
        self._ledger = Ledger(self._reader, self._dtype)
        self._lost: set[str] = set()

    # In the scheduler's process, in the order in which vLLM calls

    def ensure_cache_available(self, request: Any, num_computed_tokens: int) -> bool:
        """False when an image that is still to be computed cannot be loaded."""
        for feature in request.mm_features:
            place = feature.mm_position
            if place.offset + place.length <= num_computed_tokens:
                continue  # all of it is in the prefix cache, or computed
            if feature.data is None or "soft_layout" not in feature.data:
                continue  # a raw image, for the engine's own tower
            reason = self._ledger.refusal(feature.identifier, place.get_num_embeds())
            if reason is not None:
                self._fail(request.request_id, f"image {feature.identifier} {reason}")
                return False
        return True

    def has_cache_item(self, identifier: str) -> bool:
        """True sends an image to the workers' connectors, False to the tower."""
        return self._ledger.holds(identifier)

    def update_state_after_alloc(self, request: Any, index: int) -> None:
        key = request.mm_features[index].identifier
        if self._ledger.holds(key):
            self._ledger.want(key)

    def build_connector_meta(self, scheduler_output: Any) -> ArenaMetadata:
        empty = scheduler_output.total_num_scheduled_tokens == 0
        return ArenaMetadata(self._ledger.close_step(scheduler_output.free_encoder_mm_hashes, empty=empty))

    def take_unavailable_requests(self) -> set[str]:
        lost, self._lost = self._lost, set()
        return lost

    def _fail(self, request_id: str, reason: str) -> None:
        if request_id not in self._lost:
            logger.warning("request %s fails: %s", request_id, reason)
            self._lost.add(request_id)

    # In each worker's process

    def start_load_caches(self, encoder_cache: dict[str, torch.Tensor], **kwargs: Any) -> None:
        """Puts the step's rows, each [rows, width] in the model's dtype on its device, into vLLM's cache.

        Raises RowsGone, which ends the engine's process.
        """
        for key, entry in self._get_connector_metadata().loads.items():
            rows = torch.from_numpy(load(self._reader, key, entry, self._dtype))  # [rows, row_bytes]
            stored = rows.view(getattr(torch, self._reader.spec.dtype))  # [rows, width]
            encoder_cache[key] = stored.to(self._device, getattr(torch, self._dtype))

    def save_caches(self, encoder_cache: dict[str, torch.Tensor], mm_hash: str, **kwargs: Any) -> None:
        """A consumer saves nothing."""
