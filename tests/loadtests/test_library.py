"""What is asked is the same for the same seed, true of its pictures, and well-formed for OpenAI's API."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest

from demo.world import draw_scene, scene_seed
from loadtests import pictures
from loadtests.bodies import body, data_urls
from loadtests.library import Library, build, expected, requests_per_visit
from loadtests.options import KINDS, Options
from service.api.chat.schema import parse_chat
from service.api.limits import RequestLimits

Parse = Callable[..., Options]
SMALL = "chat=1,conversation=1,gallery=1,text=1,repeated=1,broken=1"


@pytest.fixture
def library(options: Parse) -> Library:
    return build(options("--count", "3", "--mix", SMALL))


def test_the_same_seed_asks_the_same(options: Parse, library: Library) -> None:
    assert build(options("--count", "3", "--mix", SMALL)) == library
    assert build(options("--count", "3", "--mix", SMALL, "--seed", "2"))["chat"] != library["chat"]


def test_kinds_without_weight_are_not_made(library: Library) -> None:
    assert set(library) == set(KINDS) - {"huge"}


def test_names_are_unique_and_turns_are_as_many_as_counted(library: Library) -> None:
    names = [script.name for scripts in library.values() for script in scripts]
    assert len(set(names)) == len(names)
    for kind, scripts in library.items():
        assert {len(script.turns) for script in scripts} == {requests_per_visit(kind)}


def test_what_is_expected_is_what_was_drawn(options: Parse) -> None:
    library = build(options("--count", "24", "--mix", "chat=1"))
    drawn = {pictures.scene(1, i)[1]: draw_scene(scene_seed("test", 1, i), "shapes")[0] for i in range(40)}
    asked = 0
    for script in library["chat"]:
        things = drawn[script.images[0]].things
        question, truth = script.turns[0].question, script.turns[0].truth
        if "colour" in question:
            assert [thing.colour for thing in things if thing.shape in question] == [truth]
        elif "shape" in question.lower():
            assert [thing.shape for thing in things if thing.colour in question] == [truth]
        else:
            continue
        asked += 1
    assert asked > 5


def test_only_a_first_question_about_one_image_has_a_truth(library: Library) -> None:
    assert all(script.turns[0].truth for script in (*library["chat"], *library["repeated"], *library["text"]))
    for script in library["conversation"]:
        assert script.turns[0].truth and not any(turn.truth for turn in script.turns[1:])
    assert not any(script.turns[0].truth for script in library["gallery"])


def test_a_gallery_has_four_different_images(library: Library) -> None:
    assert all(len(set(script.images)) == 4 for script in library["gallery"])


@pytest.mark.parametrize("kind", ["chat", "conversation", "gallery", "text", "repeated"])
def test_requests_are_what_the_service_takes(library: Library, kind: str) -> None:
    script = library[kind][0]
    said = ["red"] * (len(script.turns) - 1)
    urls = data_urls(script, b"nonce")
    request = body(script, urls, said, model="demo", max_tokens=48)
    assert len(parse_chat(request, RequestLimits()).images) == len(script.images)
    written = json.loads(request)
    assert written["messages"][-1]["role"] == "user" and len(written["messages"]) == 2 * len(said) + 1
    sent = [
        part["image_url"]["url"] for part in written["messages"][0]["content"] if part["type"] == "image_url"
    ]
    assert sent == [url.decode() for url in urls]


def test_images_are_new_at_every_visit_but_the_repeated_ones(library: Library) -> None:
    for kind, new in (("chat", True), ("gallery", True), ("repeated", False), ("broken", False)):
        script = library[kind][0]
        assert (data_urls(script, b"1") != data_urls(script, b"2")) == new
    one, two = (
        base64.b64decode(url.partition(b",")[2]) for url in data_urls(library["gallery"][0], b"1")[:2]
    )
    assert one != two


def test_another_model_is_asked_for_no_truth(options: Parse) -> None:
    chosen = options("--images", "photos", "--answers", "none", "--count", "1", "--mix", "text=1,broken=1")
    library = build(chosen)
    assert expected(library["text"][0], 0, None, chosen).truth is None
    assert expected(library["broken"][0], 0, None, chosen).any_code


@pytest.mark.parametrize(("server", "ours"), [("patchbay", True), ("other", False)])
def test_another_server_is_judged_by_its_answers_and_not_by_patchbays_words(
    server: str, ours: bool, options: Parse
) -> None:
    chosen = options("--server", server, "--count", "1", "--mix", "chat=1,broken=1")
    library = build(chosen)
    chat = expected(library["chat"][0], 0, "red", chosen)
    assert chat.image_tokens == ours and chat.alone == "red" and chat.truth is not None
    assert expected(library["broken"][0], 0, None, chosen).any_code != ours
