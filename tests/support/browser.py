"""A headless Chromium for tests of pages, where there is one."""

import os
import re
import shutil
import zlib

import pytest

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)


def find_chromium():
    """The path of a Chromium: `UNIFORMER_CHROMIUM`, else one of its names on PATH; None without any."""
    if given := os.environ.get("UNIFORMER_CHROMIUM"):
        return shutil.which(given)
    return next(filter(None, map(shutil.which, NAMES)), None)


def needed_chromium():
    """The path of a Chromium; skips the test without it, or without the libraries that drive it."""
    for library in ("playwright.sync_api", "axe_playwright_python.sync_playwright"):
        pytest.importorskip(library, reason="needs the extra `browser`: make test-browser")
    path = find_chromium()
    if path is None:
        pytest.skip(
            f"needs a Chromium: none of {', '.join(NAMES)} is on PATH; UNIFORMER_CHROMIUM names another"
        )
    return path


def pdf_pages(pdf):
    """How many sheets a PDF of Chromium has."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def pdf_drawings(pdf):
    """All that a PDF of Chromium draws, as the text of its operators."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, flags=re.DOTALL):
        try:
            found.append(zlib.decompress(stream).decode("latin-1"))
        except zlib.error:
            continue  # a picture, or a font
    return "\n".join(found)
