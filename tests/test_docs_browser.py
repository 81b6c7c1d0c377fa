"""The docs in a real browser: the front page leads to each job, nothing is loaded from elsewhere, all can read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium
from documents import HOME

pytestmark = pytest.mark.browser
PAGES = ("index", "start", "tutorials/first-attack", "attacks", "reference/spikeflip")
VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def opened() -> Iterator[Callable[..., Any]]:
    with chromium() as open_page:
        yield open_page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The docs, their tutorials as they are typed."""
    build = pytest.importorskip("sphinx.cmd.build", reason="needs Sphinx: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    assert build.build_main(["-q", "-b", "html", "-D", "run_tutorials=0", str(HOME / "docs"), str(folder)]) == 0
    return folder


def test_each_job_is_one_click_away(site, opened):
    page = opened(site / "index.html")
    cards = page.locator(".cards a")
    targets = [cards.nth(number).get_attribute("href") for number in range(cards.count())]
    names = ("my-model", "recordings", "sweep", "defence")
    assert targets == [*(f"tutorials/{name}.html" for name in names), "how-to/cluster.html"]
    for number, target in enumerate(targets):
        page.goto((site / "index.html").as_uri())
        page.locator(".cards li").nth(number).click(position={"x": 8, "y": 8})  # all of a card leads to its page
        assert page.url == (site / target).as_uri()


def test_code_is_reached_and_scrolled_by_keyboard(site, opened):
    page = opened(site / "index.html", viewport={"width": 390, "height": 800})
    code = page.locator(".highlight pre").first
    code.focus()
    assert page.evaluate("document.activeElement.tagName") == "PRE"
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.highlight pre').scrollLeft > 0")


def test_formulae_are_mathml(site, opened):
    page = opened(site / "reference" / "spikeflip.html")
    assert page.locator("math").count() >= 2
    assert page.locator("math mo").first.is_visible()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_fits_and_can_be_read_by_all(name, site, opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: pip install '.[browser]'")
    for width, scheme in VIEWS:
        page = opened(site / f"{name}.html", viewport={"width": width, "height": 900}, color_scheme=scheme)
        loaded = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        assert [one for one in loaded if not one.startswith(("file:", "data:"))] == []
        assert page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == [], (width, scheme)
        page.context.close()
