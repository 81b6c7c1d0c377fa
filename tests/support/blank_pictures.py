"""Pages without their drawings."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from matplotlib.figure import Figure

from spikeflip.report import pictures

_DRAWINGS = ("spike_example", "image_example", "time_strip", "success_curve", "perturbation_histogram")


@contextmanager
def blank_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in _DRAWINGS:
            patch.setattr(pictures, name, lambda *_given, **_options: Figure(figsize=(1, 1)))
        yield
