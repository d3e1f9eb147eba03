"""Keys: injective framing, a value that never changes, and no two images under one name."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.ingest.keys import content_key, framed

FIELDS = st.lists(st.binary(max_size=20) | st.text(max_size=20) | st.integers(), max_size=6).map(tuple)


def unframed(data: bytes) -> tuple[bytes | str | int, ...]:
    fields: list[bytes | str | int] = []
    while data:
        kind, size = data[:1], int.from_bytes(data[1:9], "big")
        content, data = data[9 : 9 + size], data[9 + size :]
        fields.append(
            {b"b": bytes, b"s": lambda text: text.decode("utf-8", "surrogatepass"), b"i": int}[kind](content)
        )
    return tuple(fields)


@given(FIELDS)
def test_framing_can_be_undone_so_no_two_sequences_share_one(fields: tuple[bytes | str | int, ...]) -> None:
    back = unframed(b"".join(framed(fields)))
    assert back == fields
    assert [type(field) for field in back] == [type(field) for field in fields]


@given(FIELDS, FIELDS)
def test_keys_are_equal_exactly_for_equal_fields(
    one: tuple[bytes | str | int, ...], other: tuple[bytes | str | int, ...]
) -> None:
    same = [(type(field), field) for field in one] == [(type(field), field) for field in other]
    assert (content_key(*one) == content_key(*other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [((b"ab", b"c"), (b"a", b"bc")), (("a", ""), ("a",)), ((1,), ("1",)), (("1",), (b"1",)), ((), (b"",))],
)
def test_near_misses_differ(one: tuple[bytes | str | int, ...], other: tuple[bytes | str | int, ...]) -> None:
    assert content_key(*one) != content_key(*other)


def test_a_key_is_the_same_in_every_process_and_release() -> None:
    key = "4d52a1126d25bebdb298f7d8183a5bb2ba35670816afa80dfce5b95951950868"
    assert content_key(b"\x00bytes", "détail", 7, -1, "") == key


def test_types_outside_the_contract_are_refused() -> None:
    for field in (True, 1.5, None, bytearray(b"x")):
        with pytest.raises(TypeError, match="field is"):
            content_key(field)  # type: ignore[arg-type]


def _png(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def test_images_with_the_same_sample_values_have_keys_of_their_own() -> None:
    samples = bytes(range(150)) * 30
    wide, high = Image.frombytes("L", (150, 30), samples), Image.frombytes("L", (30, 150), samples)
    palettes = []
    for colour in (10, 200):
        image = Image.frombytes("P", (150, 30), samples)
        image.putpalette([colour] * 768)
        palettes.append(image)
    images = [
        _png(wide),
        _png(high),
        *map(_png, palettes),
        _png(palettes[0], transparency=3),
        _png(wide.convert("RGB")),
        _png(wide.convert("RGBA")),
    ]
    assert len({content_key(data) for data in images}) == len(images)
