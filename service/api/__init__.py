"""The HTTP layer: turns OpenAI's API into `ChatRequest`s and passes the engine's answer back as it arrives.

Image codecs, model families and vLLM are out of its sight: what it needs from the layers below is in `ports`.
"""

from service.api.app import build_admin, build_api
from service.api.limits import RequestLimits
from service.api.ports import Backend

__all__ = ["Backend", "RequestLimits", "build_admin", "build_api"]
