"""A headless Chromium, made of Debian's packages for as long as it is needed.

    apt-get install chromium chromium-driver

It has WebGL2 in software and reaches no network; what a page writes to its console as an error, or
asks of a network, is kept for the test to look at.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PROGRAMS = ("chromium", "chromedriver")
# A desk, and a phone.
DESK, PHONE = (1280, 900), (375, 740)
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-gpu-watchdog",
    "--hide-scrollbars",
    # Every name leads nowhere: a page that needs a network is one that fails.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

needs_browser = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason="needs Debian's chromium and chromium-driver"
)


class Browser:
    """One window of a browser.

    Attributes:
      driver: Selenium's, for what is not told here.
    """

    def __init__(self, driver: webdriver.Chrome):
        self.driver = driver

    def open(
        self, path: Path, size: tuple[int, int] = DESK, *, dark: bool = False, touch: bool = False
    ) -> None:
        """Shows a file.

        Args:
          path: of the file.
          size: of the window, in CSS pixels.
          dark: whether the reader's system asks for dark colours.
          touch: whether there are fingers, and no mouse.
        """
        self.resize(size, dark=dark, touch=touch)
        self.driver.get_log("browser")  # what the page before has written
        self.driver.get(path.absolute().as_uri())

    def resize(self, size: tuple[int, int], *, dark: bool = False, touch: bool = False) -> None:
        """Changes the window, as `open` has it, around the page that is open."""
        width, height = size
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch},
        )

    def evaluate(self, script: str, *arguments: Any) -> Any:
        """What the body of a function of JavaScript returns, once it is there if it is a promise.

        Its arguments are `arguments[0]` and so on.
        """
        return self.driver.execute_script(script, *arguments)

    def errors(self) -> list[str]:
        """The errors and warnings that the page has written to its console since the last call.

        That reading pixels is slow is none of them: tests do so.
        """
        return [
            f"{entry['level']}: {entry['message']}"
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING") and "ReadPixels" not in entry["message"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return self.evaluate(
            "const page = document.documentElement; return page.scrollWidth - page.clientWidth;"
        )

    def screenshot(self, path: Path) -> None:
        """Writes what the window shows as PNG."""
        path.write_bytes(self.driver.get_screenshot_as_png())

    def drag(self, points: Sequence[tuple[float, float]], *, touch: bool = False) -> None:
        """Presses at the first point of the window, in CSS pixels, moves on and lets go."""
        send = self.driver.execute_cdp_cmd
        if touch:
            at = lambda place: {"touchPoints": [{"x": place[0], "y": place[1]}]}
            send("Input.dispatchTouchEvent", {"type": "touchStart"} | at(points[0]))
            for place in points[1:]:
                send("Input.dispatchTouchEvent", {"type": "touchMove"} | at(place))
            send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
            return
        moments = [
            ("mousePressed", points[0]),
            *(("mouseMoved", place) for place in points[1:]),
            ("mouseReleased", points[-1]),
        ]
        for kind, (x, y) in moments:
            button = {"button": "left", "buttons": 1, "clickCount": 1}
            send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y} | button)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Starts a browser, and ends it."""
    chromium, chromedriver = map(shutil.which, PROGRAMS)
    with tempfile.TemporaryDirectory(prefix="diffpattern-browser-") as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (*_ARGUMENTS, f"--user-data-dir={folder}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(chromedriver))
        driver.set_script_timeout(120)  # shaders in software, on a busy machine
        try:
            yield Browser(driver)
        finally:
            driver.quit()
