"""Headless Chromium for tests of what is shown in a browser."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Starts the machine's own Chromium; without one the test is skipped, or fails in CI, where it must be."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        message = "there is no Chromium; on Debian: sudo apt-get install chromium"
        (pytest.fail if "CI" in os.environ else pytest.skip)(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root has no sandbox
        try:
            yield browser
        finally:
            browser.close()
