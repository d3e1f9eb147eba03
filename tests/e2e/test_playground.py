"""The page at `/` in a real browser, before the real service and the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from demo.world import draw_scene, scene_seed
from tests.browser import Page, chromium
from tests.e2e.server import Server

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(driver: webdriver.Chrome, patchbay: Server) -> Iterator[Page]:
    page = Page(driver, f"{patchbay.url}/").ready()
    page.until("#figures .frame")
    yield page
    assert page.complaints() == []


def test_a_scene_is_asked_about_and_answered(page: Page) -> None:
    page.until("#model", "patchbay-demo")
    page.button("Small writing").click()
    page.until("figcaption", "small.png")
    page.find("input[value=high]").click()
    page.button("What number is written?").click()
    page.until("#answer", "747")
    page.until("#cost")
    assert page.find(".tiles").is_displayed()
    assert "225 × 335 · 2 × 3 tiles and a thumbnail · 112 tokens · detail high" in page.text("figcaption")
    stages = page.stages()
    assert stages.pop("total") == pytest.approx(sum(stages.values()), abs=0.02)
    assert stages["engine_first_token"] > 0 and "engine_answer" in stages


def test_a_dropped_file_is_encoded_once(page: Page, tmp_path: Path) -> None:
    _, drawn = draw_scene(scene_seed("test", 78, 1), "shapes")
    drawn.save(tmp_path / "mine.png")
    page.drop(tmp_path / "mine.png")
    page.until("figcaption", "mine.png")
    page.ask("Describe the picture.")
    page.until("figcaption", "encoded")
    assert page.text("#answer")
    assert {"decode", "encode", "transfer"} <= set(page.stages())
    page.ask("How many objects are there?")
    page.until("figcaption", "from cache")
    assert "hit" in page.text("#facts")
    assert not {"decode", "encode", "transfer"} & set(page.stages())


def test_the_keyboard_is_enough(page: Page) -> None:
    page.driver.execute_script("document.getElementById('question').focus()")
    for _ in range(4):
        page.press(Keys.SHIFT, Keys.TAB)
    assert "Five shapes" in page.focused.text
    page.press(Keys.ENTER)
    for _ in range(4):
        page.press(Keys.TAB)
    assert page.focused == page.find("#question")
    page.press(Keys.CONTROL, "a")
    page.press("Which colour does the star have?")
    page.press(Keys.ENTER)
    page.until("#answer", "red")
    page.until("figcaption", "3 × 3 tiles")


def test_a_broken_picture_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    page.drop(tmp_path / "broken.jpg")
    page.until(".blank")
    page.ask("What is it?")
    assert "messages[0].content[0].image_url.url" in page.until("#error").text
    (complaint,) = page.complaints()
    assert "400 (Bad Request)" in complaint
