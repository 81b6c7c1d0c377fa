"""The pictures have the promised colours, and the figures hold the very pictures and counts."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spikeflip.report import pictures, pixels


def spikes(*cells: tuple[int, int, int, int], shape: tuple[int, int, int, int] = (4, 2, 3, 3)) -> np.ndarray[Any, Any]:
    """Spikes at the given (t, c, y, x) and nowhere else."""
    array = np.zeros(shape, dtype=np.uint8)
    for cell in cells:
        array[cell] = 1
    return array


def test_on_is_red_off_is_blue_both_are_purple_on_white() -> None:
    picture = pixels.squeeze(spikes((0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 0, 2), (3, 1, 0, 2)))
    assert tuple(picture[0, 0]) == pixels.OFF
    assert tuple(picture[0, 1]) == pixels.ON
    assert tuple(picture[0, 2]) == tuple(round((a + b) / 2) for a, b in zip(pixels.OFF, pixels.ON, strict=True))
    assert (picture[1:] == 255).all()


def test_more_spikes_are_stronger_and_one_spike_stays_visible() -> None:
    cells = [(t, 0, 0, 0) for t in range(4)] + [(t, 0, 0, 1) for t in range(2)] + [(0, 0, 0, 2)]
    picture = pixels.squeeze(spikes(*cells)).astype(int)
    assert tuple(picture[0, 0]) == pixels.OFF
    assert picture[0, 0, 1] < picture[0, 1, 1] < picture[0, 2, 1] < 200


def test_one_channel_is_ink_three_are_colours() -> None:
    grey = pixels.squeeze(spikes((0, 0, 1, 1), shape=(4, 1, 3, 3)))
    assert tuple(grey[1, 1]) == pixels.SPIKE
    assert tuple(grey[0, 0]) == (255, 255, 255)
    rates = pixels.squeeze(
        spikes(*[(t, 0, 0, 0) for t in range(4)], *[(t, 2, 0, 0) for t in range(2)], shape=(4, 3, 3, 3))
    )
    assert tuple(rates[0, 0]) == (255, 0, 128)
    assert tuple(rates[2, 2]) == (0, 0, 0)


def test_audio_is_a_raster_with_time_to_the_right() -> None:
    raster = np.zeros((5, 3))
    raster[4, 0] = 1
    picture = pixels.squeeze(raster)
    assert picture.shape == (3, 5, 3)
    assert tuple(picture[0, 4]) == pixels.SPIKE


def test_large_pictures_are_pooled_and_no_spike_is_lost() -> None:
    picture = pixels.squeeze(spikes((0, 0, 200, 259), shape=(1, 2, 201, 260)))
    assert max(picture.shape[:2]) <= 64
    assert (picture != 255).any(axis=2).sum() == 1


def test_added_removed_moved_and_kept_cells_have_their_colours() -> None:
    original = spikes((0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 1, 0))
    adversarial = spikes((0, 0, 0, 0), (1, 0, 0, 2), (0, 0, 1, 0))
    picture = pixels.difference(original, adversarial)
    half = [tuple(0.425 * 255 + 0.575 * part for part in rgb) for rgb in (pixels.ADDED, pixels.REMOVED)]
    assert tuple(picture[0, 0]) == pytest.approx(half[0], abs=1)
    assert tuple(picture[0, 1]) == pytest.approx(half[1], abs=1)
    assert tuple(picture[0, 2]) == pixels.MOVED
    assert tuple(picture[1, 0]) == pixels.KEPT
    assert (picture[2] == 255).all()
    alone = pixels.difference(spikes((0, 1, 1, 1)), spikes((0, 0, 0, 0)))
    assert tuple(alone[0, 0]) == pixels.ADDED
    assert tuple(alone[1, 1]) == pixels.REMOVED


def test_signed_difference_takes_the_channel_that_changed_most() -> None:
    original, adversarial = np.full((3, 1, 2), 0.5), np.full((3, 1, 2), 0.5)
    adversarial[:, 0, 0], adversarial[:, 0, 1] = (0.6, 0.2, 0.5), (0.4, 0.5, 0.75)
    assert pixels.signed_difference(original, adversarial) == pytest.approx(np.array([[-0.3, 0.25]]))


@pytest.mark.parametrize("steps", [1, 4, 15, 16, 17, 31, 40, 100])
def test_time_is_cut_evenly_and_wholly(steps: int) -> None:
    groups = pixels.group_steps(steps)
    sizes = [group.stop - group.start for group in groups]
    assert [t for group in groups for t in range(group.start, group.stop)] == list(range(steps))
    assert len(groups) <= (16 if steps <= 16 else 15)
    assert max(sizes) - min(sizes) <= 1
    if steps <= 16:
        assert set(sizes) == {1}


def embedded(svg: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA") for data in found]


def test_a_spike_figure_holds_the_very_pictures_and_counts() -> None:
    original, adversarial = spikes((0, 0, 0, 0), (1, 1, 0, 1)), spikes((0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 2, 2))
    svg = pictures.to_svg(pictures.spike_example(original, adversarial))
    before, after, change = (np.array(image)[..., :3] for image in embedded(svg))
    assert np.array_equal(before, pixels.squeeze(original))
    assert np.array_equal(after, pixels.squeeze(adversarial))
    assert np.array_equal(change, pixels.difference(original, adversarial))
    for words in ("1 OFF", "2 OFF", "1 ON", "1 added", "0 removed"):
        assert f">{words}</text>" in svg
    assert "both at one pixel" not in svg


def test_an_image_figure_has_a_difference_symmetric_about_white() -> None:
    original = np.full((1, 1, 3), 0.5)
    adversarial = original + np.array([[[0.2, 0.0, -0.1]]])
    svg = pictures.to_svg(pictures.image_example(original, adversarial))
    before, _, change = (np.array(image)[0, :, :3].astype(int) for image in embedded(svg))
    assert (before == 128).all()
    assert tuple(change[0]) == pixels.ADDED
    assert change[1].min() >= 254
    assert tuple(change[2]) == pytest.approx((128, 190, 186), abs=2)
    assert "to +0.200" in svg
    assert "to −0.100" in svg


def test_the_strip_shows_original_adversarial_and_flips_step_by_step() -> None:
    original, adversarial = spikes((0, 0, 0, 0)), spikes((0, 0, 0, 0), (3, 1, 2, 2))
    svg = pictures.to_svg(pictures.time_strip(original, adversarial))
    (mosaic,) = (np.array(image) for image in embedded(svg))
    size = (mosaic.shape[1] - 1) // 4  # a tile and its line; pixels of a tile are `size // 3` wide

    def pixel(row: int, step: int, y: int, x: int) -> tuple[int, ...]:
        return tuple(mosaic[row * size + 1 + y * (size // 3) + 2, step * size + 1 + x * (size // 3) + 2, :3])

    assert pixel(0, 0, 0, 0) == pixel(1, 0, 0, 0) == pixels.OFF
    assert pixel(0, 3, 2, 2) == (255, 255, 255)
    assert pixel(1, 3, 2, 2) == pixels.ON
    assert pixel(2, 3, 2, 2) == pixels.ADDED
    assert pixel(2, 0, 0, 0) == pixels.KEPT


def test_the_curve_is_cumulative_over_all_attacked_inputs() -> None:
    figure = pictures.success_curve([1, 3, 3, 25, 2], [True, True, True, False, True], 5, last=25)
    line = figure.axes[0].lines[0]
    assert np.asarray(line.get_xdata()).tolist() == [0, 1, 2, 3, 25]
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx([0, 20, 40, 80, 80])
    assert figure.axes[0].texts[0].get_text() == "80.0 %"


def test_the_histogram_counts_every_input_also_when_all_are_equal() -> None:
    for values in ([0.01, 0.02, 0.02, 0.05], [0.03, 0.03]):
        axes = pictures.perturbation_histogram(values).axes[0]
        assert sum(bar.get_height() for bar in axes.patches) == len(values)  # type: ignore[attr-defined]
        assert axes.lines[0].get_xdata()[0] == pytest.approx(np.median(values))  # type: ignore[index]


def test_svg_titles_are_escaped_and_prefixes_kept_apart() -> None:
    figure = pictures.success_curve([1], [True], 1)
    svg = pictures.to_svg(figure, title='a < b & "c"', prefix="p7-")
    assert "<title>a &lt; b &amp; &quot;c&quot;</title>" in svg
    assert all(name.startswith("p7-") for name in re.findall(r'\sid="([^"]+)"', svg))
    assert pictures.to_svg(figure) == pictures.to_svg(pictures.success_curve([1], [True], 1))
