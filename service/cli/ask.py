"""`patchbay ask`: asks a running server one question about images and prints the answer as it streams."""

from __future__ import annotations

import argparse
import asyncio
import json
import mimetypes
from pathlib import Path
from typing import Any

import aiohttp
import pybase64

from service.errors import InvalidRequest, PatchbayError


def ask(options: argparse.Namespace) -> int:
    """Prints the answer; exit status 0. Raises PatchbayError with the server's message when it refuses."""
    return asyncio.run(_stream(options))


async def _stream(options: argparse.Namespace) -> int:
    headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    body = request_body(options.images, options.question, options.detail, options.max_tokens)
    url = f"{options.url.rstrip('/')}/v1/chat/completions"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
            session.post(url, json=body, headers=headers) as answer,
        ):
            if answer.status != 200:
                raise PatchbayError(_refusal(answer.status, await answer.text()))
            async for line in answer.content:
                print(delta(line), end="", flush=True)
    except aiohttp.ClientConnectionError:
        raise PatchbayError(f"no server answers at {options.url}. Is `patchbay serve` running?") from None
    print()
    return 0


def request_body(images: list[str], question: str, detail: str, max_tokens: int) -> dict[str, Any]:
    """OpenAI chat request: the images in order, then the question."""
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": image_url(image), "detail": detail}} for image in images
    ]
    parts.append({"type": "text", "text": question})
    return {
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
    }


def image_url(image: str) -> str:
    """An http(s) URL unchanged; a file as a data URL. Raises InvalidRequest when the file cannot be read."""
    if image.startswith(("http://", "https://")):
        return image
    try:
        data = Path(image).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{image}: {error.strerror}") from None
    kind = mimetypes.guess_type(image)[0] or "application/octet-stream"
    return f"data:{kind};base64,{pybase64.b64encode(data).decode()}"


def delta(line: bytes) -> str:
    """The text that one line of the event stream adds. Raises PatchbayError for an error event."""
    if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
        return ""
    event = json.loads(line[6:])
    if "error" in event:
        raise PatchbayError(event["error"]["message"])
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


def _refusal(status: int, text: str) -> str:
    try:
        error = json.loads(text)["error"]
        return f"{error['message']} ({error.get('code') or status})"
    except (ValueError, KeyError, TypeError):
        return f"the server answered {status}: {text[:200]}"
