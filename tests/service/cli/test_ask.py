from pathlib import Path

import pytest

from service.cli.ask import delta, image_url, request_body
from service.errors import InvalidRequest, PatchbayError


def test_a_file_is_sent_as_a_data_url(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert image_url(str(tmp_path / "a.png")) == "data:image/png;base64,iVBORw=="


def test_an_url_is_left_to_the_server() -> None:
    assert image_url("https://example.com/a.jpg") == "https://example.com/a.jpg"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"absent\.png: No such file"):
        image_url(str(tmp_path / "absent.png"))


def test_images_come_in_order_and_the_question_last() -> None:
    body = request_body(["http://a/1", "http://a/2"], "which?", "low", 5)
    parts = body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "image_url", "text"]
    assert parts[1]["image_url"] == {"url": "http://a/2", "detail": "low"}
    assert (body["stream"], body["max_tokens"]) == (True, 5)


def test_only_content_is_printed() -> None:
    assert delta(b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n') == ""
    assert delta(b'data: {"choices":[{"delta":{"content":"red"}}]}\n') == "red"
    assert delta(b"data: [DONE]\n") == delta(b": keep-alive\n") == delta(b"\n") == ""


def test_an_error_event_ends_the_answer() -> None:
    with pytest.raises(PatchbayError, match="gone"):
        delta(b'data: {"error":{"message":"gone"}}\n')
