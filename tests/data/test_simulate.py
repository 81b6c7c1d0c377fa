"""The saccade simulator against a plain loop, exact symmetries and hand-worked bars."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from spikeflip.data.images import load_images
from spikeflip.data.simulate import simulate_saccades
from spikeflip.errors import SpikeflipError


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _intensity(pixels: list[list[float]], row: float, column: float) -> float:
    """Bilinear interpolation, black outside."""
    total = 0.0
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < len(pixels) and 0 <= c < len(pixels):
                total += (1 - abs(row - r)) * (1 - abs(column - c)) * pixels[r][c]
    return total


def _place(time: float, amplitude: float) -> tuple[float, float]:
    """Where the image is, (right, down), at a time in [0, 1]."""
    corners = [(-amplitude / 2, -amplitude / 2), (0.0, amplitude / 2), (amplitude / 2, -amplitude / 2)]
    edge = min(int(3 * time), 2)
    start, end = corners[edge], corners[(edge + 1) % 3]
    done = 3 * time - edge
    return start[0] + done * (end[0] - start[0]), start[1] + done * (end[1] - start[1])


def _plain_loop(image: Tensor, steps: int, contrast: float, amplitude: float, substeps: int) -> Tensor:
    """One image, pixel by pixel, in double precision, straight from the equations."""
    pixels = image.tolist()
    moves = steps * substeps
    spikes = torch.zeros(steps, 2, *image.shape)
    for row, column in itertools.product(range(len(pixels)), repeat=2):
        reference = None
        for move in range(moves + 1):
            right, down = _place(move / moves, amplitude)
            now = math.log(_intensity(pixels, row - down, column - right) + 0.1)
            reference = now if reference is None else reference
            while abs(now - reference) > contrast + 1e-5:  # a return to the same value is no event
                rising = now > reference
                reference += contrast if rising else -contrast
                spikes[(move - 1) // substeps, 1 if rising else 0, row, column] = 1
    return spikes


@pytest.mark.parametrize(
    ("steps", "contrast", "amplitude", "substeps"), [(15, 0.4, 3.0, 4), (7, 0.15, 2.5, 3), (3, 0.3, 6.0, 1)]
)
def test_equals_a_plain_loop(steps: int, contrast: float, amplitude: float, substeps: int) -> None:
    images = _random(2, 1, 7, 7, seed=3)
    spikes = simulate_saccades(images, steps=steps, contrast=contrast, amplitude=amplitude, substeps=substeps)
    expected = torch.stack([_plain_loop(image[0], steps, contrast, amplitude, substeps) for image in images])
    assert expected.mean() > 0.1
    assert torch.equal(spikes, expected)


def test_a_moving_bar_is_on_at_its_leading_and_off_at_its_trailing_edge() -> None:
    bar = torch.zeros(1, 1, 12, 12)
    bar[..., 5:7] = 1.0
    spikes = simulate_saccades(bar, steps=3, amplitude=4, substeps=8)[0]
    off, on = spikes[:, 0, 6], spikes[:, 1, 6]  # one row in the middle; columns are what is left
    # The bar stands at columns 3-4, goes to 5-6, to 7-8, and back to 3-4.
    assert on[0].nonzero().flatten().tolist() == [5, 6]
    assert off[0].nonzero().flatten().tolist() == [3, 4]
    assert on[1].nonzero().flatten().tolist() == [7, 8]
    assert off[1].nonzero().flatten().tolist() == [5, 6]
    # On the long way back columns 5 and 6 are passed: lit, then dark again.
    assert on[2].nonzero().flatten().tolist() == [3, 4, 5, 6]
    assert off[2].nonzero().flatten().tolist() == [5, 6, 7, 8]


def test_no_contrast_or_no_motion_gives_no_events() -> None:
    flat = torch.full((1, 1, 16, 16), 0.7)
    inside = simulate_saccades(flat, amplitude=4, contrast=0.01)[..., 3:-3, 3:-3]
    assert inside.sum() == 0
    assert simulate_saccades(torch.zeros(2, 1, 8, 8), contrast=0.01).sum() == 0
    assert simulate_saccades(_random(1, 1, 8, 8), amplitude=0, contrast=0.01).sum() == 0


def test_threshold_decides_how_often_a_pixel_fires() -> None:
    half = torch.zeros(1, 1, 8, 8)
    half[..., 4:] = 0.4  # log((0.4 + 0.1) / 0.1) = log 5 = 1.609
    for contrast, fires in ((1.60, True), (1.62, False)):
        spikes = simulate_saccades(half, steps=3, amplitude=2, contrast=contrast, substeps=1)
        assert bool(spikes[..., 2:-2, 2:-2].any()) == fires


def test_log_inverse_swaps_polarity_exactly() -> None:
    # 1 - x is the log-inverse of a black and white image; in general it is 0.11 / (x + 0.1) - 0.1. Whole-pixel moves
    # keep interpolation, which is linear and not logarithmic, out of it; the border, black around both, is left out.
    settings = {"steps": 3, "substeps": 1, "amplitude": 2.0, "contrast": 0.17}
    grey = _random(3, 1, 9, 9)
    binary = (grey > 0.5).float()
    for image, inverse in ((grey, 0.11 / (grey + 0.1) - 0.1), (binary, 1 - binary)):
        spikes = simulate_saccades(image, **settings)[..., 1:-1, 1:-1]
        swapped = simulate_saccades(inverse.clamp(0, 1), **settings)[..., 1:-1, 1:-1]
        assert spikes.sum() > 100
        assert torch.equal(spikes, swapped.flip(2))


def test_coarse_time_bins_are_unions_of_fine_ones() -> None:
    # Five bins of two looks see the same moments as ten bins of one: a coarse cell is the union of its fine cells.
    images = _random(2, 1, 8, 8)
    fine = simulate_saccades(images, steps=10, substeps=1)
    coarse = simulate_saccades(images, steps=5, substeps=2)
    assert torch.equal(coarse, fine.view(2, 5, 2, 2, 8, 8).amax(2))


@pytest.mark.parametrize(("channels", "size"), [(1, None), (3, None), (1, 19), (3, 5)])
def test_an_image_does_not_depend_on_its_batch(
    channels: int, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _random(23, channels, 9, 9)
    whole = simulate_saccades(images, size=size, steps=6)
    assert torch.equal(whole, torch.cat([simulate_saccades(one, size=size, steps=6) for one in images.split(1)]))
    assert torch.equal(whole.flip(0), simulate_saccades(images.flip(0), size=size, steps=6))
    monkeypatch.setattr("spikeflip.data.simulate._CHUNK_PIXELS", 500)
    assert torch.equal(whole, simulate_saccades(images, size=size, steps=6))


def test_colour_is_reduced_to_luminance() -> None:
    colour = _random(2, 3, 8, 8)
    grey = (colour[:, :1] * 0.299 + colour[:, 1:2] * 0.587) + colour[:, 2:] * 0.114
    assert torch.equal(simulate_saccades(colour), simulate_saccades(grey))


def test_upsampling_is_bilinear() -> None:
    images = _random(2, 1, 8, 8)
    larger = torch.nn.functional.interpolate(images, size=16, mode="bilinear")
    assert torch.equal(simulate_saccades(images, size=16), simulate_saccades(larger.clamp(0, 1)))


def test_digits_fill_3_to_12_percent_with_both_polarities_in_every_bin() -> None:
    digits = load_images("digits", "test")
    spikes = simulate_saccades(digits.images, size=16)
    assert spikes.shape == (len(digits), 15, 2, 16, 16)
    assert spikes.dtype == torch.float32
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert 0.03 < spikes.mean() < 0.12
    assert (spikes.sum((2, 3, 4)) > 0).all()  # every digit, every bin
    share = spikes.mean((0, 3, 4))  # (T, 2)
    assert share.min() > 0.01
    assert 0.8 < share[:, 0].sum() / share[:, 1].sum() < 1.25


def test_input_is_left_alone_and_needs_no_gradient() -> None:
    images = _random(1, 1, 8, 8).double().requires_grad_()
    before = images.detach().clone()
    spikes = simulate_saccades(images)
    assert not spikes.requires_grad
    assert torch.equal(images.detach(), before)
    assert simulate_saccades(images[:0]).shape == (0, 15, 2, 8, 8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[0.0]], r"must be a torch tensor, got list: .*as_tensor"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), r"floating point in \[0, 1\], got torch.uint8: divide"),
        (torch.zeros(1, 8, 8), r"\(N, C, H, H\) with 1 or 3 channels, got \(1, 8, 8\)"),
        (torch.zeros(1, 2, 8, 8), r"1 or 3 channels, got \(1, 2, 8, 8\)"),
        (torch.zeros(1, 1, 8, 9), r"got \(1, 1, 8, 9\): reshape or crop"),
        (torch.zeros(1, 1, 0, 0), r"got \(1, 1, 0, 0\)"),
        (torch.full((3, 1, 4, 4), 255.0), r"must be in \[0, 1\], got 255 in image 0: divide"),
        (torch.tensor([0.0, -0.5]).view(2, 1, 1, 1).expand(2, 1, 4, 4), r"got -0.5 in image 1"),
        (torch.full((1, 1, 4, 4), math.nan), r"got nan in image 0"),
    ],
)
def test_bad_images_are_refused(images: Tensor, message: str) -> None:
    with pytest.raises(SpikeflipError, match=message):
        simulate_saccades(images)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 1.5}, "steps must be a whole number of at least 1, got 1.5"),
        ({"substeps": True}, "substeps must be a whole number of at least 1, got True"),
        ({"size": 0}, "size must be a whole number from 1 to 1024, got 0"),
        ({"size": 100_000}, "size must be a whole number from 1 to 1024, got 100000"),
        ({"contrast": 0.0}, r"contrast must be 0.01 to 2.40, got 0.0: use 0.4"),
        ({"contrast": 3.0}, r"contrast must be 0.01 to 2.40, got 3.0"),
        ({"contrast": math.nan}, r"contrast must be 0.01 to 2.40, got nan"),
        ({"amplitude": -1.0}, r"amplitude must be 0 to 8 \(pixels; the sensor's side\), got -1.0: use 1"),
        ({"amplitude": 9.0}, r"amplitude must be 0 to 8 .* got 9.0"),
        ({"amplitude": math.nan}, r"amplitude must be 0 to 8 .* got nan"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(SpikeflipError, match=message):
        simulate_saccades(torch.zeros(1, 1, 8, 8), **setting)
