"""The doctor on models whose gradient, outputs or spike functions are at fault."""

import re

import torch
from faulty_models import Function, X, model, only, window, with_surrogate
from plain_styles import PaperNeuron, Ramp
from torch import nn

import spikeflip
from spikeflip import Rectangular, wrap
from spikeflip.victims import doctor


def test_gradients_that_are_none():
    step = PaperNeuron(0.2)
    step.act = lambda u, _: (u >= 0).float()
    text = only(model(neuron=step), "gradient")
    assert "layer '1' fires by a step without a surrogate derivative: pass surrogate= a derivative" in text
    assert doctor(model(neuron=step), X, surrogate=Rectangular()).attackable
    assert "fires by a step" in only(model(neuron=with_surrogate(torch.zeros_like)), "gradient")
    text = only(model(Function(lambda x: x.detach())), "gradient")
    assert "the graph is cut in layer '0' (Function): remove detach" in text

    class Frozen(nn.Sequential):
        forward = torch.no_grad()(nn.Sequential.forward)

    assert "its forward runs without them" in only(Frozen(*model()), "gradient")


def test_a_surrogate_that_is_nan():
    text = only(model(neuron=with_surrogate(lambda u: 1 / (u - u))), "gradient")
    assert "the surrogate of layer '1' is not finite near its threshold: pass surrogate=" in text
    far = with_surrogate(lambda u: torch.where(u.abs() > 2, torch.nan, torch.ones_like(u)))
    assert "the input gradient is not finite on the example" in only(
        model(Function(lambda x: x * 30), neuron=far), "gradient"
    )


def test_scores_that_training_mode_of_a_neuron_changes():
    class Noisy(PaperNeuron):
        def forward(self, x):
            return super().forward(x * 2 if self.training else x)

    assert "scores change when its spiking layers are in training mode" in only(model(neuron=Noisy(0.2)), "gradient")


def test_a_loss_at_its_minimum_is_no_fault_of_the_model():
    """One class fires always, the others never, as it should be; all with gradients."""
    thing = model(last=with_surrogate(lambda u: torch.exp(-u.abs())))
    thing[2].weight.data *= 0.1
    thing[2].bias.data = torch.tensor([-5.0, -5.0, 5.0, -5.0, -5.0])
    text = only(thing, "gradient", "remark")
    assert "is zero on all 4 samples, as the loss 'mse' is at its minimum there" in text
    assert text.endswith("attack with loss='ce'")


def test_an_output_layer_outside_its_window_is_cured_by_a_wider_one():
    thing = model(last=with_surrogate(window(0.5)))
    thing[2].bias.data -= 3
    thing = nn.Sequential(*thing, Function(lambda s: s + torch.tensor([0.1, 0.0, 0.0, 0.0, 0.0])))
    text = only(thing, "gradient", "remark")
    assert "as the output layer is outside its surrogate window" in text
    assert "attack with output_window=" in text
    width = float(text.partition("output_window=")[2].partition(":")[0])
    victim, labels = wrap(thing, X), torch.zeros(4, dtype=torch.int64)
    assert not spikeflip.scg(victim, X, labels, threshold=None, steps=1).vanished.eq(0).any()
    assert spikeflip.scg(victim, X, labels, threshold=None, steps=1, output_window=width).vanished.eq(0).any()
    assert "loss=" not in text


def test_another_loss_is_advised_where_only_both_help():
    """One class fires always, the others never, and all are outside their windows."""
    thing = model(last=with_surrogate(window(0.5)))
    thing[2].weight.data *= 0.1
    thing[2].bias.data = torch.tensor([-5.0, -5.0, 5.0, -5.0, -5.0])
    text = only(thing, "gradient", "remark")
    assert "as the output layer is outside its surrogate window" in text
    advice = re.search(r"attack with output_window=(\d+) and loss='ce': then it is there on 4 of 4", text)
    victim, labels = wrap(thing, X), torch.full((4,), 2)
    for loss, helps in (("mse", False), ("ce", True)):
        options = {"threshold": None, "steps": 1, "output_window": float(advice[1]), "loss": loss}
        assert spikeflip.scg(victim, X, labels, **options).vanished.eq(0).any() == helps


def test_a_dead_layer_below_the_output():
    thing = model(neuron=with_surrogate(window(0.5), 90.0), last=with_surrogate(lambda u: torch.exp(-u.abs())))
    thing[2].bias.data = torch.tensor([0.3, 0.05, 0.0, 0.0, 0.0])
    text = only(thing, "gradient")
    assert "it dies below the output layer, where the penultimate layer does not fire" in text
    assert "give examples on which the model fires" in text


def test_a_dead_layer_that_a_wide_surrogate_revives():
    thing = model(neuron=with_surrogate(window(0.5), 3.0), last=with_surrogate(lambda u: torch.exp(-u.abs())))
    thing[2].bias.data = torch.tensor([0.3, 0.05, 0.0, 0.0, 0.0])
    assert "Rectangular(" in only(thing, "gradient", "remark")


def test_a_silent_network_ties():
    text = only(model(last=with_surrogate(lambda u: torch.exp(-u.abs()), 50.0)), "tied outputs")
    assert "all outputs are silent on every sample, and layer '3' is the first that never fires" in text
    assert "load trained weights if the model has none yet, give examples on which it fires" in text
    double = nn.Sequential(model(), Function(lambda s: torch.cat([s, s], -1)))
    assert "two or more classes tie on every sample" in only(double, "tied outputs")


def test_spike_functions_that_get_the_potential_and_the_threshold():
    class Apart(PaperNeuron):
        def forward(self, x):
            mem, out = 0, []
            for current in x:
                mem = mem * self.tau + current
                out.append(self.act(mem, self.thresh))
                mem = (1 - out[-1]) * mem
            return torch.stack(out)

    neuron, known = Apart(0.9), Ramp.apply
    neuron.act = lambda u, thresh: known(u - thresh, 1.0)
    text = only(model(neuron=neuron), "threshold and surrogate", "remark")
    assert "layer '1' calls its attribute 'act' with something else than potential - threshold" in text
    assert "let its forward subtract the threshold itself, or attack with threshold=None" in text


def test_neurons_that_do_not_fire_by_their_attribute():
    class Deaf(PaperNeuron):
        def forward(self, x):
            own, self_act = Ramp.apply, self.act
            assert self_act is not None
            mem, out = 0, []
            for current in x:
                mem = mem * self.tau + current
                out.append(own(mem - self.thresh, 1.0))
                mem = (1 - out[-1]) * mem
            return torch.stack(out)

    text = only(model(neuron=Deaf(0.2)), "threshold and surrogate", "remark")
    assert "layer '1' does not fire by its attribute 'act'" in text
    assert "neurons={Deaf: ('threshold', 'spike_function')}" in text
