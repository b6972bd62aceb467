"""A headless Chromium, and the words in which the check reads and uses the page."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
DRIVER = "chromedriver"
# Inter is the page's first choice of a font; without it the picture falls back to one of the system's.
PACKAGES = ["chromium", "chromium-driver", "curl", "fonts-inter"]
WAIT_SECONDS = 20
WIDTH, HEIGHT = 1280, 900


def require():
    """Makes sure of the browser, its driver and curl: root gets the Debian packages, anybody else is told what to install."""
    if found() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL, "check": True}
        subprocess.run(["apt-get", "update"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES], **quiet)
    if found() is None:
        fail(f"no Chromium, {DRIVER} or curl on the path: as root `apt-get install {' '.join(PACKAGES)}` (Debian), "
             f"or install curl, one of {', '.join(BROWSERS)}, and its {DRIVER}")
    try:
        import selenium  # noqa: F401
    except ImportError:
        fail("no selenium: `pip install -r tests/requirements.txt`; scripts/test has it in target/venv")


def found():
    """The paths of browser and driver, or None."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which(DRIVER)
    return (browser, driver) if browser and driver and shutil.which("curl") else None


def fail(message):
    print(message, file=sys.stderr)
    sys.exit(2)


class Browser:
    def __init__(self):
        from selenium import webdriver

        browser, driver = found()
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for argument in ("--headless=new", f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars", "--lang=en-US"):
            options.add_argument(argument)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium refuses to run as root with one
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
        self.resize(WIDTH, HEIGHT)

    def close(self):
        self.driver.quit()

    def open(self, url):
        self.driver.get("about:blank")  # a change of the link alone would not load the page anew
        self.driver.get(url)

    def attempt(self, url):
        """Opens what may not open; returns what the browser says or shows."""
        from selenium.common.exceptions import WebDriverException

        try:
            self.driver.get(url)
        except WebDriverException as failure:
            return failure.msg
        return self.driver.page_source

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        from selenium.webdriver.common.by import By

        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        from selenium.webdriver.common.by import By

        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        """The text as the document has it, seen or not."""
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def until(self, claim, what):
        """Waits until the claim holds and returns what it gave; fails by saying what did not come."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            return WebDriverWait(self.driver, WAIT_SECONDS, poll_frequency=0.1).until(lambda _: claim())
        except TimeoutException:
            seen = self.run("return document.body.innerText")
            raise AssertionError(f"within {WAIT_SECONDS} s it did not come about that {what}; the page says:\n{seen}") from None

    def type(self, selector, text, enter=False):
        from selenium.webdriver.common.keys import Keys

        self.find(selector).send_keys(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE, text, Keys.ENTER if enter else "")

    def console(self):
        """What the browser logged since the last asking."""
        return self.driver.get_log("browser")

    def picture(self, path, width=WIDTH):
        """Saves the whole page, as long as it is, at that width."""
        self.resize(width, HEIGHT)
        self.resize(width, self.run("return document.documentElement.scrollHeight"))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    # ------------------------------------------------------------------------------------------- the words of the page

    def stream(self, name):
        """A stream's row, by column title; read at once, so that the numbers belong together."""
        return self.run("""
            const titles = [...document.querySelectorAll("#streams thead th")].map((cell) => cell.textContent);
            const rows = [...document.querySelectorAll("#streams tr.object")];
            const row = rows.find((row) => row.querySelector("button").textContent === arguments[0]);
            return row ? Object.fromEntries([...row.cells].map((cell, place) => [titles[place], cell.textContent])) : null;
        """, name)

    def answer(self):
        """The answer that is shown: what was asked, as of when, at which positions, its values; None without one."""
        return self.run("""
            const text = (selector) => document.querySelector(selector).textContent;
            if (document.getElementById("answered").hidden) return null;
            const rows = (selector) => [...document.querySelectorAll(selector)].map((row) =>
              [...row.cells].map((cell) => cell.textContent));
            return {
              title: text("#title"),
              as_of: text("#answered-as-of").replace(" UTC", ""),
              known: text("#known"),
              positions: Object.fromEntries(rows("#freshness tbody tr").map((cells) =>
                [cells[0], Number(cells[1].replaceAll(",", ""))])),
              values: Object.fromEntries(rows("#values tr").map((cells) => [cells[0], cells[1]])),
              is_old: document.getElementById("answered").classList.contains("old"),
            };
        """)

    def column(self, name):
        """The selector of a request column's field."""
        place = self.run("""
            const labels = [...document.querySelectorAll("#columns .above > label:first-child")];
            return labels.findIndex((label) => label.firstChild.textContent === arguments[0]);
        """, name)
        assert place >= 0, f"no field for the request column `{name}`"
        return f"#column-{place}"
