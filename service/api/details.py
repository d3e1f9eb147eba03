"""What a request cost, for clients that send `X-Patchbay-Details: 1`: its images, and where its time went.

An answer in one piece gets a member `patchbay`; a stream gets one more event, an ordinary chunk without choices, before
its `[DONE]`. Only numbers and our own names, nothing of the question or the answer.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from service.api.sentences import describe
from service.domain import Record
from service.errors import InvalidRequest

HEADER = "X-Patchbay-Details"
MEMBER = "patchbay"


def wants_details(scope: Scope) -> bool:
    """Raises InvalidRequest for a value that is neither 0 nor 1."""
    value = Headers(scope=scope).get(HEADER, "0").strip()
    if value not in ("0", "1"):
        raise InvalidRequest(f"The header {HEADER} must be 0 or 1; received {describe(value)}.")
    return value == "1"


def details_of(record: Record) -> dict[str, Any]:
    """Milliseconds on the request's critical path so far, which add up to `total_ms`, and the cost of its images."""
    shares = record.timings.shares(time.monotonic())
    stages = {stage: round(share * 1000, 3) for stage, share in shares.items()}
    return {
        "total_ms": round(math.fsum(stages.values()), 3),
        "stages_ms": stages,
        "images": [asdict(image) for image in record.images],
    }
