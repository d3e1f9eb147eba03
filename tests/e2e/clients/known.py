"""Every client of the table, by name and API, and what it has none of."""

from __future__ import annotations

from tests.e2e.clients.asks import ASKS

OF_NODE = {
    "openai_chat": ("openai (Node)", "chat"),
    "openai_responses": ("openai (Node)", "Responses"),
    "ai_default": ("@ai-sdk/openai", "Responses"),
    "ai_compatible": ("@ai-sdk/openai-compatible", "chat"),
}
"""By their names in `node/asks.mjs`."""
GUIDELLM = ("guidellm", "chat")
BENCH_SERVE = ("vllm bench serve", "chat")
PROXIED = {
    "openai_chat": ("litellm proxy", "chat"),
    "openai_responses": ("litellm proxy", "Responses"),
    "anthropic_messages": ("litellm proxy", "Messages"),
}
"""By the names in `ASKS` of those that are asked through it."""

LACKING: dict[tuple[str, str], tuple[str, ...]] = {
    **dict.fromkeys(((ask.package, ask.api) for ask in ASKS.values()), ()),
    **dict.fromkeys((*OF_NODE.values(), *PROXIED.values(), GUIDELLM), ()),
    # it knows one question at a time, reads text alone, and waits for every answer
    BENCH_SERVE: ("turns", "tool", "abort"),
}
