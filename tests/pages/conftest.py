"""What tests of pages in a browser share."""

import browser
import pytest


@pytest.fixture(scope="module")
def chromium():
    """A running Chromium; the test is skipped where there is none."""
    path = browser.needed_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()
