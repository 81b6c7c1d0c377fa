"""Models that run layers again in their backward pass, as ``torch.utils.checkpoint`` has it, to save memory."""

import pytest
import torch
from asking import ask
from faulty_models import X, only, refusal
from plain_styles import PaperNeuron, StatefulNeuron
from torch import nn
from torch.utils.checkpoint import checkpoint

from spikeflip import Rectangular
from spikeflip.victims import wrap
from spikeflip.victims.examining.imprint import Imprint


class Blocks(nn.Module):
    def __init__(self, again, neuron=PaperNeuron):
        super().__init__()
        torch.manual_seed(0)
        self.again = again
        self.fc1, self.norm, self.one = nn.Linear(20, 16), nn.BatchNorm1d(16), neuron(0.2)
        self.fc2, self.two = nn.Linear(16, 5), neuron(0.1)
        self.norm.running_mean.uniform_(-0.3, 0.3)

    def block(self, x):
        x = self.fc1(x)
        return self.one(self.norm(x.flatten(0, -2)).reshape(x.shape))

    def forward(self, x):
        x = checkpoint(self.block, x, use_reentrant=False) if self.again else self.block(x)
        return self.two(self.fc2(x))


def gradient(victim, **options):
    weights = torch.arange(1.0, 6)
    return victim.probe(X).input_gradient(lambda s, _: weights.expand_as(s), ask(torch.arange(4), **options)).values


@pytest.mark.parametrize("options", [{}, {"penultimate_threshold": 1.0}, {"output_window": 3.0}])
@pytest.mark.parametrize("surrogate", [None, Rectangular(4.0)])
def test_layers_without_state_may_run_again(options, surrogate):
    model, plain = Blocks(again=True).train(), Blocks(again=False)
    before = Imprint.of(model)
    victim = wrap(model, X, surrogate=surrogate)
    wanted = gradient(wrap(plain, X, surrogate=surrogate), **options)
    assert wanted.any()
    assert torch.equal(gradient(victim, **options), wanted)
    assert before.differences(Imprint.of(model)) == []


def test_layers_with_state_may_not():
    """They would start from what the forward pass left."""
    model = Blocks(again=True, neuron=StatefulNeuron)
    before = Imprint.of(model)
    wrap(Blocks(again=False, neuron=StatefulNeuron), X, layout="steps")
    words = "runs again in the backward pass, where the model's state is another than before: turn torch.utils.checkp"
    assert f"layer 'fc1' {words}" in refusal(model, layout="steps")
    assert f"layer 'fc1' {words}" in only(model, "gradient", layout="steps")
    assert before.differences(Imprint.of(model)) == []
