"""Draws the picture of the front page: a recording before an attack, after it, and the difference.

``python docs/pictures.py`` writes docs/_static/front-light.svg and front-dark.svg again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

import spikeflip
from spikeflip.attacks import sigma_zero

STATIC = Path(__file__).parent / "_static"
SAMPLE, SIZE = 0, 16
_CELL, _GAP, _HEAD = 12, 28, 34
_SIDE = SIZE * _CELL


@dataclass(frozen=True)
class Colours:
    """What a picture is drawn in."""

    text: str
    quiet: str
    ground: str
    on: str
    off: str


THEMES = {
    "light": Colours(text="#1a1c20", quiet="#5a5f68", ground="#f1f3f5", on="#d1242f", off="#0969da"),
    "dark": Colours(text="#e6e8eb", quiet="#9aa1ab", ground="#22262c", on="#ff7b72", off="#79b8ff"),
}


@dataclass(frozen=True)
class Example:
    """A recording ``(T, 2, H, W)``, what the attack made of it, and what the victim says of both."""

    before: Tensor
    after: Tensor
    named: tuple[int, int]


def find() -> Example:
    """Attack one simulated recording with as few flips as ``sigma-zero`` can."""
    victim = spikeflip.load_victim("demo-events")
    digits = spikeflip.load_images("digits", "test")
    spikes = spikeflip.simulate_saccades(digits.images[SAMPLE : SAMPLE + 1], size=SIZE)
    labels = digits.labels[SAMPLE : SAMPLE + 1]
    after = sigma_zero(victim, spikes, labels).adversarials
    before, changed = (int(victim.scores(one).argmax()) for one in (spikes, after))
    return Example(spikes[0], after[0], (before, changed))


def _square(y: int, x: int, fill: str, opacity: float = 1.0) -> str:
    place = f'x="{x * _CELL}" y="{y * _CELL}" width="{_CELL}" height="{_CELL}"'
    return f'<rect {place} fill="{fill}" opacity="{opacity:.2f}"/>'


def _events(spikes: Tensor, colours: Colours) -> Iterator[str]:
    """All events of a recording at their pixel: the more, the stronger, in the colour of the more frequent polarity."""
    off, on = spikes.sum(0)
    most = float((on + off).max())
    for y, x in (on + off).nonzero().tolist():
        share = float(on[y, x] + off[y, x]) / most
        colour = colours.on if on[y, x] >= off[y, x] else colours.off
        yield _square(y, x, colour, 0.25 + 0.75 * share)


def _changes(example: Example, colours: Colours) -> Iterator[str]:
    """Added events as full squares, removed ones as rings, over a shadow of the original."""
    for y, x in example.before.sum((0, 1)).nonzero().tolist():
        yield _square(y, x, colours.quiet, 0.22)
    change = (example.after - example.before).permute(2, 3, 0, 1).flatten(2)
    for y, x in change.abs().sum(2).nonzero().tolist():
        cells = change[y, x].nonzero().squeeze(1)
        step = cells[0]
        colour = colours.on if step % 2 else colours.off
        if change[y, x, step] > 0:
            yield _square(y, x, colour)
        else:
            place = f'cx="{x * _CELL + _CELL / 2:g}" cy="{y * _CELL + _CELL / 2:g}" r="{_CELL / 2 - 1.5:g}"'
            yield f'<circle {place} fill="none" stroke="{colour}" stroke-width="2.4"/>'


def _panel(number: int, title: str, below: str, drawn: Iterator[str], colours: Colours) -> str:
    left = number * (_SIDE + _GAP)
    return (
        f'<g transform="translate({left} {_HEAD})">'
        f'<text x="0" y="-12" fill="{colours.text}" font-size="19" font-weight="600">{title}</text>'
        f'<rect width="{_SIDE}" height="{_SIDE}" rx="4" fill="{colours.ground}"/>{"".join(drawn)}'
        f'<text x="0" y="{_SIDE + 25}" fill="{colours.quiet}" font-size="18">{below}</text></g>'
    )


def draw(example: Example, colours: Colours) -> str:
    """The picture as SVG."""
    change = example.after - example.before
    added, removed, events = int((change > 0).sum()), int((change < 0).sum()), int(example.before.sum())
    before, after = example.named
    what = f"● {added} added" + f"  ○ {removed} removed" * (removed > 0)
    panels = [
        _panel(0, "Before", f"{events} events: a {before}", _events(example.before, colours), colours),
        _panel(1, "After", f"{added + removed} flipped: a {after}", _events(example.after, colours), colours),
        _panel(2, "Difference", what, _changes(example, colours), colours),
    ]
    width, height = 3 * _SIDE + 2 * _GAP, _HEAD + _SIDE + 36
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return (
        f'{head} font-family="system-ui, sans-serif" shape-rendering="crispEdges">\n' + "\n".join(panels) + "\n</svg>\n"
    )


def main() -> None:
    """Write both pictures."""
    example = find()
    for name, colours in THEMES.items():
        (STATIC / f"front-{name}.svg").write_text(draw(example, colours), encoding="utf-8")


if __name__ == "__main__":
    main()
