"""Where in the client's request each part of its translation came from, so that errors are about what was written."""

from __future__ import annotations

from dataclasses import replace

from service.domain import ChatRequest
from service.errors import PatchbayError


class Origins:
    """Paths in the chat request → paths in the request that it was translated from."""

    def __init__(self) -> None:
        self._own: dict[str, str] = {}
        self._images: set[str] = set()
        """The client's own paths of images, by which all below know them."""

    def add(self, chat: str, own: str) -> None:
        self._own[chat] = own

    def path(self, chat: str) -> str:
        """The client's own path: that of the longest known part of `chat`, and what follows it."""
        end = len(chat)
        while end > 0:
            if (own := self._own.get(chat[:end])) is not None:
                return own + chat[end:]
            end = max(chat.rfind(".", 0, end), chat.rfind("[", 0, end))
        return chat

    def rename(self, error: PatchbayError) -> PatchbayError:
        """`error` itself, with the client's own path in `param` and at the beginning of its message."""
        chat = error.param
        if chat is not None and chat not in self._images:
            own = error.param = self.path(chat)
            if error.message.startswith(chat):
                error.message = own + error.message.removeprefix(chat)
        return error

    def of_images(self, request: ChatRequest) -> ChatRequest:
        """`request`, whose images are known by their own paths from here on."""
        images = tuple(replace(image, path=self.path(image.path)) for image in request.images)
        self._images = {image.path for image in images}
        return replace(request, images=images)
