"""Data URLs: only base64 images, the cap before decoding, and errors that name the reference."""

from __future__ import annotations

import base64

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ImageTooLarge, InvalidDataURL
from service.ingest.data_url import decode_data_url

PATH = "messages[0].content[1].image_url.url"


def decode(url: str, max_bytes: int = 1000) -> bytes:
    return decode_data_url(url, max_bytes=max_bytes, path=PATH)


@given(st.binary(max_size=300))
def test_what_was_encoded_comes_back(data: bytes) -> None:
    assert decode("data:image/png;base64," + base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    "head",
    [
        "data:image/jpeg;base64,",
        "DATA:Image/SVG+xml;BASE64,",
        "data:image/x-y.z;charset=utf-8;name=a;base64,",
    ],
)
def test_heads_that_are_taken(head: str) -> None:
    assert decode(head + "AAEC") == b"\0\1\2"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png;base64", "malformed"),
        ("data:", "malformed"),
        ("data:" + "x" * 300 + ",AAEC", "malformed"),
        ("data:,AAEC", "image type"),
        ("data:;base64,AAEC", "image type"),
        ("data:text/plain;base64,AAEC", "image type"),
        ("data:application/octet-stream;base64,AAEC", "image type"),
        ("data:video/jpeg;base64,AAEC,AAEC", "image type"),
        ("data:image/;base64,AAEC", "image type"),
        ("data:image/p ng;base64,AAEC", "image type"),
        ("data:image/png,%89PNG", "percent-encoded"),
        ("data:image/png;base64;charset=x,AAEC", "percent-encoded"),
        ("data:image/png;base64,AAE%3D", "line breaks, spaces and percent signs are not"),
        ("data:image/png;base64,AAEC\nAAEC", "line breaks"),
        ("data:image/png;base64, AAEC", "spaces"),
        ("data:image/png;base64,AAE", "padding"),
        ("data:image/png;base64,A-_C", "A–Z"),
        ("data:image/png;base64,AAEC,AAEC", "A–Z"),
        ("data:image/png;base64,AÄEC", "A–Z"),
        ("data:image/png;base64,A\ud800EC", "A–Z"),
        ("data:image/png;base64,AA=CAA==", "A–Z"),
    ],
)
def test_what_is_no_base64_image_is_refused_with_its_path(url: str, words: str) -> None:
    with pytest.raises(InvalidDataURL, match=words) as caught:
        decode(url)
    assert caught.value.param == PATH
    assert caught.value.code == "invalid_data_url"


@pytest.mark.parametrize("size", [998, 999, 1000])
def test_the_cap_counts_decoded_bytes_exactly(size: int) -> None:
    url = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()
    assert decode(url, size) == bytes(size)
    with pytest.raises(ImageTooLarge, match=f"{size} bytes; at most {size - 1} .*max_image_bytes") as caught:
        decode(url, size - 1)
    assert caught.value.param == PATH


def test_the_cap_comes_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pybase64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(ImageTooLarge):
        decode("data:image/png;base64," + "A" * 4000)


@given(st.text(max_size=60))
def test_any_text_gives_bytes_or_a_named_error(text: str) -> None:
    for url in ("data:" + text, "data:image/png;base64," + text):
        try:
            assert isinstance(decode(url), bytes)
        except InvalidDataURL as error:
            assert error.param == PATH
