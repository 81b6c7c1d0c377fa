"""The parts of the adapter, each against values worked out by hand."""

import pytest
import torch
from asking import ask
from equations import spikes
from plain_styles import PaperModel, PaperNeuron, Ramp
from torch import nn

from spikeflip import Rectangular, SpikingNetwork, scg
from spikeflip.attacks import bim
from spikeflip.victims import Victim, doctor, wrap
from spikeflip.victims.examining import checks
from spikeflip.victims.layouts import run
from spikeflip.victims.order import SampleAxis, started
from spikeflip.victims.spike_functions import Change, find, table
from spikeflip.victims.state import State, learn, shadowed


class Recorder(nn.Module):
    """Returns what it is given, and keeps it."""

    def forward(self, x, state=None):
        self.given = x
        return x if state is None and not hasattr(self, "stateful") else (x, state)


@pytest.mark.parametrize("layout", ["TB", "BT", "steps", "flat-BT", "T-last"])
def test_every_layout_gives_the_same_output_from_its_own_axes(layout):
    x = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4).requires_grad_()  # N, T, F
    model = Recorder()
    assert torch.equal(run(model, x, layout, None), x.transpose(0, 1))
    shapes = {"TB": (3, 2, 4), "BT": (2, 3, 4), "steps": (2, 4), "flat-BT": (6, 4), "T-last": (2, 4, 3)}
    assert model.given.shape == shapes[layout]
    assert not model.given.is_leaf
    model.given.mul_(0)  # in place, which neither fails nor reaches the caller
    assert x[1, 2, 3] == 23


def test_a_layout_function_gets_a_fresh_tensor_too():
    x = torch.ones(2, 3, 4)
    assert run(Recorder(), x, lambda model, given: model(given.mul_(0)).transpose(0, 1), None).shape == (3, 2, 4)
    assert x.all()
    run(Recorder(), x.requires_grad_(), lambda model, given: model(given.mul_(0)), None)  # which a leaf refuses


def test_static_models_see_images():
    model = Recorder()
    assert run(model, torch.ones(2, 1, 4), "static", None).shape == (2, 4)
    victim = wrap(PaperModel(), torch.rand(4, 1, 8, 8), layout="static")
    assert (victim.coding, victim.time_steps, victim.input_shape) == ("direct", 1, (1, 8, 8))


def test_a_change_moves_the_step_and_not_the_slope():
    u = torch.tensor([-0.4, 0.1, 0.3], requires_grad=True)

    def own(x):
        return (x >= 0).float().detach() + (x - x.detach()) * (1 + x.detach())

    fired = Change(0.2).fire(u, own)
    assert fired.tolist() == [0.0, 0.0, 1.0]
    (slope,) = torch.autograd.grad(fired.sum(), u)
    torch.testing.assert_close(slope, torch.tensor([0.6, 1.1, 1.3]))
    fired = Change(0.2, Rectangular(0.5)).fire(u, own)
    assert fired.tolist() == [0.0, 0.0, 1.0]
    (slope,) = torch.autograd.grad(fired.sum(), u)
    assert slope.tolist() == [0.0, 2.0, 0.0]
    assert Change(torch.tensor([0.0, 0.2, 0.5])).fire(u, own).tolist() == [0.0, 0.0, 0.0]


def test_state_is_what_a_run_changes():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mem", torch.zeros(0))
            self.register_buffer("scale", torch.ones(3))
            self.memories, self.count, self.trace, self.name = {"v": 0.0}, 0, [], "lif"

        def forward(self, x):
            self.mem = x
            self.memories["v"] = x
            self.count += 1
            self.trace.append(x)
            self.late = x
            self.scale.add_(1)  # in place

    model = Model()
    held = {name: getattr(model, name) for name in ("mem", "scale", "memories", "trace")}
    state = learn(model, State.everything(model), [lambda: model(torch.ones(2))])
    assert {str(slot) for slot in state.slots} == {"mem", "memories", "count", "trace", "late", "scale"}
    with state.fresh():
        model(torch.ones(2))
        assert model.scale.tolist() == [2.0] * 3
        assert model.count == 1
    assert all(getattr(model, name) is value for name, value in held.items())
    assert (model.memories, model.count, model.trace, hasattr(model, "late")) == ({"v": 0.0}, 0, [], False)
    assert model.scale.tolist() == [1.0] * 3
    with pytest.raises(TypeError), state.fresh():
        model(torch.ones(2), "one too many")
    assert model.count == 0


def test_what_a_reset_creates_is_state_and_stays_nowhere():
    model = nn.Linear(2, 2)

    def reset():
        model.mem = torch.ones(2)

    start = State.everything(model).after(model, reset)
    assert not hasattr(model, "mem")
    assert "mem" in map(str, start.slots)
    state = learn(model, start, [lambda: model.mem.add_(1)])
    assert [str(slot) for slot in state.slots] == ["mem"]
    with state.fresh():
        assert model.mem.tolist() == [1, 1]
    assert not hasattr(model, "mem")
    with pytest.raises(ZeroDivisionError):
        State.everything(model).after(model, lambda: (reset(), 1 / 0))
    assert not hasattr(model, "mem")


def test_shadowed_attributes_come_first_and_go_away():
    layer = nn.Sequential(nn.ReLU())
    layer.register_buffer("threshold", torch.tensor(1.0))
    relu, threshold = layer._modules["0"], layer.threshold
    with shadowed([(layer, {"0": "other", "threshold": 2.0, "new": 3})]):
        assert (getattr(layer, "0"), layer.threshold, layer.new) == ("other", 2.0, 3)
    assert getattr(layer, "0") is relu
    assert layer.threshold is threshold
    assert not hasattr(layer, "new")


@pytest.mark.parametrize(
    ("shape", "dim", "together"),
    [((3, 5), 0, False), ((4, 3, 5), 1, False), ((12, 5), 0, False), ((12, 5), 0, True), ((2, 12), 1, True)],
)
def test_samples_are_found_where_they_are(shape, dim, together):
    """Three samples of 4 frames, the frames of one together or not, or one frame each."""
    whole = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    frames = shape[dim] // 3
    split = whole.unflatten(dim, (3, frames) if together else (frames, 3))
    where = dim if together else dim + 1
    axis = SampleAxis.of(split.select(where, 0), whole)
    assert axis.dim == dim
    wanted = torch.stack([split.select(where, i).sum() for i in range(3)])
    torch.testing.assert_close(axis.totals(whole, 3), wanted)


def test_samples_are_found_with_other_numbers_of_them_and_of_frames():
    whole = torch.arange(12.0)
    assert SampleAxis(0, together=True).totals(whole, 2).tolist() == [15, 51]
    assert SampleAxis(0, together=False).totals(whole, 2).tolist() == [30, 36]
    assert SampleAxis(0, together=True).totals(whole, 5).tolist() == [0] * 5
    assert SampleAxis(0, together=True).totals(whole[:0], 0).tolist() == []


def test_spikes_are_counted_for_another_number_of_steps_than_the_example_has():
    class Frames(nn.Module):
        """Its neurons see all frames of all samples at once, and forget."""

        def __init__(self):
            super().__init__()
            self.one, self.neuron, self.two = nn.Linear(20, 16), PaperNeuron(0.2, tau=0.0), nn.Linear(16, 5)

        def forward(self, x):
            return self.two(self.neuron(self.one(x).unsqueeze(0)).squeeze(0))

    torch.manual_seed(0)
    model = Frames()
    victim = wrap(model, spikes(4, 6, 20), layout="flat-BT")
    x = spikes(3, 9, 20)
    found = victim.probe(x).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(3)))
    wanted = (model.one(x) >= 0.2).sum((1, 2))
    assert wanted.all()
    assert found.penultimate_spikes.tolist() == wanted.tolist()


def test_no_sample_axis():
    assert SampleAxis.of(torch.ones(4, 5), torch.ones(4, 5)) is None
    assert SampleAxis.of(torch.ones(4), torch.ones(3, 4)) is None
    assert SampleAxis.of(torch.zeros(2, 5), torch.rand(6, 5)) is None


def test_the_penultimate_layer_is_told_by_order_of_execution():
    layers = dict.fromkeys(["out", "hidden", "in"])
    step = ["fc1", "in", "fc2", "hidden", "fc3"]
    assert started([*step, "out"] * 3, layers).penultimate == "hidden"
    assert started(step * 3, layers).penultimate == "hidden"
    assert started(step * 3, layers).last == "hidden"
    assert started([*step, "out"], layers).spiking == ("in", "hidden", "out")
    assert started(["fc", "out"], layers).penultimate is None
    assert started(["fc", "out"] * 3, layers).penultimate is None
    assert started(["fc", "in", "out"] * 3, layers).penultimate is None


def test_a_module_that_is_the_output_too_is_no_penultimate_layer():
    layers = dict.fromkeys(["lif", "in"])
    assert started(["fc1", "lif", "fc2", "lif"], layers).penultimate is None
    assert started(["fc1", "lif", "fc2", "lif"] * 3, layers).penultimate is None
    assert started(["fc1", "lif", "fc2"] * 3, layers).penultimate == "lif"
    assert started(["fc1", "in", "fc2", "lif", "fc3"], layers).penultimate == "lif"


@pytest.mark.parametrize("names", [("threshold", "spike_grad"), ("beta", "surrogate_function")])
def test_settings_of_layers_make_no_layer_of_what_holds_them(names):
    class Net(nn.Sequential):
        def __init__(self, *layers):
            super().__init__(*layers)
            vars(self).update(zip(names, (0.3, Ramp.apply), strict=True))

    torch.manual_seed(0)
    model = Net(nn.Linear(20, 16), PaperNeuron(0.2), nn.Linear(16, 5), PaperNeuron(0.1))
    victim = wrap(model, spikes(4, 6, 20))
    assert (victim.spiking_layers, victim.penultimate_layer) == (("1", "3"), "1")
    assert tuple(find(model, table({Net: names}))) == ("", "1", "3")


def test_the_checks_hold_of_a_network_of_ours():
    network = SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1)
    verdicts = checks.all_of(network, spikes(3, 6, 20))
    assert all(verdicts)
    assert [verdict.check for verdict in verdicts] == [
        "score shape",
        "same call twice",
        "batch independence",
        "batch independence",
        "time matters",
    ]


def test_the_checks_tell_what_is_wrong():
    network = SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1)
    x = spikes(3, 6, 20)

    class Broken:
        device = network.device

        def __init__(self, change):
            self.change = change

        def scores(self, given):
            return self.change(network.scores(given))

        def probe(self, given):
            return network.probe(given)

    def verdict(check, change):
        return check(Broken(change), x)

    calls = iter(range(100))
    assert not verdict(checks.same_call_twice, lambda s: s + next(calls))
    assert "remembers" in str(verdict(checks.same_call_twice, lambda s: s + next(calls)))
    assert "random" in str(verdict(checks.same_call_twice, lambda s: s + torch.rand(())))
    assert not verdict(checks.batch_independence, lambda s: s - s.mean(0))
    assert not verdict(checks.batch_independence, lambda s: s + torch.arange(len(s))[:, None])
    assert verdict(checks.batch_independence, lambda s: s * (1 + 1e-4 * len(s)))
    assert not verdict(checks.score_shape, lambda s: s[:, :1])
    assert "(3, 1), of one class alone" in str(verdict(checks.score_shape, lambda s: s[:, :1]))
    assert "not (N, K): choose another layout=" in str(verdict(checks.score_shape, lambda s: s[:, :0]))
    assert not verdict(checks.score_shape, lambda s: s / 0)


def test_frames_that_are_samples():
    class Frames(nn.Module):
        """Forgets after every frame."""

        def __init__(self):
            super().__init__()
            self.fc, self.head, self.thresh = nn.Linear(20, 16), nn.Linear(16, 5), 0.0

        def forward(self, x):
            return self.head(self.fc(x).sigmoid())

    torch.manual_seed(0)
    victim = wrap(Frames(), spikes(4, 6, 20), neurons={})
    assert not checks.time_matters(victim, spikes(3, 6, 20))
    assert checks.time_matters(wrap(PaperModel(), torch.rand(3, 1, 8, 8), layout="static"), torch.rand(3, 1, 1, 8, 8))


def test_a_wrapped_model_follows_changes_of_its_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), PaperNeuron(0.2), nn.Linear(16, 5), PaperNeuron(0.1))
    x = spikes(4, 6, 20)
    victim: Victim = wrap(model, x)
    before = victim.scores(x)
    model[1].thresh = 5.0
    assert victim.penultimate_threshold == 5.0
    assert not torch.equal(victim.scores(x), before)
    model.double()
    assert victim.scores(x).dtype == torch.float64
    assert victim.probe(x).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(4))).values.dtype == x.dtype


def test_integer_spikes_inference_mode_and_attacks():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), PaperNeuron(0.2), nn.Linear(16, 5), PaperNeuron(0.1))
    x = spikes(6, 6, 20)
    victim = wrap(model, x[:1].bool())
    labels = victim.scores(x).argmax(1)
    result = scg(victim, x.bool(), labels, threshold=None, steps=10)
    assert result.adversarials.dtype == torch.bool
    wanted = victim.probe(x).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(6))).values
    with torch.inference_mode():
        found = victim.probe(x.clone()).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(6))).values
    assert torch.equal(found, wanted)
    with torch.inference_mode():
        for example in (x, x.clone()):
            assert torch.equal(wrap(model, example).scores(example), victim.scores(x))
            assert doctor(model, example).attackable
    static = wrap(PaperModel(), torch.rand(4, 1, 8, 8), layout="static")
    images = torch.rand(4, 1, 8, 8)
    labels = static.scores(images.unsqueeze(1)).argmax(1)
    result = bim(static, images, labels, steps=10)
    assert result.success.any()
    assert result.adversarials.shape == images.shape
    assert torch.equal(static.scores(result.adversarials.unsqueeze(1)).argmax(1), result.prediction)
