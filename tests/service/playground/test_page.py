"""The page in a real browser, before the real gateway; the engine says what a test wants it to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from service.app.service import SCENES
from service.errors import EngineUnavailable
from tests.browser import Page, chromium
from tests.service.families.native.test_geometry import made
from tests.service.playground.gateway import Gateway


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with chromium() as running:
        yield running


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def page(driver: webdriver.Chrome, gateway: Gateway) -> Iterator[Page]:
    with gateway.running() as url:
        yield opened(driver, url).ready()


def opened(driver: webdriver.Chrome, url: str) -> Page:
    page = Page(driver, url)
    page.paint()
    page.complaints()
    page.driver.get(url)
    page.until("#figures .frame")
    return page


def pictures(folder: Path, *sizes: tuple[int, int]) -> list[Path]:
    made = []
    for index, size in enumerate(sizes):
        made.append(folder / f"picture {index}.png")
        Image.new("RGB", size, (200, 40 * index, 90)).save(made[-1])
    return made


def test_a_scene_a_question_an_answer_and_what_it_cost(page: Page) -> None:
    assert page.text("#model") == "demo"
    page.button("What colour is the star?").click()
    page.until("#answer", "red")
    page.until("#cost")
    assert "278 × 278 · 3 × 3 tiles and a thumbnail · 160 tokens · detail high · encoded" in page.text(
        "figcaption"
    )
    # one outline and two inner lines each way
    assert (page.find(".tiles .line").get_attribute("d") or "").count("M") == 5
    frame, tiles = page.find(".frame img").rect, page.find(".tiles").rect
    assert {key: round(value) for key, value in frame.items()} == {k: round(v) for k, v in tiles.items()}
    stages = page.stages()
    assert stages.pop("total") == pytest.approx(sum(stages.values()), abs=0.01)
    assert {"body", "engine_first_token", "engine_answer"} <= set(stages)
    assert page.text("#facts").split("\n")[2:] == [
        *("Image tokens", "160", "Image cache", "miss"),
        *("Prompt tokens", "177", "Answer tokens", "2"),
    ]
    page.find("#ask").click()
    page.until("figcaption", "from cache")
    assert page.complaints() == []


def test_tiles_can_be_hidden_and_low_detail_is_one(page: Page) -> None:
    page.find("input[value=low]").click()
    page.find("#ask").click()
    page.until("figcaption", "1 tile · 16 tokens · detail low")
    assert page.find(".tiles").is_displayed()
    page.find("#tiles").click()
    assert not page.find(".tiles").is_displayed()


def test_a_grid_too_fine_to_see_is_told_and_not_drawn(driver: webdriver.Chrome, tmp_path: Path) -> None:
    large, small = pictures(tmp_path, (1680, 1680), (280, 140))
    with Gateway(geometry=made()).running() as url:
        page = opened(driver, url).ready()
        page.find("input[value=high]").click()
        page.find("#choose").send_keys(f"{large}")
        page.ask("What is it?")
        page.until("figcaption", "1680 × 1680 · 60 × 60 tiles · 3600 tokens · detail high")
        page.until(".tiles.fine")
        assert not page.find(".tiles .line").is_displayed()
        page.button("×").click()
        page.find("#choose").send_keys(f"{small}")
        page.ask("What is it?")
        page.until("figcaption", "280 × 140 · 10 × 5 tiles · 50 tokens · detail high")
        assert not page.all(".tiles.fine") and page.find(".tiles .line").is_displayed()
        assert page.complaints() == []


def test_several_pictures_go_in_their_order(page: Page, gateway: Gateway, tmp_path: Path) -> None:
    files = pictures(tmp_path, (300, 200), (120, 120), (64, 90), (50, 50), (40, 40))
    page.find("#choose").send_keys("\n".join(map(str, files[:2])))
    page.until("figcaption", "picture 1.png")
    page.find("#add").send_keys(str(files[2]))
    page.until("figcaption", "picture 2.png")
    page.ask("Which one?")
    page.until("figcaption", "64 × 90")
    assert [each.text.split("\n")[1].split(" · ")[0] for each in page.all("figcaption")] == [
        *("300 × 200", "120 × 120", "64 × 90"),
    ]
    (message,) = gateway.engine.asked[-1]["messages"]
    assert [part["type"] for part in message["content"]] == [*["image_embeds"] * 3, "text"]
    page.button("×").click()
    page.until("#waiting")
    assert len(page.all("figure")) == 2
    page.drop(*files)
    page.until("#error", "Only 4 pictures")
    assert len(page.all("figure")) == 4
    assert page.complaints() == []


def test_a_picture_can_be_pasted(page: Page, tmp_path: Path) -> None:
    page.driver.execute_async_script(
        "const done = arguments[0];"
        "fetch('playground/scenes/small.png').then((answer) => answer.blob()).then((blob) => {"
        "const data = new DataTransfer(); data.items.add(new File([blob], '', {type: 'image/png'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true})); done(); });"
    )
    page.until("figcaption", "pasted.png")


def test_a_question_waits_for_the_picture_that_was_chosen_last(page: Page, gateway: Gateway) -> None:
    page.driver.execute_script(
        "const real = window.fetch; window.fetch = (what, ...how) => String(what).endsWith('wide.jpg')"
        " ? new Promise((go) => { window.arrive = () => go(real(what, ...how)); }) : real(what, ...how);"
    )
    page.button("Four shapes").click()
    assert page.find("#question").get_attribute("value") == "What colour is the square?"
    page.ask("Where is it?")
    assert gateway.engine.asked == []
    page.driver.execute_script("window.arrive()")
    page.until("figcaption", "433 × 324")
    (asked,) = gateway.engine.asked
    assert asked["messages"][0]["content"][1]["text"] == "Where is it?"
    assert page.complaints() == []


def test_a_broken_picture_is_told_with_its_place(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    page.drop(broken)
    page.until(".blank", "no preview")
    page.ask("What is it?")
    error = page.until("#error").text
    assert "messages[0].content[0].image_url.url" in error and "unsupported_image_format" in error
    page.find("figure.wrong")
    (complaint,) = page.complaints()
    assert "400 (Bad Request)" in complaint


def test_an_answer_can_be_cancelled(page: Page, gateway: Gateway) -> None:
    gateway.engine.words = ()
    for cancel in (lambda: page.find("#cancel").click(), lambda: page.find("body").send_keys(Keys.ESCAPE)):
        page.find("#ask").click()
        page.until("#answer", "well,")
        assert page.find("#ask").get_attribute("aria-disabled") == "true"
        cancel()
        page.until("#error", "Cancelled.")
        assert not page.find("#cancel").is_displayed()
    gateway.engine.words = ("red",)
    page.find("#ask").click()
    page.until("#answer", "red")
    # the server has seen it, and let the engine go
    assert [reply.closed for reply in gateway.engine.given[:2]] == [True, True]


def test_a_key_is_asked_for_and_kept_in_memory_alone(driver: webdriver.Chrome) -> None:
    with Gateway("sesame").running() as url:
        page = opened(driver, url).ready()
        page.until("#key").send_keys("wrong")
        page.find("#ask").click()
        page.until("#error", "does not accept the API key")
        page.find("#key").clear()
        page.find("#key").send_keys("sesame" + Keys.TAB)
        page.until("#model", "demo")
        page.find("#ask").click()
        page.until("#answer", "red")
        command = page.find("#curl").get_attribute("textContent") or ""
        assert "$API_KEY" in command and "sesame" not in command
        kept = page.driver.execute_script(
            "return [localStorage.length, sessionStorage.length, document.cookie]"
        )
        assert kept == [0, 0, ""]
        page.driver.refresh()
        page.until("#key")
        assert page.find("#key").get_attribute("value") == ""


@pytest.mark.parametrize("admin_port", [False, True])
def test_a_start_is_waited_for(driver: webdriver.Chrome, admin_port: bool) -> None:
    gateway = Gateway(admin_port=admin_port)
    gateway.health.told = {"engine": "starting"}
    with gateway.running() as url:
        page = opened(driver, url)
        page.until("#state", "engine: starting")
        page.find("#ask").click()
        assert gateway.engine.asked == []
        gateway.health.told = {}
        page.ready()
        page.find("#ask").click()
        page.until("#answer", "red")


def test_an_engine_that_is_away_is_told(page: Page, gateway: Gateway) -> None:
    gateway.engine.refuses = EngineUnavailable("the engine is restarting", retry_after=1)
    gateway.engine.is_alive = False
    page.find("#ask").click()
    page.until("#error", "the engine is restarting")
    gateway.engine.refuses = None
    page.ready()
    page.find("#ask").click()
    page.until("#answer", "red")


def test_the_curl_command_asks_the_same(page: Page, gateway: Gateway) -> None:
    question = """Say "$HOME", `id`, \\n or 'picture 0'?"""
    page.ask(question)
    page.until("#cost")
    page.find("#curl-row summary").click()
    command = page.text("#curl")
    assert "base64 < demo/scenes/shapes.jpg" in command
    done = subprocess.run(["bash", "-c", command], cwd=SCENES.parent.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"content": "red"' in done.stdout and '"patchbay":' in done.stdout
    from_page, from_shell = gateway.engine.asked
    assert from_page == from_shell
    assert from_page["messages"][0]["content"][-1]["text"] == question


def test_options_go_into_the_request(page: Page, gateway: Gateway) -> None:
    page.find("#options summary").click()
    page.find("#system").send_keys("Answer in one word.")
    for name, value in (("temperature", "0.7"), ("length", "12")):
        page.find(f"#{name}").clear()
        page.find(f"#{name}").send_keys(value)
    page.ask("What is it?")
    page.until("#cost")
    asked = gateway.engine.asked[-1]
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["messages"][0]["content"] == "Answer in one word."
    assert (asked["temperature"], asked["max_tokens"]) == (0.7, 12)
    assert "Answer in one word." in (page.find("#curl").get_attribute("textContent") or "")


def test_without_options_there_is_no_system_message_and_no_chance(page: Page, gateway: Gateway) -> None:
    page.ask("What is it?")
    page.until("#cost")
    asked = gateway.engine.asked[-1]
    assert [message["role"] for message in asked["messages"]] == ["user"]
    assert (asked["temperature"], asked["max_tokens"]) == (0, 256)


def test_an_impossible_option_is_shown_and_not_sent(page: Page, gateway: Gateway) -> None:
    page.find("#options summary").click()
    page.find("#temperature").clear()
    page.find("#temperature").send_keys("3")
    page.find("#options summary").click()
    page.find("#ask").click()
    page.until("#temperature")
    assert page.focused == page.find("#temperature")
    assert gateway.engine.asked == []


def test_a_broken_picture_below_a_system_text_is_found_too(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    page.drop(broken)
    page.find("#options summary").click()
    page.find("#system").send_keys("Be brief.")
    page.ask("What is it?")
    assert "messages[1].content[0].image_url.url" in page.until("#error").text
    page.find("figure.wrong")


def test_an_answer_can_be_copied(page: Page, gateway: Gateway) -> None:
    assert not page.find("#copy-answer").is_displayed()
    page.driver.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}})"
    )
    page.ask("What is it?")
    page.until("#cost")
    page.find("#copy-answer").click()
    page.until("#copy-answer", "Copied")
    assert page.driver.execute_script("return window.copied") == "red"
    gateway.engine.words = ("blue",)
    page.find("#ask").click()
    page.until("#answer", "blue")
    page.until("#copy-answer", "Copy")


def test_an_answer_that_cannot_be_copied_is_selected(page: Page) -> None:
    page.driver.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async () => { throw new Error(); }}})"
    )
    page.ask("What is it?")
    page.until("#cost")
    page.find("#copy-answer").click()
    page.until("#copy-answer", "Selected")
    assert page.driver.execute_script("return getSelection().toString()") == "red"


@pytest.mark.parametrize(("width", "height"), [(390, 664), (360, 640)])
def test_on_a_telephone_a_question_is_asked_without_scrolling(page: Page, width: int, height: int) -> None:
    page.paint(width=width, height=height)
    for css in ("#figures .frame", "#choose", "#question", "input[value=high]", "#ask"):
        seen = page.driver.execute_script(
            "const box = arguments[0].getBoundingClientRect(); return [box.top, box.bottom, box.left, box.right]",
            page.find(css),
        )
        assert seen[0] >= 0 and seen[1] <= height, css
        assert seen[2] >= 0 and seen[3] <= width, css


READABLE = """
const luminance = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
  .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (!colour.endsWith(", 0)")) return colour;
  }
};
const texts = [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() &&
  ([...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) || node.matches("textarea")));
return [texts.length, ...texts.map((node) => {
  const [low, high] = [luminance(getComputedStyle(node).color), luminance(ground(node))].sort((a, b) => a - b);
  return [node.textContent.slice(0, 40), (high + 0.05) / (low + 0.05)];
})];
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_can_be_read_in_every_light_and_width(page: Page, dark: bool, width: int) -> None:
    page.paint(dark=dark, width=width)
    page.find("#ask").click()
    page.until("#cost")
    for folded in page.all("summary"):
        folded.click()
    count, *found = page.driver.execute_script(READABLE)
    assert count > 40
    # WCAG 2.2, 1.4.3, level AA
    assert [each for each in found if each[1] < 4.5] == []
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert (
        page.driver.execute_script("return getComputedStyle(document.body).color") == "rgb(21, 26, 33)"
    ) is not dark


def test_it_can_be_used_from_the_keyboard(page: Page) -> None:
    """Every control is reached by Tab, in reading order, is named, and shows where the focus is."""
    page.find("#ask").click()
    page.until("#cost")
    page.driver.execute_script("document.getElementById('tiles').focus()")
    order = [
        "tiles",
        "remove",
        "choose",
        "add",
        *["scene"] * 4,
        "question",
        "detail",
        "ask",
        *["chip"] * 3,
        "summary",
        "copy-answer",
        "summary",
    ]
    for expected in order:
        focused = page.focused
        named = (focused.get_attribute(name) for name in ("id", "class", "name"))
        assert next(filter(None, named), focused.tag_name) == expected
        assert focused.accessible_name or expected == "summary"
        page.press(Keys.TAB)
