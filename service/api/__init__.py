"""The HTTP floor: OpenAI's API in, `ChatRequest` out, the engine's answer back as it comes.

Knows no image codec, no model family and no vLLM; what it needs from below is in `ports`.
"""

from service.api.app import build_admin, build_api
from service.api.limits import RequestLimits
from service.api.ports import Backend

__all__ = ["Backend", "RequestLimits", "build_admin", "build_api"]
