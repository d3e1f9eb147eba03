"""The answer of `POST /v1/tokenize`: what a chat request's prompt would cost, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.api.tokenize.tariff import openai_tokens
from service.domain import ChatRequest, ImageRef, ImageUsage, TokenCount


def report(request: ChatRequest, count: TokenCount) -> dict[str, Any]:
    """Figures about images are null where only the engine knows what each of them costs."""
    images = None if count.images is None else _images(request.images, count.images)
    of_images = None if images is None else sum(image["tokens"] for image in images)
    return {
        "model": request.model,
        "prompt_tokens": count.prompt_tokens,
        "text_tokens": None if of_images is None else count.prompt_tokens - of_images,
        "image_tokens": of_images,
        "openai_image_tokens": None if images is None else sum(image["openai_tokens"] for image in images),
        "max_model_len": count.context,
        "fits": count.fits,
        "images": images,
    }


def _images(refs: Sequence[ImageRef], images: Sequence[ImageUsage]) -> list[dict[str, Any]]:
    return [
        {
            "path": ref.path,
            "width": image.width,
            "height": image.height,
            "processed": list(image.processed),
            "placement": list(image.placement),
            "detail": image.detail,
            "grid": list(image.grid),
            "tiles": image.tiles,
            "tokens": image.tokens,
            "openai_tokens": openai_tokens(image.width, image.height, ref.detail),
        }
        for ref, image in zip(refs, images, strict=True)
    ]
