"""Data URLs: base64 as clients write it, the cap before decoding, and errors that name the rule and the reference."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ImageTooLarge, InvalidDataURL
from service.ingest import data_url
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
        "data:;base64,",
        "data:image;base64,",
        "data:image/*;base64,",
        "data:application/octet-stream;base64,",
        "data:binary/octet-stream;base64,",
        "data:None;base64,",
        "data:undefined;base64,",
        "data: image/png ; base64 ,",
    ],
)
def test_heads_that_are_taken(head: str) -> None:
    assert decode(head + "AAEC") == b"\0\1\2"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png;base64", "no comma among its first 256"),
        ("data:", "no comma"),
        ("data:" + "x" * 300 + ",AAEC", "no comma"),
        ("data:,AAEC", "does not end its type with ;base64"),
        ("data:text/plain;base64,AAEC", "declares the type 'text/plain'"),
        ("data:nothing;base64,AAEC", "declares the type 'nothing'"),
        ("data:video/jpeg;base64,AAEC,AAEC", "declares the type 'video/jpeg'"),
        ("data:\ud800;base64,AAEC", r"declares the type '\\ud800'"),
        ("data:" + "x" * 99 + ";base64,AAEC", r"declares the type 'x{40}\\u2026'"),
        ("data:image/png,%89PNG", "other data is not accepted"),
        ("data:image/png;base64;charset=x,AAEC", "other data is not accepted"),
        ("data:image/png;base64,AAE%", "percent sign that encodes no ASCII character"),
        ("data:image/png;base64,AAE%4", "percent sign"),
        ("data:image/png;base64,A%%41", "percent sign"),
        ("data:image/png;base64,AAE%80", "percent sign"),
        ("data:image/png;base64,AAE%2540", "holds the character '%'|percent sign"),
        ("data:image/png;base64,AAE%40", "holds the character '@'"),
        ("data:image/png;base64,AAECA", "no data has 5 characters in base64; it may have been cut off"),
        ("data:image/png;base64,AAE==", r"2 padding characters \(=\) where 1 belong"),
        ("data:image/png;base64,AAEC=", r"1 padding characters \(=\) where 0 belong"),
        ("data:image/png;base64,A===", "no data has 1 characters"),
        ("data:image/png;base64,AAEC,AAEC", "holds the character ','"),
        ("data:image/png;base64,AA\x00C", r"holds the character '\\x00'"),
        ("data:image/png;base64,AÄEC", "not ASCII"),
        ("data:image/png;base64,AA\u3000EC", "not ASCII"),
        ("data:image/png;base64,A\ud800EC", "not ASCII"),
        ("data:image/png;base64,AA=CAA==", "padding (=) before its end"),
    ],
)
def test_what_is_no_base64_image_is_refused_with_the_rule_and_its_path(url: str, words: str) -> None:
    with pytest.raises(InvalidDataURL, match=words.replace("(=) b", r"\(=\) b")) as caught:
        decode(url)
    assert caught.value.param == PATH
    assert caught.value.code == "invalid_data_url"
    caught.value.message.encode()  # a lone surrogate could not be sent


WRITERS: dict[str, Callable[[bytes], str]] = {
    "lines of 76": lambda data: base64.encodebytes(data).decode(),
    "lines as on Windows": lambda data: base64.encodebytes(data).decode().replace("\n", "\r\n"),
    "blank and newline around": lambda data: f" {base64.b64encode(data).decode()}\n",
    "no padding": lambda data: base64.b64encode(data).decode().rstrip("="),
    "URL-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "URL-safe without padding": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "percent-encoded": lambda data: quote(base64.b64encode(data).decode(), safe=""),
    "percent-encoded in lower case": lambda data: re.sub(
        "%..", lambda found: found[0].lower(), quote(base64.encodebytes(data).decode(), safe="")
    ),
    "URL-safe, in lines, percent-encoded": lambda data: quote(
        "\t\f".join(base64.urlsafe_b64encode(data).decode()), safe=""
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
@given(st.binary(max_size=300))
def test_what_clients_make_of_base64_comes_back(writer: str, data: bytes) -> None:
    assert decode("data:image/png;base64," + WRITERS[writer](data)) == data


@given(st.text("A%=+/-_ 0248dDfF\n", max_size=40), st.integers(3, 9))
def test_percent_signs_are_decoded_as_the_standard_library_decodes_them(text: str, piece: int) -> None:
    packed = "".join(text.split()).encode()
    expected = unquote_to_bytes(packed)
    valid = not re.search(rb"%(?![0-9A-Fa-f]{2})", packed) and expected.isascii()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data_url, "_PIECE", piece)
        assert data_url._percent_decoded(packed) == (expected if valid else packed)


def test_what_is_written_by_the_book_is_decoded_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "data:image/png;base64," + base64.b64encode(bytes(1000)).decode()
    monkeypatch.setattr(data_url, "_forgiving", lambda *_: pytest.fail("looked at more closely"))
    assert decode(url) == bytes(1000)


@pytest.mark.parametrize("size", [998, 999, 1000])
def test_the_cap_counts_decoded_bytes_exactly(size: int) -> None:
    url = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()
    assert decode(url, size) == bytes(size)
    with pytest.raises(ImageTooLarge, match=f"{size} bytes; at most {size - 1} .*max_image_bytes") as caught:
        decode(url, size - 1)
    assert caught.value.param == PATH
    for writer in WRITERS.values():
        written = "data:image/png;base64," + writer(bytes(size))
        assert decode(written, size) == bytes(size)
        with pytest.raises(ImageTooLarge, match=f"{size} bytes"):
            decode(written, size - 1)


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
