"""Image models whose loop over time is outside: noticed where they run once, and called T times where that is asked."""

import pytest
import torch
from faulty_models import model
from plain_styles import PaperModel, PaperNeuron, Ramp, StatefulNeuron
from torch import nn

from spikeflip import SpikeflipError, judge, wrap
from spikeflip.attacks import bim
from spikeflip.interop import as_module
from spikeflip.runs.config import VictimConfig
from spikeflip.runs.victim import load_victim
from spikeflip.victims import doctor

IMAGES = torch.rand(4, 20, generator=torch.Generator().manual_seed(0))


def single_step():
    """Keeps its membranes; trained, in the mind of its maker, with several calls an image."""
    return model(neuron=StatefulNeuron(0.5), last=StatefulNeuron(0.4))


def looped(thing, images, calls):
    for neuron in (thing[1], thing[3]):
        neuron.reset()
    scores = torch.stack([thing(images) for _ in range(calls)]).mean(0)
    for neuron in (thing[1], thing[3]):
        neuron.reset()
    return scores


@pytest.mark.parametrize("calls", [1, 2, 12])
def test_the_image_is_repeated_through_the_model_with_its_own_loops_scores_and_gradient(calls):
    thing = single_step()
    victim = wrap(thing, IMAGES, layout="static", time_steps=calls)
    assert (victim.time_steps, victim.coding, victim.notices) == (calls, "direct", ())
    images = IMAGES.clone().requires_grad_()
    scores = looped(thing, images, calls)
    assert torch.equal(as_module(victim)(IMAGES), scores)
    weights = torch.randn(scores.shape, generator=torch.Generator().manual_seed(1))
    (wanted,) = torch.autograd.grad(scores, images, weights)
    assert wanted.any()
    (found,) = torch.autograd.grad(as_module(victim)(images), images, weights)
    assert float((found - wanted).norm() / wanted.norm()) < 3e-7


def test_the_readout_is_of_the_calls():
    thing = single_step()
    for readout, read in (("sum", lambda out: out.sum(0)), ("last", lambda out: out[-1])):
        victim = wrap(thing, IMAGES, layout="static", time_steps=5, readout=readout)
        outputs = torch.stack([thing(IMAGES) for _ in range(5)])
        assert torch.equal(as_module(victim)(IMAGES), read(outputs))
        thing[1].reset()
        thing[3].reset()


def test_attacks_and_the_judge_call_it_as_often():
    thing = single_step()
    victim = wrap(thing, IMAGES, layout="static", time_steps=8)
    labels = looped(thing, IMAGES, 8).argmax(1)
    result = bim(victim, IMAGES, labels, step_size=0.1)
    right = looped(thing, result.adversarials, 8)
    assert result.success.any()
    assert (right.argmax(1) != labels)[result.success].all()
    rows = judge(victim, IMAGES, result.adversarials, labels, None, result).rows
    assert torch.equal(rows["success"], result.success)


class Handed(nn.Module):
    """Gives back its membrane beside its spikes, as snnTorch's neurons do."""

    def __init__(self, thresh):
        super().__init__()
        self.thresh, self.act = thresh, lambda u: Ramp.apply(u, 1.0)

    def forward(self, current):
        spikes = self.act(current - self.thresh)
        return spikes, current - spikes * self.thresh


class HandedNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.hidden, self.two, self.last = nn.Linear(20, 16), Handed(0.2), nn.Linear(16, 5), Handed(0.1)

    def forward(self, x):
        return self.last(self.two(self.hidden(self.one(x))[0]))[0]


class InBuffer(nn.Module):
    """A convolution whose neurons keep their membrane in a dictionary of a module inside them."""

    def __init__(self):
        super().__init__()
        self.conv, self.neuron, self.head = nn.Conv2d(1, 4, 3), StatefulNeuron(0.3), nn.Linear(144, 5)

    def forward(self, x):
        return self.head(self.neuron(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    ("made", "images"),
    [(single_step, IMAGES), (InBuffer, torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))],
)
def test_a_model_that_runs_for_one_step_is_noticed_until_somebody_says_so(made, images, caplog):
    torch.manual_seed(0)
    thing = made()
    victim = wrap(thing, images, layout="static")
    assert [notice.code for notice in victim.notices] == ["one-time-step"]
    assert "the model runs for one time step" in caplog.text
    assert "pass time_steps=T if it was trained with T calls an image" in caplog.text
    labels = as_module(victim)(images).argmax(1)
    result = bim(victim, images, labels, steps=1)
    said = judge(victim, images, result.adversarials, labels, None, result).summary()["notices"]
    assert said[0]["code"] == "one-time-step"
    assert wrap(thing, images, layout="static", time_steps=1).notices == ()
    found = doctor(thing, images, layout="static")
    (remark,) = [verdict for verdict in found.verdicts if verdict.check == "time matters"]
    assert found.state(remark) == "remark"
    assert "one time step" in remark.finding
    assert "time_steps=T" in remark.fix


def test_a_notice_of_a_command_is_in_its_own_words():
    """``--time-steps``, and not ``time_steps=``."""
    config = VictimConfig(victim=f"{__name__}:InBuffer", input_shape="1,8,8", layout="static")
    (notice,) = load_victim(config).victim.notices
    assert "pass --time-steps T if it was trained" in notice.text


def test_membranes_that_are_handed_back_are_seen_too():
    torch.manual_seed(0)
    assert [notice.code for notice in wrap(HandedNet(), IMAGES, layout="static").notices] == ["one-time-step"]


class Inside(nn.Module):
    """Its loop over time is its own."""

    def __init__(self):
        super().__init__()
        self.body = single_step()

    def forward(self, x):
        return torch.stack([self.body(x) for _ in range(4)])


class Recording(PaperNeuron):
    """Gets all steps at once and writes down what it did."""

    def forward(self, x):
        self.record = super().forward(x)
        return self.record


class Sequence(nn.Module):
    def __init__(self, steps):
        super().__init__()
        self.body, self.steps = model(neuron=Recording(0.2), last=Recording(0.1)), steps

    def forward(self, x):
        return self.body(x.expand(self.steps, *x.shape))


@pytest.mark.parametrize("made", [Inside, lambda: Sequence(4), lambda: Sequence(3)])
def test_models_with_time_inside_are_not_suspected(made):
    assert wrap(made(), IMAGES, layout="static").notices == ()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert wrap(PaperModel(), images, layout="static").notices == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"layout": "TB", "time_steps": 4},
            "time_steps is 4, but with layout 'TB' the example says how many",
        ),
        ({"layout": "static", "time_steps": 0}, "time_steps is 0: give at least 1"),
        ({"layout": "static", "time_steps": 2.5}, "time_steps is 2.5: give a whole number"),
    ],
)
def test_time_steps_that_are_none(options, words):
    example = IMAGES if options["layout"] == "static" else IMAGES.round().unsqueeze(1)
    for call in (wrap, doctor):
        with pytest.raises(SpikeflipError, match=words):
            call(single_step(), example, **options)


def test_an_image_that_is_not_repeated_is_refused():
    victim = wrap(single_step(), IMAGES, layout="static", time_steps=4)
    for steps in (1, 3, 5):
        inputs = IMAGES.unsqueeze(1).repeat_interleave(steps, 1)
        for ask in (victim.scores, victim.probe):
            with pytest.raises(SpikeflipError, match=f"are of {steps} time steps, and this .* called 4 times an image"):
                ask(inputs)
    assert victim.scores(IMAGES.unsqueeze(1).repeat_interleave(4, 1)).shape[0] == len(IMAGES)
