"""A browser for the tests of this folder: Debian's Chromium, watched for everything it should not do."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.houses import House

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class Watched:
    """A page, and what it did that it should not."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._requested)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _requested(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.foreign.append(request.url)


@pytest.fixture(scope="module")  # Playwright keeps an event loop, beside which asynchronous tests cannot run
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on this machine; install the package 'chromium'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def watched(browser: Browser, running_house: House, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """The chat page of a running Hearth, at first sight; `context` options come by parametrization."""
    options = getattr(request, "param", {})
    with browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **options}) as context:
        made = Watched(context.new_page(), running_house.agent)
        made.page.set_default_timeout(15_000)
        made.listen()
        made.page.goto(made.url)
        yield made


@pytest.fixture
def page(watched: Watched) -> Iterator[Page]:
    """The page, where neither a complaint of the browser nor a request to another host is expected."""
    yield watched.page
    assert (watched.errors, watched.foreign) == ([], [])
