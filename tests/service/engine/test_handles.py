import copy
import json
from dataclasses import replace

import pytest

from service.domain import Detail, Handle, ImageRef, Run, SoftLayout
from service.engine.handles import PLUGIN_VERSION, part, substitute

LAYOUT = SoftLayout(target=(7, 8), runs=(Run(5, 1, False), Run(7, 32, True), Run(6, 1, False)))
HANDLE = Handle("ab" * 32, LAYOUT)


def image_at(message: int, part: int) -> ImageRef:
    return ImageRef("data:", Detail.AUTO, message, part, "")


def test_a_part_is_made_of_a_key_and_number_lists() -> None:
    assert part(HANDLE) == {
        "type": "image_embeds",
        "uuid": "ab" * 32,
        "image_embeds": {
            "soft_version": [PLUGIN_VERSION],
            "soft_target": [7, 8],
            "soft_layout": [5, 1, 0, 7, 32, 1, 6, 1, 0],
        },
    }


def test_a_grid_is_told_when_there_is_one() -> None:
    handle = Handle("ab" * 32, SoftLayout((7,), (Run(7, 6, True),), grid=(1, 4, 6)))
    assert part(handle)["image_embeds"]["image_grid_thw"] == [1, 4, 6]


def test_flags_are_numbers_in_json_too() -> None:
    assert json.loads(json.dumps(part(HANDLE)))["image_embeds"]["soft_layout"][2::3] == [0, 1, 0]
    assert "true" not in json.dumps(part(HANDLE))


def test_handles_take_the_places_of_images_and_nothing_else_changes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    payload = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [image, {"type": "text", "text": "?"}, image], "name": "x"},
            {"role": "user", "content": [{"type": "text", "text": "and"}, image]},
        ],
    }
    before = copy.deepcopy(payload)
    handles = [Handle(f"{number:064x}", LAYOUT) for number in range(3)]
    changed = substitute(payload, [image_at(1, 0), image_at(1, 2), image_at(2, 1)], handles)
    assert payload == before
    expected = copy.deepcopy(before)
    expected["messages"][1]["content"][0] = part(handles[0])  # type: ignore[index]
    expected["messages"][1]["content"][2] = part(handles[1])  # type: ignore[index]
    expected["messages"][2]["content"][1] = part(handles[2])  # type: ignore[index]
    assert changed == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("What?", " What?"), (" What?", " What?"), ("\nWhat?", "\nWhat?"), ("<b>", "<b>"), ("", "")],
)
def test_text_behind_an_image_begins_with_a_space_where_its_layout_says_so(text: str, expected: str) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    content = [{"type": "text", "text": "See"}, image, image, {"type": "text", "text": text}, image]
    payload = {"messages": [{"role": "user", "content": content}]}
    places = [image_at(0, 1), image_at(0, 2), image_at(0, 4)]
    for spaced in (True, False):
        handles = [Handle(f"{number:064x}", replace(LAYOUT, spaced=spaced)) for number in range(len(places))]
        made = substitute(payload, places, handles)["messages"][0]["content"]
        assert [part["text"] for part in made if part["type"] == "text"] == [
            "See",
            expected if spaced else text,
        ]
        assert [part["type"] for part in made].count("image_embeds") == 3
    assert content[3]["text"] == text


def test_there_must_be_a_handle_for_each_place() -> None:
    with pytest.raises(ValueError, match="shorter"):
        substitute(
            {"messages": [{"role": "user", "content": [{}, {}]}]}, [image_at(0, 0), image_at(0, 1)], [HANDLE]
        )
