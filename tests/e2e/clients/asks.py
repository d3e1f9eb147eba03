"""The clients in Python, and what each is asked.

`python -m tests.e2e.clients.asks NAME URL`, by a Python that has the client and nothing of Patchbay, prints one JSON
object: the client's version, and what it did. Exit status 1, and the reason on standard error, where something failed.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata

from tests.e2e.clients import evaluations, frameworks, sdks
from tests.e2e.clients.asking import Ask, done

ASKS = {
    ask.run.__name__: ask
    for ask in (
        Ask("openai", "chat", sdks.openai_chat),
        Ask("openai", "Responses", sdks.openai_responses),
        Ask("anthropic", "Messages", sdks.anthropic_messages),
        Ask("litellm", "chat (openai/)", frameworks.litellm_chat),
        Ask("litellm", "chat (hosted_vllm/)", frameworks.litellm_hosted_vllm),
        Ask("litellm", "Messages (anthropic/)", frameworks.litellm_anthropic),
        Ask("litellm", "Responses", frameworks.litellm_responses),
        Ask("langchain-openai", "chat", frameworks.langchain_chat),
        Ask("langchain-openai", "Responses", frameworks.langchain_responses),
        Ask("pydantic-ai-slim", "chat", frameworks.pydantic_ai_chat),
        Ask("pydantic-ai-slim", "Responses", frameworks.pydantic_ai_responses),
        Ask("openai-agents", "chat", frameworks.agents_chat),
        Ask("openai-agents", "Responses", frameworks.agents_responses),
        Ask("instructor", "chat", frameworks.instructor_schema),
        Ask("inspect-ai", "chat", evaluations.inspect_ai, "inspect-ai"),
    )
}

if __name__ == "__main__":
    asked = ASKS[sys.argv[1]]
    try:
        asked.run(sys.argv[2])
    finally:
        print(json.dumps({"version": metadata.version(asked.package), "done": done}))
