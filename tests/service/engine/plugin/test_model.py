"""What is put in front of vLLM's model class beside a processor."""

from __future__ import annotations

import pytest

from service.engine.plugin.model import _for_embeddings


class Base:
    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        if modality == "image":
            return f"<image {i}>"
        raise ValueError(f"Unsupported modality: {modality}")


class Front(Base):
    get_placeholder_str = _for_embeddings(Base)


def test_a_handle_has_an_images_placeholder() -> None:
    for modality in ("image", "image_embeds"):
        assert Front.get_placeholder_str(modality, 2) == "<image 2>"


def test_what_the_class_does_not_take_is_still_refused() -> None:
    with pytest.raises(ValueError, match="Unsupported modality: audio"):
        Front.get_placeholder_str("audio_embeds", 1)
