"""Closes the way on which a request could bring tensors: vLLM would read them with `torch.load`.

A string among an image's metadata, or in the place of all of it, is such a tensor. Handles need none.
"""

from __future__ import annotations

from typing import Any, NoReturn

import vllm.envs as envs
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY


class NoTensors:
    """Goes in front of a vLLM `MediaConnector`."""

    def fetch_image_embedding(self, data: str) -> NoReturn:
        raise VLLMValidationError(
            "a handle is made of number lists; encoded tensors are not taken", parameter="messages"
        )

    async def fetch_image_embedding_async(self, data: str) -> NoReturn:
        self.fetch_image_embedding(data)

    fetch_audio_embedding = fetch_video_embedding = fetch_image_embedding
    fetch_audio_embedding_async = fetch_video_embedding_async = fetch_image_embedding_async


def refuse_tensors() -> None:
    """Puts `NoTensors` in front of the media connector that vLLM is set to use; twice is harmless."""
    name: str = envs.VLLM_MEDIA_CONNECTOR
    base: Any = MEDIA_CONNECTOR_REGISTRY.name2class[name]
    if not issubclass(base, NoTensors):
        MEDIA_CONNECTOR_REGISTRY.register(name)(type("NoTensors" + base.__name__, (NoTensors, base), {}))
