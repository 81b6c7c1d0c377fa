"""Advice that finds the fix: what is named passes when it is followed."""

import pytest
import torch
from equations import spikes
from faulty_models import Function, X, model, only, refusal
from plain_styles import PaperModel, PaperNeuron, StatefulNeuron
from torch import nn

from spikeflip import wrap
from spikeflip.victims import doctor

IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def swapped(y):
    return y.transpose(0, 1)


def steps():
    return model(neuron=StatefulNeuron(0.2), last=StatefulNeuron(0.1))


def image_model(out=lambda y: y):
    """Time is inside; its own answer is the mean over time, of which ``out`` makes another."""
    torch.manual_seed(0)
    return nn.Sequential(PaperModel(), Function(out))


class Whole(PaperModel):
    """An image in, all steps out, the batch first."""

    def forward(self, images):
        x = images.unsqueeze(0).repeat(6, 1, 1, 1, 1)
        x = self.neuron(self.conv(x.flatten(0, 1)).unflatten(0, (6, -1)))
        return self.head(x.flatten(2)).transpose(0, 1)


def whole():
    torch.manual_seed(0)
    return Whole()


SWAP = "output=lambda y: y.transpose(0, 1)"
CASES = {
    "batch first out of an image": (whole, IMAGES, {"layout": "static"}, SWAP, {"output": lambda y: y.transpose(0, 1)}),
    "batch first in a tuple": (
        lambda: nn.Sequential(whole(), Function(lambda y: (y, y))),
        IMAGES,
        {"layout": "static"},
        "output=lambda y: y[0].transpose(0, 1)",
        {"output": lambda y: y[0].transpose(0, 1)},
    ),
    "batch first out of a sequence": (
        lambda: nn.Sequential(model(), Function(lambda y: y.transpose(0, 1))),
        X,
        {},
        SWAP,
        {"output": lambda y: y.transpose(0, 1)},
    ),
    "a part, and step by step": (
        lambda: nn.Sequential(steps(), Function(lambda y: (y, -y))),
        X,
        {},
        "layout 'steps' and output=0",
        {"layout": "steps", "output": 0},
    ),
    "a part, and batch first": (
        lambda: nn.Sequential(
            Function(lambda x: x.transpose(0, 1)), model(), Function(lambda y: (y.transpose(0, 1), 0))
        ),
        X,
        {"layout": "T-last"},
        "layout 'BT' and output=0",
        {"layout": "BT", "output": 0},
    ),
    "no part, and step by step": (
        steps,
        X,
        {"output": "spikes"},
        "layout 'steps' without output=",
        {"layout": "steps", "output": None},
    ),
    "an image in": (
        image_model,
        spikes(4, 6, 1, 8, 8),
        {},
        "layout 'static' and images (N, *input) as the example",
        None,
    ),
    "an image in, a part out": (
        lambda: image_model(lambda y: (y, y)),
        spikes(4, 6, 1, 8, 8),
        {"layout": "BT"},
        "layout 'static' and output=0 and images (N, *input) as the example",
        None,
    ),
}


@pytest.mark.parametrize(("made", "example", "options", "words", "better"), CASES.values(), ids=CASES)
def test_the_way_that_passes_is_named_and_passes(made, example, options, words, better):
    message = refusal(made(), example, **options)
    assert f"the checks pass with {words}" in message
    verdicts = doctor(made(), example, **options).verdicts
    assert any(f"the checks pass with {words}" in verdict.fix for verdict in verdicts)
    if better is None:
        part = {"output": 0} if "output" in words else {}
        wrap(made(), IMAGES, layout="static", **part)
    else:
        wrap(made(), example, **(options | better))


class Built(nn.Module):
    """Is built for one batch size."""

    def __init__(self, size, place=0):
        super().__init__()
        self.body, self.size, self.place = model(), size, place

    def forward(self, x):
        shape = (x.shape[0], self.size, 20)
        return self.body(x.reshape(shape) if self.place else x + torch.zeros(shape))


@pytest.mark.parametrize("size", [2, 4, 100])
@pytest.mark.parametrize("place", [0, 1])
def test_a_model_of_one_batch_size_is_told_so(size, place):
    words = f"takes batches of {size} samples only: read the batch size from its input, as x.shape gives it"
    assert words in refusal(Built(size, place))
    assert words in only(Built(size, place), "model")


def test_other_errors_are_not_taken_for_a_batch_size():
    message = refusal(model(), spikes(100, 6, 21))
    assert "batches of" not in message
    assert "an example of the shape that it takes" in message


def quiet(*thresholds):
    first, last = thresholds
    return model(neuron=PaperNeuron(first), last=PaperNeuron(last))


@pytest.mark.parametrize(("thresholds", "layer"), [((50.0, 50.0), "1"), ((0.2, 50.0), "3")])
def test_an_untrained_model_is_told_to_load_weights_and_its_silent_layer_named(thresholds, layer):
    thing = quiet(*thresholds)
    found = doctor(thing, X)
    (verdict,) = [verdict for verdict in found.verdicts if verdict.check == "tied outputs"]
    assert f"layer '{layer}' is the first that never fires" in verdict.finding
    assert verdict.fix.startswith("load trained weights")
    wrap(thing, X)
