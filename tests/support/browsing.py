"""Headless Chromium, driven by playwright: what a reader of a page sees and does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Callable[..., Any]]:
    """Gives what opens a page: a file, with the options of playwright's contexts; skips where there is no browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install '.[browser]'")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])

        def open_page(file: Path, **options: Any) -> Any:
            page = browser.new_context(**options).new_page()
            page.complaints = []
            page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: page.complaints.append(str(error)))
            page.goto(file.resolve().as_uri())
            return page

        yield open_page
        browser.close()
