import json

from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.usage import body_with_images, frame_with_images
from tests.service.api.fakes import HIGH, LOW, event

COUNTED = {"image_tokens": 176, "image_detail": ["low", "high"]}


def test_soft_tokens_and_detail_by_image() -> None:
    body = json.dumps({"choices": [], "usage": {"prompt_tokens": 9}}).encode()
    assert json.loads(body_with_images(body, [LOW, HIGH])) == {
        "choices": [],
        "usage": {"prompt_tokens": 9, "prompt_tokens_details": COUNTED},
    }


def test_what_the_engine_counted_stays() -> None:
    frame = event(id="1", usage={"prompt_tokens_details": {"cached_tokens": 32}})
    changed = frame_with_images(frame, [LOW, HIGH])
    assert changed == event(id="1", usage={"prompt_tokens_details": {"cached_tokens": 32} | COUNTED})
    nothing = event(usage={"prompt_tokens_details": None})
    assert frame_with_images(nothing, [LOW, HIGH]) == event(usage={"prompt_tokens_details": COUNTED})


def test_nothing_is_invented() -> None:
    counted = event(usage={"prompt_tokens": 9})
    assert frame_with_images(counted, []) is counted
    for frame in (
        event(choices=[{"delta": {"content": "ü 日"}}]),
        event(usage=None),
        event(choices=[{"delta": {"content": '"usage"'}}]),
        b'data: [DONE] "usage"\n\n',
        b': a comment on "usage"\n\n',
    ):
        assert frame_with_images(frame, [LOW]) is frame
    for body in (b'{"usage":null}', b'["usage"]', b'"usage"', b'{"usage"'):
        assert body_with_images(body, [LOW]) is body


@settings(deadline=None)
@given(st.text())
def test_words_survive(text: str) -> None:
    body = json.dumps({"text": text, "usage": {}}).encode()
    changed = body_with_images(body, [LOW])
    assert json.loads(changed)["text"] == text
    assert json.dumps(text, ensure_ascii=False).encode() in changed
