from hypothesis import given
from hypothesis import strategies as st

from service.api.translation.origins import Origins
from service.domain import ChatRequest, Detail, ImageRef
from service.errors import InvalidRequest


def known(paths: dict[str, str]) -> Origins:
    origins = Origins()
    for chat, own in paths.items():
        origins.add(chat, own)
    return origins


MESSAGES = {
    "messages": "input",
    "messages[1]": "input[0]",
    "messages[1].content[2]": "input[0].content[3]",
    "messages[1].content[2].image_url.url": "input[0].content[3].image_url",
}


def test_the_longest_known_part_decides() -> None:
    origins = known(MESSAGES)
    assert origins.path("messages") == "input"
    assert origins.path("messages[1].role") == "input[0].role"
    assert origins.path("messages[1].content[2].text") == "input[0].content[3].text"
    assert origins.path("messages[1].content[2].image_url.url") == "input[0].content[3].image_url"


def test_a_part_ends_where_a_member_or_an_element_does() -> None:
    origins = known(MESSAGES)
    assert origins.path("messages[12].role") == "input[12].role"
    assert origins.path("messages_of_others") == "messages_of_others"
    assert origins.path("temperature") == "temperature"
    assert origins.path("") == ""


@given(st.text(alphabet="ab.[]1"), st.dictionaries(st.text(alphabet="ab.[]1"), st.text()))
def test_any_path_has_an_answer(path: str, paths: dict[str, str]) -> None:
    own = known(paths).path(path)
    assert own == path or any(path.startswith(chat) and own.startswith(paths[chat]) for chat in paths)


def test_an_error_is_about_the_clients_own_field() -> None:
    path = "messages[1].content[2].image_url.url"
    error = known(MESSAGES).rename(InvalidRequest(f"{path} is no URL: {path}.", param=path))
    assert error.param == "input[0].content[3].image_url"
    assert error.message == f"input[0].content[3].image_url is no URL: {path}."


def test_a_word_in_a_message_is_no_path() -> None:
    error = known(MESSAGES).rename(InvalidRequest("Too many messages.", param="messages"))
    assert (error.message, error.param) == ("Too many messages.", "input")
    silent = known(MESSAGES).rename(InvalidRequest("messages are missing"))
    assert (silent.message, silent.param) == ("messages are missing", None)


def test_images_are_known_by_their_own_paths() -> None:
    image = ImageRef("data:,", Detail.AUTO, 1, 2, "messages[1].content[2].image_url.url")
    request = ChatRequest({}, (image,), "m", stream=False, include_usage=False, request_id="r")
    (own,) = known(MESSAGES).of_images(request).images
    assert own.path == "input[0].content[3].image_url"
    assert (own.message, own.part) == (1, 2)


def test_the_path_of_an_image_is_its_own_already() -> None:
    origins = known(
        {"messages[0].content[0]": "messages[0].content", "messages[0].content[0].image_url.url": "x"}
    )
    origins.add("messages[0].content[1].image_url.url", "messages[0].content[0].source")
    image = ImageRef("data:,", Detail.AUTO, 0, 1, "messages[0].content[1].image_url.url")
    request = ChatRequest({}, (image,), "m", stream=False, include_usage=False, request_id="r")
    (own,) = origins.of_images(request).images
    assert origins.rename(InvalidRequest("bad", param=own.path)).param == "messages[0].content[0].source"
