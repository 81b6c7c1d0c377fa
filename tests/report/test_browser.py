"""The pages in a real browser: the player shows what the run saved, by mouse and keyboard; all can read them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from browsing import chromium
from run_folders import make_run
from safetensors.numpy import load_file

from spikeflip.cli.app import main
from spikeflip.report import pixels, write_report
from spikeflip.snn.checkpoint import save_checkpoint

pytestmark = pytest.mark.browser
Open = Callable[..., Any]
VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def opened() -> Iterator[Open]:
    with chromium() as open_page:
        yield open_page


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on simulated recordings, with its trace."""
    folder = tmp_path_factory.mktemp("events")
    network = ["--network", "12C3-AP2-32FC-10FC", "--updates", "60", "--dropout", "0", "--widest-dropout", "0"]
    main(["train", "--simulate-events", *network, "--out", str(folder / "victim"), "--quiet"])
    options = ["--simulate-events", "--samples", "40", "--steps", "6", "--trace", "--quiet"]
    main(["attack", "--victim", str(folder / "victim"), *options, "--out", str(folder / "run")])
    return folder / "run"


@pytest.fixture(scope="module")
def images(digit_victim: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A targeted run on images."""
    folder = tmp_path_factory.mktemp("images")
    save_checkpoint(digit_victim, folder / "victim", {"loss": "mse"})
    options = ["--samples", "6", "--target", "all", "--draws", "4", "--steps", "6", "--quiet"]
    main(["attack", "--victim", str(folder / "victim"), *options, "--out", str(folder / "run")])
    return folder / "run"


def part(page: Any, name: str) -> Any:
    return page.locator(f'[data-part="{name}"]')


def filtered(page: Any, name: str) -> Any:
    return page.locator(f'[data-filter="{name}"]')


def until(holds: Callable[[], bool]) -> None:
    """Waits; the page's policy keeps playwright from waiting in it."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def pixels_of(page: Any, name: str) -> np.ndarray[Any, Any]:
    """What a canvas shows, `(H, W, 3)`."""
    script = """canvas => [canvas.height, canvas.width,
        [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]]"""
    height, width, values = part(page, name).evaluate(script)
    return np.array(values, dtype=np.uint8).reshape(height, width, 4)[..., :3]


def rows_of(run: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pyarrow.parquet.read_table(run / "rows.parquet").to_pydict()
    return found


def test_the_player_shows_every_step_as_it_was_saved(opened: Open, events: Path) -> None:
    page = opened(events / "report.html")
    saved = load_file(events / "adversarials.safetensors")
    row = next(i for i, won in enumerate(rows_of(events)["success"]) if won)
    page.locator(".tiles li").nth(row).click()
    assert part(page, "clock").inner_text() == "step 1 of 15"
    for step in range(3):
        before, after = (saved[name][row, step].astype(int) for name in ("originals", "adversarials"))
        for name, spikes in (("before", before), ("after", after)):
            shown = pixels_of(page, name)
            assert (shown == pixels.OFF).all(-1).tolist() == ((spikes[0] == 1) & (spikes[1] == 0)).tolist()
            assert (shown == pixels.ON).all(-1).tolist() == ((spikes[0] == 0) & (spikes[1] == 1)).tolist()
            assert (shown == pixels.WHITE).all(-1).tolist() == (spikes.sum(0) == 0).tolist()
        shown, added, removed = pixels_of(page, "flips"), (after > before).any(0), (after < before).any(0)
        assert (shown == pixels.KEPT).all(-1).tolist() == (before.any(0) & ~added & ~removed).tolist()
        assert (shown == pixels.MOVED).all(-1).tolist() == (added & removed).tolist() or (added & removed).any()
        told = f": {(after > before).sum()} added, {(after < before).sum()} removed"
        assert part(page, "flips-count").inner_text() == told
        part(page, "next").click()
    assert part(page, "clock").inner_text() == "step 4 of 15"
    part(page, "back").click()
    assert part(page, "clock").inner_text() == "step 3 of 15"
    assert page.complaints == []


def test_scores_over_time_are_the_output_layer_s_spikes(opened: Open, events: Path) -> None:
    page = opened(events / "report.html")
    outputs, rows = load_file(events / "outputs.safetensors")["outputs"], rows_of(events)
    row = next(i for i, won in enumerate(rows["success"]) if won)
    page.locator(".tiles li").nth(row).click()
    part(page, "scrub").fill("7")
    for which, name in enumerate(("chart-before", "chart-after")):
        sums = outputs[row, which, :7].sum(0)
        told = ", ".join(f"{one}: {sums[one]}" for one in (rows["label"][row], rows["prediction"][row]))
        assert part(page, name).get_attribute("aria-label") == f"Output spikes after 7 of 15 steps: {told}"
        assert part(page, name).locator("polyline").count() == 10


def test_playing_and_scrubbing_by_keyboard(opened: Open, events: Path) -> None:
    page = opened(events / "report.html", reduced_motion="reduce")
    clock = part(page, "clock")
    page.wait_for_timeout(400)
    assert clock.inner_text() == "step 1 of 15"  # nothing plays unasked
    part(page, "play").focus()
    page.keyboard.press("Space")
    assert part(page, "play").inner_text() == "Pause"
    until(lambda: clock.inner_text() == "step 3 of 15")
    page.keyboard.press("Enter")
    assert part(page, "play").inner_text() == "Play"
    now = clock.inner_text()
    page.wait_for_timeout(400)
    assert clock.inner_text() == now
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert clock.inner_text() == "step 1 of 15"
    page.keyboard.press("ArrowRight")
    assert clock.inner_text() == "step 2 of 15"
    part(page, "back").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert clock.inner_text() == "step 15 of 15"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert clock.inner_text() == "step 2 of 15"


def test_filters_and_order(opened: Open, images: Path) -> None:
    page, rows = opened(images / "report.html"), rows_of(images)
    assert page.locator(".tiles li").count() == len(rows["label"]) == 54
    filtered(page, "label").select_option("1")
    wanted = [i for i, label in enumerate(rows["label"]) if label == 1]
    assert part(page, "count").inner_text() == f"{len(wanted)} of 54 shown"
    filtered(page, "target").select_option("7")
    one = [i for i in wanted if rows["target"][i] == 7]
    assert page.locator(".tiles li").count() == len(one)
    filtered(page, "target").select_option("")
    part(page, "sort").select_option("-mse")
    shown = page.locator(".tiles small").all_inner_texts()
    assert [float(text.split()[1]) for text in shown] == pytest.approx(
        sorted((rows["mse"][i] for i in wanted), reverse=True), rel=5e-3
    )
    filtered(page, "label").select_option("")
    if filtered(page, "outcome").is_visible():
        filtered(page, "outcome").select_option("fooled")
        assert page.locator(".tiles li").count() == sum(rows["success"])
    assert page.complaints == []


def test_images_are_drawn_before_after_and_their_difference(opened: Open, images: Path) -> None:
    page, saved = opened(images / "report.html"), load_file(images / "adversarials.safetensors")
    for name, key in (("before", "originals"), ("after", "adversarials")):
        assert np.allclose(pixels_of(page, name)[..., 1], 255 * saved[key][0, 0], atol=0.6)
    change, shown = saved["adversarials"][0, 0] - saved["originals"][0, 0], pixels_of(page, "flips").astype(int)
    largest = np.unravel_index(np.abs(change).argmax(), change.shape)
    assert tuple(shown[largest]) == (pixels.ADDED if change[largest] > 0 else pixels.REMOVED)
    assert (shown[change == 0] == 255).all()


def test_choosing_an_input_by_keyboard(opened: Open, events: Path) -> None:
    page = opened(events / "report.html")
    page.locator('.tiles li[tabindex="0"]').focus()
    titles = []
    for key in ("ArrowRight", "ArrowDown", "End", "Home"):
        page.keyboard.press(key)
        until(lambda: page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true")
        titles.append(page.evaluate("[...document.querySelectorAll('.tiles li')].indexOf(document.activeElement)"))
    assert titles[0] == 1
    assert titles[1] > 2
    assert titles[2:] == [39, 0]
    assert page.locator('.tiles li[tabindex="0"]').count() == 1
    assert "input 0" in part(page, "facts").inner_text()


def test_an_example_is_played_from_its_film_strip(opened: Open, events: Path) -> None:
    page = opened(events / "report.html")
    button = page.locator(".example button.play").nth(2)
    row = rows_of(events)["input"].index(
        int(re.findall(r"input (\d+)", page.locator(".example .details").nth(2).inner_text())[0])
    )
    button.click()
    assert page.locator(".tiles li").nth(row).get_attribute("aria-selected") == "true"
    assert page.evaluate("document.activeElement.dataset.part") == "player"


def test_pooled_cells_are_marked_where_any_of_their_pixels_is(opened: Open, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "spikes", (3, 2, 70, 100))
    page = opened(write_report([run], tmp_path / "page.html"))
    before, after = (load_file(run / "adversarials.safetensors")[name][0, 0] for name in ("originals", "adversarials"))

    def pooled(cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return cells.reshape(35, 2, 50, 2).any((1, 3))

    page.locator(".tiles li").first.click()
    assert pixels_of(page, "after").shape == (35, 50, 3)
    fired = pooled(after.any(0))
    assert (pixels_of(page, "after") == 255).all(-1).tolist() == (~fired).tolist()
    added, removed = (pooled(flips.any(0)) for flips in (after > before, after < before))
    shown = pixels_of(page, "flips")
    assert (shown == pixels.ADDED).all(-1).tolist() == (added & ~removed).tolist()
    assert (shown == pixels.REMOVED).all(-1).tolist() == (removed & ~added).tolist()
    assert "2 × 2 pixels" in page.locator(".gallery").inner_text()


def test_without_javascript_the_film_strips_are_there(opened: Open, events: Path) -> None:
    page = opened(events / "report.html", java_script_enabled=False)
    assert page.locator(".strip svg").first.is_visible()
    assert not page.locator(".gallery").is_visible()
    assert not page.locator("button.play").first.is_visible()
    assert "With JavaScript" in page.locator("noscript").first.inner_text()


def test_printed_to_pdf_it_has_the_film_strips_and_not_the_player(opened: Open, events: Path, tmp_path: Path) -> None:
    page = opened(events / "report.html")
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator(".gallery").is_visible()
    assert page.locator(".strip svg").first.is_visible()


def test_a_stranger_s_markup_stays_text(opened: Open, tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=document.title='hit'><b>"
    run = make_run(tmp_path / "run", "spikes", (3, 2, 8, 8), config={"classes": [evil, f"2{evil}", "owl"]})
    page = opened(write_report([run], tmp_path / "page.html"))
    assert evil in part(page, "title").inner_text()
    assert page.locator("img").count() == 0
    assert "hit" not in page.title()
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.x = 1'}))"
    )
    assert page.evaluate("window.x") is None  # the policy lets nothing run but the page's own script


@pytest.fixture(scope="module")
def pages(events: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of page."""
    folder = tmp_path_factory.mktemp("pages")
    main(["compare", str(events), str(images), "--out", str(folder / "compare.html"), "--quiet"])
    main(["report", str(events), str(images), "--out", str(folder / "report.html"), "--quiet"])
    (folder / "sweep.toml").write_text(
        f'[base]\nvictim = "{images.parent / "victim"}"\nsamples = 10\ndraws = 3\nsteps = 4\n'
        "[grid]\ngamma = [0.02, 0.1]\n"
    )
    main(["sweep", str(folder / "sweep.toml"), "--out", str(folder / "sweep"), "--quiet"])
    return {
        "events": events / "report.html",
        "several": folder / "report.html",
        "compare": folder / "compare.html",
        "sweep": folder / "sweep" / "report.html",
    }


@pytest.mark.parametrize("name", ["events", "several", "compare", "sweep"])
def test_every_page_fits_its_window_and_shuts_nobody_out(opened: Open, pages: dict[str, Path], name: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    for width, scheme in VIEWS:
        started = time.monotonic()
        page = opened(pages[name], viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.wait_for_load_state()
        assert time.monotonic() - started < 5
        assert page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, json.dumps([(one["id"], one["nodes"][0]["html"][:200]) for one in serious], indent=1)
        page.context.close()
