"""vLLM's own parsers read tool calls in the formats for which they are chosen."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from service.engine.launcher import tool_call_parser
from tests.service.tiny_qwen_vl import WORDS

# vLLM's modules, while they are imported
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

TAGS = ("tool_call", "think", "arg_key", "arg_value")
CALLS = {
    "Qwen3": '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>',
    "Qwen3.5": "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n"
    "</parameter>\n</function>\n</tool_call>",
    "GLM-4.6V": "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
    "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
}
"""As models write them, and as their templates write those of earlier turns."""
TOOL = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    },
}


def tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer.from_file(str(WORDS))
    words = [word for tag in TAGS for word in (f"<{tag}>", f"</{tag}>")]
    made.add_tokens([AddedToken(word, special=False) for word in words])
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.mark.parametrize("family", CALLS)
def test_the_parser_of_a_template_reads_its_calls(family: str) -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    request = ChatCompletionRequest(
        model="m",
        messages=[{"role": "user", "content": "What will it be like?"}],
        tools=[{"type": "function", "function": TOOL}],
    )
    name = tool_call_parser("{% if tools %}" + CALLS[family] + "{% endif %}")
    parser = ToolParserManager.get_tool_parser(name)(tokenizer(), request.tools)
    (call,) = parser.extract_tool_calls(CALLS[family], request).tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Oslo", "days": 3}
