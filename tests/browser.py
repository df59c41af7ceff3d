"""A real headless Chromium for the tests of the HTML reports, its network cut, its console and its requests watched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

try:
    from selenium import webdriver
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.remote.webelement import WebElement
except ImportError:  # an environment without the development group
    webdriver = None  # type: ignore[assignment]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = (
    "" if webdriver and CHROMIUM and DRIVER else "no Chromium with its driver here: make reporttools installs them"
)

FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    # Nothing listens there, and no name is found: whatever would leave the page fails.
    "--proxy-server=127.0.0.1:9",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Browser:
    """One browser window. Every wait is for a condition; nothing sleeps a fixed time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, fragment: str = "", wait_for: str = "main") -> None:
        """Opens a file from disk, and waits until an element is there."""
        self.driver.get("about:blank")
        self.logs()
        self.driver.get(path.resolve().as_uri() + fragment)
        self.wait(f"document.querySelector({json.dumps(wait_for)})")

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script in the page."""
        return self.driver.execute_script(f"return {script}", *arguments)

    def wait(self, condition: str, seconds: float = 20) -> Any:
        """Waits until a JavaScript expression is true, and returns it."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(
            lambda driver: driver.execute_script(f"return {condition}"), condition
        )

    def all(self, selector: str) -> list[WebElement]:
        """The elements of a CSS selector."""
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def one(self, selector: str) -> WebElement:
        """The first element of a CSS selector that is displayed."""
        return next(element for element in self.all(selector) if element.is_displayed())

    def text(self, selector: str) -> str:
        """The text of the first displayed element."""
        return str(self.one(selector).text)

    def keys(self, *keys: str) -> None:
        """Presses keys, one after the other, wherever the focus is."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def click_at(self, x: float, y: float) -> None:
        """A real click at a point of the window."""
        actions = ActionChains(self.driver)
        actions.w3c_actions.pointer_action.move_to_location(int(x), int(y))
        actions.w3c_actions.pointer_action.click()
        actions.perform()

    def move_to(self, x: float, y: float) -> None:
        """Moves the mouse to a point of the window."""
        actions = ActionChains(self.driver)
        actions.w3c_actions.pointer_action.move_to_location(int(x), int(y))
        actions.perform()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Presses the button at a point of the window, moves, and lets it go."""
        pointer = (actions := ActionChains(self.driver)).w3c_actions.pointer_action
        pointer.move_to_location(*map(int, start))
        pointer.pointer_down()
        pointer.move_to_location(*map(int, end))
        pointer.pointer_up()
        actions.perform()

    def size(self, width: int, height: int) -> None:
        """Makes the page's area that large."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, **features: str) -> None:
        """Media features such as `prefers-color-scheme`, dashes written as underscores; `media="print"` prints."""
        media = features.pop("media", "")
        values = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": values})

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """The window, or the whole page, as a PNG file."""
        import base64

        options = {"captureBeyondViewport": whole}
        if whole:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            options["clip"] = {**size, "scale": 1}  # type: ignore[assignment]
        data = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        path.write_bytes(base64.b64decode(data))

    def logs(self) -> tuple[list[str], list[str]]:
        """Since the last call: console errors and warnings, and addresses requested other than files and `data:`."""
        console = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]
        requested = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                requested.append(message["params"]["request"]["url"])
        outside = [url for url in requested if not url.startswith(("data:", "file:", "about:", "blob:"))]
        return console, outside


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A new Chromium with its profile in `folder`. Skips the test where there is none."""
    if MISSING:
        pytest.skip(MISSING)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={folder}", *(("--no-sandbox",) if os.geteuid() == 0 else ())):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
