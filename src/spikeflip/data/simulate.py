"""Simulated event data: an ideal event camera that watches a still image move along three saccades."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeflip.errors import SpikeflipError

# Where the image stands at the corners of the closed triangle, as (right, down) in units of `amplitude`, centred on the
# sensor. Shape and order are N-MNIST's: down-right, up-right, back to the left, each a third of the recording.
_CORNERS = ((-0.5, -0.5), (0.0, 0.5), (0.5, -0.5))
# The dark level keeps log(0) away and sets the largest contrast, log(1.1 / 0.1) = 2.4, from black to white.
_DARK = 0.1
# A change has to pass the threshold by this much (in log intensity). The closed path brings every pixel back to exactly
# its first intensity, so without it all of them would sit on a threshold at the end, where float32 rounding decides.
_SLACK = 1e-4
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CHUNK_PIXELS = 1 << 18
_MIN_CONTRAST = 0.01
_MAX_CONTRAST = math.log((1 + _DARK) / _DARK)
_MAX_SIZE = 1024


@torch.no_grad()
def simulate_saccades(
    images: Tensor,
    *,
    steps: int = 15,
    contrast: float = 0.4,
    amplitude: float = 3.0,
    size: int | None = None,
    substeps: int = 4,
) -> Tensor:
    r"""Turn images into *simulated* event data: what an ideal event camera sees while the image makes three saccades.

    The image moves along a closed triangle, a third of the time an edge, at constant speed, with bilinear interpolation
    and black around it. Every pixel of the camera watches the logarithm of its intensity, remembers a reference (at
    first the initial value), and fires each time the logarithm has moved away from it by more than the contrast
    threshold :math:`\theta`:

    .. math::
        L(t) = \log(I(t) + 0.1), \qquad
        \text{ON: } L(t) - L_{ref} > \theta, \qquad
        \text{OFF: } L(t) - L_{ref} < -\theta, \qquad
        L_{ref} \leftarrow L_{ref} \pm \theta \text{ at each event.}

    The result depends on nothing but the arguments: no noise, no random numbers, and an image gives the same spikes bit
    for bit in any batch. Working memory is bounded for any N; the result takes ``N * steps * 2 * S * S * 4`` bytes.

    Args:
        images: ``(N, C, H, H)`` floating point in [0, 1]; three channels are reduced to luminance (ITU-R BT.601).
        steps: number of time bins T, at least 1.
        contrast: threshold in natural-log intensity, 0.01 to log 11 = 2.40 (black to white; nothing would fire above).
            With the defaults, MNIST fills 5.8 % of the cells and digits at ``size=16`` 10.7 %; real N-MNIST recordings
            in 15 bins fill 6.0 %.
        amplitude: width and height of the triangle in output pixels, 0 (no motion) to S; N-MNIST's is about 7 of 34.
        size: side S of the simulated sensor, 1 to 1024; the image is first resized to it (bilinear). None keeps H.
        substeps: number of times a bin the intensity is looked at, at least 1.

    Returns:
        Spikes ``(N, steps, 2, S, S)`` float32 on the device of ``images``, values exactly 0 or 1, channel 0 = OFF and
        1 = ON; a cell is 1 if at least one event of that polarity fell into that time bin.

    Raises:
        SpikeflipError: if the images or a setting are outside the shapes and ranges above.

    Source:
        Pixel: P. Lichtsteiner, C. Posch, T. Delbruck, "A 128x128 120 dB 15 us Latency Asynchronous Temporal Contrast
        Vision Sensor", 2008. Motion: G. Orchard et al., "Converting Static Image Datasets to Spiking Neuromorphic
        Datasets Using Saccades", 2015. Different from a real camera: constant speed (no acceleration), no noise, no
        refractory time, no threshold mismatch, no limit of bandwidth. Name such data *simulated* wherever it is shown.

    Example:
        A bright bar: moving right, its right edge brightens pixels and its left edge darkens them.

        >>> import torch
        >>> bar = torch.zeros(1, 1, 8, 8)
        >>> bar[..., 3:5] = 1.0
        >>> spikes = simulate_saccades(bar, steps=3, amplitude=2)
        >>> spikes.shape
        torch.Size([1, 3, 2, 8, 8])
        >>> spikes[0, 0, :, 4].int()  # the first saccade moves it from columns 2-3 to columns 3-4
        tensor([[0, 0, 1, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 1, 0, 0, 0]], dtype=torch.int32)
    """
    side = _check_settings(images, steps, contrast, amplitude, size, substeps)
    spikes = torch.zeros(len(images), steps, 2, side, side, dtype=torch.float32, device=images.device)
    path = _saccade_path(steps * substeps, amplitude)
    rises, falls = _level_ratios(contrast, images.device)
    chunk = max(1, _CHUNK_PIXELS // (side * side))
    for start in range(0, len(images), chunk):
        _check_values(images[start : start + chunk], start)
        scene = _intensity(images[start : start + chunk], side)
        _record(spikes[start : start + chunk], scene, path, rises, falls)
    return spikes


def _record(spikes: Tensor, scene: Tensor, path: list[tuple[float, float]], rises: Tensor, falls: Tensor) -> None:
    """Write the events of one chunk into ``spikes`` (n, T, 2, S, S); ``scene`` is the intensity (n, S, S)."""
    substeps = (len(path) - 1) // spikes.shape[1]
    margin = math.ceil(max(max(abs(x), abs(y)) for x, y in path)) + 1
    padded = F.pad(scene, (margin, margin, margin, margin))
    initial = _shift(padded, margin, path[0]) + _DARK
    # The reference of a pixel is always its initial log intensity plus j thresholds, so the pixel is two comparators on
    # I / I_initial, at j + 1 and j - 1. Comparing with a table of exp(j * contrast) needs no logarithm, whose last bit
    # may depend on where in the batch a pixel stands.
    middle = len(rises) // 2
    above = rises[middle + 1].expand(initial.numel()).clone()
    below = falls[middle - 1].expand(initial.numel()).clone()
    for index, place in enumerate(path[1:]):
        ratio = ((_shift(padded, margin, place) + _DARK) / initial).flatten()
        on, off = ratio >= above, ratio <= below
        events = spikes[:, index // substeps]
        events[:, 0].masked_fill_(off.view(scene.shape), 1.0)
        events[:, 1].masked_fill_(on.view(scene.shape), 1.0)
        fired = (on | off).nonzero().flatten()
        value = ratio[fired]
        risen, fallen = torch.bucketize(value, rises, right=True) - 1, torch.bucketize(value, falls)
        level = torch.where(on[fired], risen, fallen)
        above[fired], below[fired] = rises[level + 1], falls[level - 1]


def _level_ratios(contrast: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Intensity ratios at which a pixel has risen to, and fallen to, -K..K thresholds; K is past black to white."""
    reach = math.floor(_MAX_CONTRAST / contrast) + 2
    levels = [j * contrast for j in range(-reach, reach + 1)]
    rises = torch.tensor([math.exp(level + _SLACK) for level in levels], dtype=torch.float32, device=device)
    falls = torch.tensor([math.exp(level - _SLACK) for level in levels], dtype=torch.float32, device=device)
    return rises, falls


def _saccade_path(moves: int, amplitude: float) -> list[tuple[float, float]]:
    """Return the ``moves + 1`` places (right, down), in pixels, of the image on its way around the triangle."""
    path = []
    for move in range(moves + 1):
        edge, rest = divmod(3 * move, moves)  # integers: the corners are met exactly
        (x0, y0), (x1, y1) = _CORNERS[edge % 3], _CORNERS[(edge + 1) % 3]
        done = rest / moves
        path.append((amplitude * (x0 + done * (x1 - x0)), amplitude * (y0 + done * (y1 - y0))))
    return path


def _shift(padded: Tensor, margin: int, place: tuple[float, float]) -> Tensor:
    """Move the padded images (n, S+2m, S+2m) right and down by a fraction of pixels and cut the sensor out of them."""
    columns, right = divmod(-place[0], 1.0)
    rows, down = divmod(-place[1], 1.0)
    left, top = margin + int(columns), margin + int(rows)
    side = padded.shape[-1] - 2 * margin
    # Plain products and sums: a fused multiply-add in part of a batch would round differently from the rest.
    tall = padded[:, top : top + side + 1]
    line = tall[:, :-1] * (1 - down) + tall[:, 1:] * down
    line = line[:, :, left : left + side + 1]
    return line[:, :, :-1] * (1 - right) + line[:, :, 1:] * right


def _intensity(images: Tensor, side: int) -> Tensor:
    """Reduce images (n, C, H, H) to intensities (n, S, S) of the sensor's size."""
    images = images.detach().to(torch.float32)
    if images.shape[1] == 3:
        red, green, blue = (images[:, c] * weight for c, weight in enumerate(_LUMINANCE))
        images = (red + green + blue)[:, None]
    if images.shape[-1] != side:
        images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return images[:, 0]


def _check_settings(
    images: Tensor, steps: int, contrast: float, amplitude: float, size: int | None, substeps: int
) -> int:
    """Check everything but the pixel values and return the side of the sensor."""
    height = _check_images(images)
    side = height if size is None else size
    _check_count("steps", steps)
    _check_count("substeps", substeps)
    _check_count("size", side, _MAX_SIZE)
    if not _MIN_CONTRAST <= contrast <= _MAX_CONTRAST:
        raise SpikeflipError(f"contrast must be {_MIN_CONTRAST} to {_MAX_CONTRAST:.2f}, got {contrast}: use 0.4")
    if not 0 <= amplitude <= side:
        raise SpikeflipError(
            f"amplitude must be 0 to {side} (pixels; the sensor's side), got {amplitude}: use {side / 8:g}"
        )
    return side


def _check_images(images: Tensor) -> int:
    """Check type and shape of the images and return their side."""
    if not isinstance(images, Tensor):
        raise SpikeflipError(
            f"images must be a torch tensor, got {type(images).__name__}: convert with torch.as_tensor"
        )
    if not images.is_floating_point():
        raise SpikeflipError(
            f"images must be floating point in [0, 1], got {images.dtype}: divide by the largest value"
        )
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] not in (1, 3) or shape[2] != shape[3] or shape[2] == 0:
        raise SpikeflipError(f"images must be (N, C, H, H) with 1 or 3 channels, got {shape}: reshape or crop them")
    return shape[2]


def _check_count(name: str, value: int, largest: int | None = None) -> None:
    """Check a whole number of at least 1, and of at most ``largest`` where there is one."""
    rule = "of at least 1" if largest is None else f"from 1 to {largest}"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (largest is not None and value > largest):
        raise SpikeflipError(f"{name} must be a whole number {rule}, got {value!r}: choose one in that range")


def _check_values(images: Tensor, start: int) -> None:
    """Check that all pixels of a chunk, whose first image is number ``start``, are in [0, 1] (and not NaN)."""
    bad = ~((images >= 0) & (images <= 1))
    if bad.any():
        first = bad.nonzero()[0].tolist()
        value = images[tuple(first)].item()
        raise SpikeflipError(
            f"images must be in [0, 1], got {value:g} in image {start + first[0]}: divide by the largest value or clamp"
        )
