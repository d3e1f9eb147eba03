from service.api.translation.conversation import Conversation
from service.api.translation.origins import Origins


def test_a_single_text_is_a_string() -> None:
    talk = Conversation()
    talk.begin("user", "input")
    talk.text("hello", "input")
    assert talk.messages([], Origins()) == [{"role": "user", "content": "hello"}]


def test_parts_stay_in_order() -> None:
    talk = Conversation()
    talk.begin("user", "m[0]")
    talk.image("https://x/a.png", "m[0].c[0].source", "low")
    talk.text("what?", "m[0].c[1]")
    talk.image("https://x/b.png", "m[0].c[2].source")
    (message,) = talk.messages([], Origins())
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "https://x/b.png"}},
    ]


def test_paths_count_the_system_prompt() -> None:
    for system in ([], ["be brief"]):
        talk, origins = Conversation(), Origins()
        talk.begin("user", "input[0]")
        talk.text("look", "input[0].content[0]")
        talk.image("data:,", "input[0].content[1].image_url")
        talk.begin("assistant", "input[1]")
        talk.call("c", "f", "{}", "input[2]", "arguments")
        talk.messages(system, origins)
        first = len(system)
        image = f"messages[{first}].content[1].image_url.url"
        assert origins.path(image) == "input[0].content[1].image_url"
        arguments = f"messages[{first + 1}].tool_calls[0].function.arguments"
        assert origins.path(arguments) == "input[2].arguments"


def test_the_system_prompt_is_one_message_at_the_beginning() -> None:
    talk = Conversation()
    talk.begin("user", "m")
    talk.text("hi", "m")
    assert talk.messages(["a", "b"], Origins())[0] == {"role": "system", "content": "a\n\nb"}


class Thought(str):
    """Fails where it is added to another string: of many pieces, that would copy all that came before, each time."""

    def __add__(self, other: str) -> str:
        raise AssertionError("added piece by piece")

    __radd__ = __add__


def test_thoughts_are_joined_once() -> None:
    talk = Conversation()
    talk.begin("assistant", "m[0]")
    for piece in "abc":
        talk.reasoning(Thought(piece))
    talk.begin("user", "m[1]")
    talk.text("hi", "m[1]")
    talk.begin("assistant", "m[2]")
    talk.reasoning(Thought("d"))
    first, _, last = talk.messages([], Origins())
    assert (first["reasoning"], last["reasoning"]) == ("abc", "d")


def test_what_an_assistant_did_is_one_message() -> None:
    talk = Conversation()
    talk.last("assistant", "m[0]")
    talk.reasoning("hm")
    talk.reasoning(" yes")
    talk.last("assistant", "m[1]")
    talk.call("1", "f", "{}", "m[1]", "input")
    talk.call("2", "g", "[]", "m[2]", "input")
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in (("1", "f", "{}"), ("2", "g", "[]"))
    ]
    assert talk.messages([], Origins()) == [
        {"role": "assistant", "content": None, "reasoning": "hm yes", "tool_calls": calls}
    ]


def test_another_role_is_another_message() -> None:
    talk = Conversation()
    for role in ("user", "assistant", "user", "user"):
        talk.last(role, "m")
        talk.text("x", "m")
    assert [message["role"] for message in talk.messages([], Origins())] == ["user", "assistant", "user"]
    assert len(talk) == 3


def test_a_result_without_content_is_an_empty_text() -> None:
    talk = Conversation()
    talk.begin("tool", "m", tool_call_id="1")
    assert talk.messages([], Origins()) == [{"role": "tool", "content": "", "tool_call_id": "1"}]
