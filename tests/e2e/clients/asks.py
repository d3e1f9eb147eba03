"""The clients in Python, and what each is asked.

`python -m tests.e2e.clients.asks NAME URL`, by a Python that has the clients and nothing of Patchbay, prints one JSON
object: the client's version, and what it did. Exit status 1, and the reason on standard error, where something failed.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata

from tests.e2e.clients import frameworks, sdks
from tests.e2e.clients.asking import THINGS, Ask, done

ABOUT_ALL = THINGS
NO_TOOL = tuple(thing for thing in THINGS if thing != "tool")
TALK = ("image", "stream", "turns", "error")

ASKS = {
    ask.run.__name__: ask
    for ask in (
        Ask("openai", "chat", sdks.openai_chat, ABOUT_ALL),
        Ask("openai", "Responses", sdks.openai_responses, ABOUT_ALL),
        Ask("anthropic", "Messages", sdks.anthropic_messages, ABOUT_ALL),
        Ask("litellm", "chat (openai/)", frameworks.litellm_chat, ABOUT_ALL),
        Ask("litellm", "chat (hosted_vllm/)", frameworks.litellm_hosted_vllm, NO_TOOL),
        Ask("litellm", "Messages (anthropic/)", frameworks.litellm_anthropic, TALK),
        Ask("litellm", "Responses", frameworks.litellm_responses, TALK),
        Ask("langchain-openai", "chat", frameworks.langchain_chat, ABOUT_ALL),
        Ask("langchain-openai", "Responses", frameworks.langchain_responses, ABOUT_ALL),
        Ask("pydantic-ai-slim", "chat", frameworks.pydantic_ai_chat, NO_TOOL),
        Ask("pydantic-ai-slim", "Responses", frameworks.pydantic_ai_responses, NO_TOOL),
        Ask("openai-agents", "chat", frameworks.agents_chat, (*TALK, "structured")),
        Ask("openai-agents", "Responses", frameworks.agents_responses, (*TALK, "structured")),
        Ask("instructor", "chat", frameworks.instructor_schema, ("image", "structured", "stream", "error")),
    )
}

if __name__ == "__main__":
    asked = ASKS[sys.argv[1]]
    try:
        asked.run(sys.argv[2])
    finally:
        print(json.dumps({"version": metadata.version(asked.package), "done": done}))
