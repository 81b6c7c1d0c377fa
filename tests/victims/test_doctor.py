"""The doctor: healthy models pass, and a model with one fault fails one check, with the right cause and fix."""

from importlib import metadata

import pytest
import torch
from equations import spikes
from faulty_models import Function, X, faults, model, only
from model_styles import STYLES, named
from plain_styles import PaperNeuron, Ramp, StatefulNeuron
from spikingjelly_styles import sj
from torch import nn

import spikeflip
from spikeflip import Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork, wrap
from spikeflip.victims import doctor
from spikeflip.victims.examining.doctor import CHECKS
from spikeflip.victims.examining.imprint import Imprint

# Healthy ones.


def test_a_network_of_ours_passes_everything():
    network = SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1)
    found = doctor(network, X)
    assert found.attackable
    assert faults(found) == {}
    assert tuple(v.check for v in found.verdicts) == CHECKS
    assert found.not_run == ()
    assert faults(doctor(network, torch.rand(4, 20, generator=torch.Generator().manual_seed(0)))) == {}


@pytest.mark.parametrize("training", [True, False])
def test_a_hand_written_model_passes_everything_and_is_given_back(training):
    thing = model(nn.Dropout(0.5), neuron=StatefulNeuron(0.2), last=StatefulNeuron(0.1)).train(training)
    thing[0].eval()
    thing[1].weight.requires_grad_(False)
    thing[1].register_forward_hook(lambda *_: None)
    before, random = Imprint.of(thing), torch.random.get_rng_state()
    found = doctor(thing, X, layout="steps")
    assert faults(found) == {}
    assert before.differences(Imprint.of(thing)) == []
    assert torch.equal(torch.random.get_rng_state(), random)
    assert "it is '2' (StatefulNeuron), with threshold 0.2" in str(found)
    assert faults(doctor(wrap(thing, X, layout="steps"), X)) == {}


def test_one_sample_and_many():
    assert doctor(model(), X[:1]).attackable
    assert "16 of 16 samples" in str(doctor(model(), spikes(40, 6, 20)))
    network = SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1)
    assert "16 of 16 samples" in str(doctor(network, torch.full((1, 20), 0.5).expand(10**12, 20)))  # in no memory


def test_it_is_reached_from_the_package():
    assert spikeflip.doctor is doctor
    assert spikeflip.victims.doctor is doctor


# Faulty ones.


def test_models_that_are_none():
    for thing, words in (
        (lambda x: x, "the model is a function, whose layers and state cannot be seen: pass the torch.nn.Module"),
        (nn.DataParallel(model()), "spreads over devices: pass the model inside it, model.module"),
        (type("Two", (nn.Module,), {"forward": lambda self, x, y: x})(), "needs 2 inputs, x, y: pass as layout="),
    ):
        assert words in only(thing, "model")
        assert doctor(thing, X).not_run == CHECKS[1:]


def test_an_input_that_the_model_does_not_take():
    text = only(model(), "model", example=spikes(4, 6, 21))
    assert "the model fails on the example with layout 'TB' (RuntimeError" in text
    assert "an example of the shape that it takes" in text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda s: (s, s), "the model returns 2 parts: choose one with output=, of 0 (a tensor (6, 3, 5)), 1"),
        (lambda s: s.unsqueeze(-1), "has shape (6, 3, 5, 1), from which readout 'mean' makes no scores (N, K)"),
        (lambda s: s[..., :1], "the scores of 3 samples have shape (3, 1), of one class alone: choose another layout="),
        (lambda s: s.mean(0) / 0, "the scores are not finite: check the model's weights"),
    ],
)
def test_outputs_that_are_no_scores(answer, words):
    text = only(nn.Sequential(model(), Function(answer)), "output")
    assert words in text


def test_the_range_of_scores_is_said():
    assert "as rates are" in str(doctor(model(), X))
    assert "no rates, but counts" in str(doctor(nn.Sequential(model(), Function(lambda s: 3 * s)), X))


def test_dropout_that_evaluation_mode_does_not_stop():
    text = only(model(Function(lambda x: nn.functional.dropout(x, 0.5, training=True))), "same call twice")
    assert "the model draws random numbers in layer '0' (Function): take the encoder or dropout out" in text


def test_state_that_leaks():
    memory = []

    def leak(x):
        memory.append(x)
        return x + 0.5 * (len(memory) % 2)

    text = only(model(Function(leak)), "same call twice")
    assert "remembers something of the call before" in text
    assert "in layer '0' (Function): keep state in attributes of modules, as tensors, lists or dictionaries" in text


def test_state_of_an_earlier_run():
    class Stubborn(StatefulNeuron):
        reset = None

    thing = model(neuron=Stubborn(0.3), last=Stubborn(0.2))
    thing(X[:3, 0])
    text = only(thing, "same call twice", layout="steps")
    assert "holds a state of an earlier run in 1.mem" in text
    assert "pass reset= a function" in text


def test_batch_coupling_alone():
    text = only(model(Function(lambda x: x - x.mean(1, keepdim=True))), "batch independence")
    assert "a sample's scores depend on the other samples of its batch" in text
    assert "BatchNorm by hand" in text


def test_gradients_that_reach_other_samples():
    """Scores that do not depend on other samples as long as outputs are silent, gradients that do."""
    coupled = model(Function(lambda x: x + 1e-3 * x.sum(1, keepdim=True)))
    for parameter in coupled.parameters():
        parameter.data *= 1e-3
    assert "gradient of a sample's scores reaches other samples" in str(
        next(v for v in doctor(coupled, X).verdicts if v.check == "batch independence")
    )


def test_a_place_in_the_batch_that_matters():
    def place(x):
        return x * torch.linspace(0.2, 1.0, x.shape[1]).unsqueeze(1) if x.shape[1] > 1 else x * 0.2

    assert "a sample's scores depend on its place in the batch" in only(model(Function(place)), "order of samples")


@pytest.mark.parametrize(("wrong", "right"), [("BT", "TB"), ("steps", "TB")])
def test_batch_first_for_time_first(wrong, right):
    text = only(model(), "batch independence", layout=wrong)
    assert text.startswith(f"with layout '{wrong}', ")
    assert text.endswith(f"the checks pass with layout '{right}'")


def test_time_first_for_batch_first():
    class BatchFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = model()

        def forward(self, x):
            return self.body(x.transpose(0, 1)).transpose(0, 1)

    assert doctor(BatchFirst(), X, layout="BT").attackable
    assert "with layout 'TB', a sample's scores depend on" in (text := only(BatchFirst(), "batch independence"))
    assert text.endswith(": the checks pass with layout 'BT'")


def test_a_sequence_for_a_model_of_steps():
    thing = model(neuron=StatefulNeuron(0.2), last=StatefulNeuron(0.1))
    text = only(thing, "time matters")
    assert "frames in another order give the same scores" in text
    assert "the checks pass with layout 'steps'" in text


def test_a_model_without_memory_is_remarked():
    text = only(model(neuron=PaperNeuron(0.2, tau=0.0), last=PaperNeuron(0.1, tau=0.0)), "time matters", "remark")
    assert "that the state of a step reaches the next" in text


class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.limit, self.fire = 0.2, lambda u: Ramp.apply(u, 1.0)

    def forward(self, x):
        mem, out = 0, []
        for current in x:
            mem = 0.5 * mem + current
            out.append(self.fire(mem - self.limit))
            mem = mem * (1 - out[-1])
        return torch.stack(out)


def test_no_spiking_layer():
    thing = model(neuron=Unknown(), last=Unknown())
    text = only(thing, "threshold and surrogate")
    assert "no spiking layer was found in the model: pass neurons={YourNeuron: ('threshold', 'spike_function')}" in text
    assert doctor(thing, X).not_run == ("penultimate layer",)
    assert "no spiking layer is known" in only(thing, "threshold and surrogate", "remark", neurons={})
    assert faults(doctor(thing, X, neurons={Unknown: ("limit", "fire")})) == {}
    assert "has no threshold that could move" in only(
        thing, "threshold and surrogate", "remark", neurons={Unknown: (None, "fire")}
    )


def test_no_layer_before_the_last_weights():
    thing = model()[2:]
    text = only(thing, "penultimate layer", "remark", spikes(4, 6, 16))
    assert "name one of '3' as penultimate=" in text
    assert faults(doctor(thing, spikes(4, 6, 16), penultimate="3")) == {}
    network = SpikingNetwork("5FC", (20,), time_steps=6, seed=1)
    assert "no spiking layer before its output" in only(network, "penultimate layer", "remark")
    relu = ReluNetwork("16FC-5FC", (20,), seed=1)
    found = doctor(relu, torch.rand(4, 20))
    assert found.attackable
    assert faults(found) == {}


def test_one_module_for_a_hidden_layer_and_the_output():
    thing = model()
    thing[3] = thing[1]
    text = only(thing, "penultimate layer", "remark")
    assert "has no spiking layer before its last weights that is not its output as well: use one module a layer" in text


def test_layers_that_are_called_by_their_methods():
    class Methods(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = model()

        def forward(self, x):
            for part in self.body:
                x = part.forward(x)
            return x

    assert "do not run when the model is called" in only(Methods(), "penultimate layer")


def test_a_forward_that_leaves_things_behind():
    class Hooked(nn.Module):
        def forward(self, x):
            self.register_forward_hook(lambda *_: None)
            return x

    assert "_forward_hooks of layer '0'" in only(model(Hooked()), "restored")

    class Normed(nn.Linear):
        def forward(self, x):
            self.weight.data /= self.weight.data.norm()
            return super().forward(x)

    text = only(model(Normed(20, 20)), "restored")
    assert "a run of the model changes parameter '0.weight': do that when the model is built" in text


def test_imprints_tell_apart():
    thing = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    thing.memory = {"v": [torch.zeros(2)]}
    thing.memory["self"] = thing.memory
    thing.half, thing.sparse = torch.zeros(2, dtype=torch.bfloat16), torch.eye(2).to_sparse()
    before = Imprint.of(thing)
    assert before.differences(Imprint.of(thing)) == []
    thing[0].eval()
    thing[0].weight.requires_grad_(False)
    thing[0].bias.data[0] = 7
    thing[1].weight.grad = torch.zeros(2)
    thing.memory["v"][0][1] = 1
    thing.half = thing.half.clone()
    thing[1].running_mean += 1
    assert set(before.differences(Imprint.of(thing))) == {
        "the mode of layer '0'",
        "parameter '0.weight'",
        "requires_grad of parameter '0.weight'",
        "parameter '0.bias'",
        "the gradient of parameter '1.weight'",
        "attribute 'memory'",
        "attribute 'half'",
        "attribute '1.running_mean'",
    }


def test_a_backward_that_raises():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise ValueError("not today")

    found = doctor(model(Function(Own.apply)), X)
    assert not found.attackable
    assert "ValueError: not today" in str(found)


def test_questions_at_fault():
    for options, words in (
        ({"layout": "NT"}, "layout is 'NT'"),
        ({"layout": ["TB"]}, r"layout is \['TB'\]"),
        ({"surrogate": "rectangular"}, "surrogate is 'rectangular': give a derivative"),
        ({"readout": "vote"}, "readout is 'vote'"),
        ({"penultimate": "7"}, "penultimate is '7': choose one of the spiking layers, '1', '3'"),
    ):
        with pytest.raises(SpikeflipError, match=words):
            doctor(model(), X, **options)
    network = SpikingNetwork("16FC-5FC", (20,), time_steps=6)
    for thing in (network, wrap(model(), X)):
        for options in ({"layout": "BT"}, {"output": 0}, {"neurons": {}}, {"surrogate": Rectangular()}):
            with pytest.raises(SpikeflipError, match=f"^{next(iter(options))} is for a model, but this is a victim al"):
                doctor(thing, X, **options)
    for thing in (model(), network):
        for example in (X * 0.5, torch.zeros(0, 6, 20), torch.tensor(1.0), [1]):
            with pytest.raises(SpikeflipError):
                doctor(thing, example)


# Frameworks.


@pytest.mark.parametrize("style", [named(style) for style in STYLES])
def test_every_style_of_model_is_healthy(style):
    thing = style.model()
    found = doctor(thing, style.example(8), **style.options)
    assert found.attackable
    assert faults(found) == {}


@pytest.mark.frameworks
def test_spikingjelly_in_evaluation_mode():
    """0.0.0.0.14 has no gradient in evaluation mode, but for a victim, and the model stays in that mode."""
    pytest.importorskip("spikingjelly")
    functional, layer, neuron = sj()
    torch.manual_seed(0)
    thing = nn.Sequential(
        layer.Linear(20, 16), neuron.LIFNode(v_threshold=0.2), layer.Linear(16, 5), neuron.LIFNode(v_threshold=0.1)
    )
    functional.set_step_mode(thing, "m")
    thing.eval()
    if metadata.version("spikingjelly").startswith("0.0.0.0"):
        x = X.transpose(0, 1).clone().requires_grad_()
        out = thing(x)
        assert not out.requires_grad
        functional.reset_net(thing)
    found = doctor(thing, X)
    assert faults(found) == {}
    assert not any(module.training for module in thing.modules())
    found = doctor(thing, X, layout="steps")
    assert not found.attackable
    assert "the checks pass with layout 'TB'" in str(found)


@pytest.mark.frameworks
def test_snntorch_with_a_nested_state_of_an_earlier_run():
    """Its own reset reaches direct children alone; a victim finds all state, and leaves it where it is."""
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(0)
    thing = nn.Sequential(
        nn.Sequential(nn.Linear(20, 16), snntorch.Leaky(0.8, threshold=0.3, init_hidden=True)),
        nn.Sequential(nn.Linear(16, 5), snntorch.Leaky(0.8, threshold=0.3, init_hidden=True)),
    )
    clean = wrap(thing, X, layout="steps").scores(X)
    thing(X[:, 0])
    before, left = Imprint.of(thing), thing[0][1].mem
    assert left.any()
    found = doctor(thing, X, layout="steps")
    assert faults(found) == {}
    assert thing[0][1].mem is left
    assert before.differences(Imprint.of(thing)) == []
    assert torch.equal(wrap(thing, X, layout="steps").scores(X), clean)
