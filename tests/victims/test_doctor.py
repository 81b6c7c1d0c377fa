"""The doctor: healthy models pass, and a model with one fault fails one check, with the right cause and fix."""

import json
import re
import sys
from importlib import metadata

import numpy as np
import pytest
import torch
from equations import spikes
from model_styles import STYLES, named
from plain_styles import PaperNeuron, Ramp, StatefulNeuron
from spikingjelly_styles import sj
from torch import nn

import spikeflip
from spikeflip import Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork, wrap
from spikeflip.snn.checkpoint import save_checkpoint
from spikeflip.victims import doctor
from spikeflip.victims.doctor import CHECKS
from spikeflip.victims.imprint import Imprint

X = spikes(4, 6, 20)


def model(*extra, neuron=None, last=None):
    """Time first; in a sequence, so that a fault can be put in front."""
    torch.manual_seed(0)
    hidden, last = neuron or PaperNeuron(0.2), last or PaperNeuron(0.1)
    return nn.Sequential(*extra, nn.Linear(20, 16), hidden, nn.Linear(16, 5), last)


class Function(nn.Module):
    """A layer that applies a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def faults(diagnosis):
    """What is not passed, by check."""
    return {v.check: diagnosis.state(v) for v in diagnosis.verdicts if not v}


def only(thing, check, state="failed", example=X, **options):
    """The text of the one verdict that is not passed."""
    diagnosis = doctor(thing, example, **options)
    assert faults(diagnosis) == {check: state}
    assert diagnosis.attackable == (state == "remark")
    verdict = next(v for v in diagnosis.verdicts if not v)
    assert verdict.finding
    assert verdict.fix
    assert "\n" not in str(verdict)
    return str(verdict)


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
        (lambda s: s[..., :1], "the scores of 3 samples have shape (3, 1), not (N, K): choose another layout="),
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
    assert "in layer '0' (Function): give it a function that resets it as reset=" in text


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


def with_surrogate(slope, thresh=0.2, tau=0.5):
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u >= 0).to(u)

        @staticmethod
        def backward(ctx, g):
            return g * slope(ctx.saved_tensors[0])

    neuron = PaperNeuron(thresh, tau)
    neuron.act = lambda u, *_: Own.apply(u)
    return neuron


def window(width):
    return lambda u: (u.abs() <= width / 2).to(u) / width


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
    assert "all outputs are silent on every sample: give examples on which the model fires" in text
    double = nn.Sequential(model(), Function(lambda s: torch.cat([s, s], -1)))
    assert "two or more classes tie on every sample" in only(double, "tied outputs")


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
    assert faults(found) == {"threshold and surrogate": "remark", "penultimate layer": "remark"}


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
        for example in (X * 2, torch.zeros(0, 6, 20), [1]):
            with pytest.raises(SpikeflipError):
                doctor(thing, example)


# The command.

FACTORIES = """
import sys
import torch
from torch import nn
from spikeflip import SpikingNetwork

print("a model that talks")


class MyLIF(nn.Module):
    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def fire(self, u):
        return torch.sigmoid(4 * u) + ((u >= 0).float() - torch.sigmoid(4 * u)).detach()

    def forward(self, x):
        mem, out = 0, []
        for current in x:
            mem = 0.5 * mem + current
            out.append(self.fire(mem - self.limit))
            mem = mem * (1 - out[-1])
        return torch.stack(out)


def build():
    torch.manual_seed(0)
    print("still talking")
    return nn.Sequential(nn.Linear(20, 16), MyLIF(0.2), nn.Linear(16, 5), MyLIF(0.1))


def pair():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = build()

        def forward(self, x):
            return {"spikes": self.body(x), "rest": None}

    return Pair()


def ours():
    return SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1)


def image():
    class Repeat(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = build()[:3]  # ends with a linear layer

        def forward(self, x):
            return self.body(x.unsqueeze(0).repeat(6, 1, 1))

    return Repeat()


def function():
    return lambda x: x


def seeming():
    class Net(nn.Sequential):
        input_shape, coding, time_steps, probe = (20,), "direct", 6, None

    return Net(*build())


def raises():
    raise ValueError("no weights\\nhere")


def leaves():
    sys.exit("bye")


def needs(path):
    return None


class Box:
    build = staticmethod(build)


number, made = 3, build()
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A module in the current folder, found as ``python -m`` finds it."""
    (tmp_path / "doctored.py").write_text(FACTORIES)
    (tmp_path / "doctored_faulty.py").write_text("1 / 0\n")
    (tmp_path / "doctored_script.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "doctored_needy.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("doctored")]:
        del sys.modules[name]


MINE = ["--input-shape", "6,20", "--neurons", "MyLIF=limit,fire", "--rate", "0.5"]


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        ("build", MINE),
        ("made", MINE),
        ("Box.build", MINE),
        ("pair", [*MINE, "--output", "spikes", "--penultimate", "body.1"]),
        ("image", ["--input-shape", "20", "--layout", "static", "--neurons", "MyLIF=limit,fire"]),
        ("ours", ["--rate", "0.5"]),
        ("seeming", [*MINE, "--layout", "TB"]),
        ("build", ["--input-shape", "6,20", "--neurons", "none", "--rate", "0.5"]),
    ],
)
def test_the_command_passes_healthy_models(factory, options, factories, run):
    status, out, err = run("doctor", f"doctored:{factory}", *options)
    assert (status, out.splitlines()[-1][:25]) == (0, "the model can be attacked"[:25])
    assert "talk" not in out
    assert "✗" not in out
    assert "Traceback" not in err


def test_the_command_says_what_is_wrong_and_ends_with_status_1(factories, run):
    status, out, _ = run("doctor", "doctored:build", *MINE, "--layout", "BT")
    assert status == 1
    assert "the checks pass with layout 'TB'" in out
    assert out.splitlines()[-1] == "the model cannot be attacked: 1 check failed (✗)"
    status, out, err = run("doctor", "doctored:function", "--input-shape", "6,20")
    assert status == 1
    assert "the model is a function" in out
    assert "Traceback" not in err


def test_json_alone_on_stdout(factories, run):
    status, out, _ = run("doctor", "doctored:build", *MINE, "--json")
    found = json.loads(out)
    assert (status, found["attackable"], found["not_run"]) == (0, True, [])
    assert [v["check"] for v in found["verdicts"]] == list(CHECKS)
    assert found["verdicts"][0].keys() == {"check", "state", "finding", "fix"}
    status, out, _ = run("doctor", "doctored:build", *MINE, "--layout", "BT", "--json")
    found = json.loads(out)
    assert (status, found["attackable"]) == (1, False)
    (fault,) = [v for v in found["verdicts"] if v["state"] == "failed"]
    assert (fault["check"], fault["fix"]) == ("batch independence", "the checks pass with layout 'TB'")
    assert found["not_run"] == ["order of samples", "time matters"]


def test_the_seed_and_the_rate_make_the_inputs(factories, run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "spikeflip.victims.doctor", lambda victim, example, **_: seen.append(example) or doctor(victim, example)
    )
    for options in ([], ["--seed", "1"], ["--rate", "0.6"], []):
        run("doctor", "doctored:ours", *options)
    first, other, dense, again = seen
    assert first.shape == (8, 6, 20)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.1 < first.mean() < 0.3
    assert 0.5 < dense.mean() < 0.7


def test_a_trained_victim_and_inputs_of_a_file(factories, run):
    save_checkpoint(SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1), factories / "victim", {"loss": "mse"})
    assert run("doctor", "--victim", "victim", "--rate", "0.5")[0] == 0
    np.save("x.npy", X.numpy().astype(np.uint8))
    assert run("doctor", "--victim", "victim", "--example", "x.npy")[0] == 0
    np.save("objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    for file in ("objects.npy", "none.npy", "doctored.py"):
        status, out, err = run("doctor", "--victim", "victim", "--example", file)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"spikeflip: --example {file} ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give PACKAGE.MODULE:FUNCTION or --victim FOLDER"),
        (["doctored:build", "--victim", "x"], "named twice"),
        (["--victim", "x"], "there is no victim at x"),
        (["doctored"], "'doctored' names no factory: write PACKAGE.MODULE:FUNCTION"),
        (["a b:c"], "names no factory"),
        (["doctored_none:build"], "there is no module 'doctored_none', neither installed nor in this folder"),
        (["doctored.none:build"], "there is no module 'doctored.none'"),
        (["doctored_faulty:build"], "doctored_faulty raised an error (ZeroDivisionError: division by zero): mend it"),
        (["doctored_script:build"], "importing doctored_script raised an error (SystemExit: 3): mend it"),
        (["doctored_needy:build"], "importing doctored_needy needs the module 'no_such_package': install it"),
        (["doctored:none"], "there is no 'none' in doctored"),
        (["doctored:number"], "doctored:number is a value of type int: name a function without arguments"),
        (["doctored:raises"], "doctored:raises raised an error (ValueError: no weights): mend it"),
        (["doctored:leaves"], "doctored:leaves raised an error (SystemExit: bye)"),
        (["doctored:needs"], "doctored:needs raised an error (TypeError: needs() missing 1 required positional"),
        (["doctored:build"], "--input-shape is missing"),
        (["doctored:seeming"], "--input-shape is missing"),
        (["doctored:build", "--input-shape", "6,x"], "--input-shape is '6,x': give whole numbers with commas"),
        (["doctored:build", "--input-shape", "6,0"], "--input-shape is '6,0'"),
        (["doctored:build", "--input-shape", "6"], "time steps and at least one more size"),
        (["doctored:build", "--input-shape", "6,99999,99999"], "are more than 268,435,456 values"),
        (["doctored:build", "--input-shape", "6,20", "--layout", "NT"], "layout is 'NT': choose one of 'TB'"),
        (["doctored:build", "--input-shape", "6,20", "--readout", "vote"], "readout is 'vote'"),
        (["doctored:build", "--input-shape", "6,20", "--rate", "1.5"], "--rate is 1.5"),
        (["doctored:build", "--input-shape", "6,20", "--seed", "-1"], "--seed is -1"),
        (["doctored:build", "--input-shape", "6,20", "--neurons", "MyLIF"], "CLASS=THRESHOLD,SPIKE_FUNCTION"),
        (["doctored:build", "--input-shape", "6,20", "--neurons", "LIF=a,b"], "--neurons names 'LIF'"),
        (["doctored:build", *MINE, "--penultimate", "9"], "penultimate is '9'"),
        (["doctored:ours", "--layout", "BT"], "layout is for a model, but this is a victim already, a SpikingNetwork"),
    ],
)
def test_mistakes_in_what_was_asked_are_one_sentence(arguments, words, factories, run):
    status, out, err = run("doctor", *arguments)
    err = "".join(line for line in err.splitlines(keepends=True) if "talk" not in line)
    assert (status, out) == (2, "")
    assert err.startswith("spikeflip: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_terminal_of_60_columns(factories, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("NO_COLOR", "1")
    _, out, _ = run("doctor", "doctored:build", *MINE, "--layout", "BT")
    table = re.sub(r"\x1b\[[0-9;]*m", "", out[: out.index("not run")]).splitlines()
    assert max(map(len, table)) <= 60, out
    assert "the checks pass with layout 'TB'" in " ".join(" ".join(line[20:] for line in table).split())


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
