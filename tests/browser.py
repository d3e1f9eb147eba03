"""A headless Chromium for tests, driven by Debian's ChromeDriver. Tests that ask for it are skipped without either."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.waiting import DEADLOCK

STALE = (StaleElementReferenceException,)
# no look at the network but at the page, and no profile but a new one, which ChromeDriver makes
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
    ),
)


class Page:
    """The playground as somebody sees it who finds things by what they are called."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url
        self.driver.get(url)

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        return self.find(css).text

    def until(self, css: str, words: str = "") -> WebElement:
        """The first element that is shown and holds `words`, once there is one."""

        def found(driver: Any) -> WebElement | None:
            shown = (each for each in self.all(css) if each.is_displayed() and words in each.text)
            return next(shown, None)

        return WebDriverWait(self.driver, DEADLOCK, poll_frequency=0.1, ignored_exceptions=STALE).until(
            found, f"{css} never said {words!r}"
        )

    def ready(self) -> Page:
        self.until("#state", "ready")
        return self

    def button(self, words: str) -> WebElement:
        return next(each for each in self.all("button") if each.is_displayed() and words in each.text)

    def ask(self, question: str) -> None:
        box = self.find("#question")
        box.clear()
        box.send_keys(question)
        self.find("#ask").click()

    def press(self, *keys: str) -> None:
        """Presses keys wherever the focus is, modifiers together with what follows them."""
        chain = ActionChains(self.driver)
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in keys[:-1]:
            chain.key_up(key)
        chain.perform()

    @property
    def focused(self) -> WebElement:
        return self.driver.switch_to.active_element

    def drop(self, *files: Path) -> None:
        """Drops files on the page, as a file manager would."""
        # the only way for bytes into the page is an input; a drop event then carries them on
        self.driver.execute_script(
            "const input = document.createElement('input'); input.type = 'file'; input.multiple = true;"
            "input.id = 'hand'; document.body.append(input);"
        )
        self.find("#hand").send_keys("\n".join(map(str, files)))
        self.driver.execute_script(
            "const hand = document.getElementById('hand'); const data = new DataTransfer();"
            "for (const file of hand.files) data.items.add(file); hand.remove();"
            "const options = {dataTransfer: data, bubbles: true, cancelable: true};"
            "document.getElementById('stage').dispatchEvent(new DragEvent('drop', options));"
        )

    def stages(self) -> dict[str, float]:
        """Milliseconds by stage, as the list beside the bar has them; `total` among them."""
        return {
            (each.get_attribute("class") or "").removeprefix("stage-"): float(
                each.get_attribute("data-ms") or ""
            )
            for each in self.all("#legend li")
        }

    def complaints(self) -> list[str]:
        """What the console says since it was asked last: errors, and what the policy stopped."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def paint(self, *, dark: bool = False, width: int = 1280, height: int = 900) -> None:
        """How wide the window is, and which colours its owner prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


@contextmanager
def chromium(flags: Sequence[str] = ()) -> Iterator[webdriver.Chrome]:
    browser = _program("chromium") or _program("google-chrome")
    driver = _program("chromedriver")
    if browser is None or driver is None:
        pytest.skip(
            "no Chromium with ChromeDriver here: `make setup-test` fetches them from Debian's packages"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield running
    finally:
        running.quit()
