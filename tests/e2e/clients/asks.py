"""The clients in Python, and what each is asked.

`python -m tests.e2e.clients.asks NAME URL`, by a Python that has the client and nothing of Patchbay, prints one JSON
object: the client's version, and what it did. Exit status 1, and the reason on standard error, where something failed.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata

from tests.e2e.clients import evaluations, frameworks, sdks
from tests.e2e.clients.asking import THINGS, Ask, done

BUT_ABORT = tuple(thing for thing in THINGS if thing != "abort")
UNSHAPED = tuple(thing for thing in BUT_ABORT if thing != "structured")
ONE_TURN = tuple(thing for thing in BUT_ABORT if thing != "turns")

ASKS = {
    ask.run.__name__: ask
    for ask in (
        Ask("openai", "chat", sdks.openai_chat, THINGS),
        Ask("openai", "Responses", sdks.openai_responses, THINGS),
        Ask("anthropic", "Messages", sdks.anthropic_messages, THINGS),
        Ask("litellm", "chat (openai/)", frameworks.litellm_chat, THINGS),
        Ask("litellm", "chat (hosted_vllm/)", frameworks.litellm_hosted_vllm, THINGS),
        Ask("litellm", "Messages (anthropic/)", frameworks.litellm_anthropic, UNSHAPED),
        Ask("litellm", "Responses", frameworks.litellm_responses, UNSHAPED),
        Ask("langchain-openai", "chat", frameworks.langchain_chat, THINGS),
        Ask("langchain-openai", "Responses", frameworks.langchain_responses, THINGS),
        Ask("pydantic-ai-slim", "chat", frameworks.pydantic_ai_chat, THINGS),
        Ask("pydantic-ai-slim", "Responses", frameworks.pydantic_ai_responses, THINGS),
        Ask("openai-agents", "chat", frameworks.agents_chat, BUT_ABORT),
        Ask("openai-agents", "Responses", frameworks.agents_responses, BUT_ABORT),
        Ask("instructor", "chat", frameworks.instructor_schema, ONE_TURN),
        Ask("inspect-ai", "chat", evaluations.inspect_ai, BUT_ABORT, "inspect-ai"),
    )
}

if __name__ == "__main__":
    asked = ASKS[sys.argv[1]]
    try:
        asked.run(sys.argv[2])
    finally:
        print(json.dumps({"version": metadata.version(asked.package), "done": done}))
