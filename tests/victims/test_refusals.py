"""Models that cannot be attacked: one sentence each that says what to pass instead."""

from importlib import metadata

import pytest
import torch
from asking import ask
from equations import spikes
from faulty_models import X, model, refusal, surrogate
from plain_styles import PaperNeuron, Ramp, StatefulNeuron
from torch import nn

from spikeflip import Rectangular, SpikeflipError
from spikeflip.victims import NeuronType, doctor, wrap
from spikeflip.victims.wrap import three_samples


def test_a_function_is_no_model():
    assert "a function, whose layers and state cannot be seen" in refusal(lambda x: x)
    assert "type str" in refusal("model.pt")


def test_compiled_models():
    message = refusal(torch.compile(model()))
    assert message == "the model is compiled by torch.compile: pass the model before that, model._orig_mod"
    inside = model()
    inside[0] = torch.compile(inside[0])
    assert refusal(inside) == "layer '0' is compiled by torch.compile: put its _orig_mod in its place"
    inside = model()
    inside[0].compile()
    assert refusal(inside) == "layer '0' is compiled by torch.compile: build it without calling its method compile()"
    scripted = nn.Sequential(torch.jit.script(nn.Linear(20, 16)), PaperNeuron(), nn.Linear(16, 5))
    assert "torch.jit" in refusal(scripted)
    assert "model.module" in refusal(nn.DataParallel(model()))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = model()

    def forward(self, x, scale):
        return self.body(x * scale)


def test_a_model_of_two_inputs_and_how_it_is_wrapped_all_the_same():
    assert "needs 2 inputs, x, scale: pass as layout= a function" in refusal(TwoInputs())

    def call(net, given):
        return net(given.transpose(0, 1), torch.tensor(1.0))

    two, one = TwoInputs(), None
    victim = wrap(two, X, layout=call)
    one = wrap(two.body, X)
    assert torch.equal(victim.scores(X), one.scores(X))
    assert victim.penultimate_layer == "body.1"


class Encoder(nn.Module):
    def forward(self, x):
        return (torch.rand_like(x) < x).to(x)


def test_an_encoder_inside_is_named():
    example = torch.rand(4, 20, generator=torch.Generator().manual_seed(0))

    class Static(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.body = Encoder(), model()

        def forward(self, images):
            return self.body(torch.stack([self.encoder(images) for _ in range(6)]))

    state = torch.random.get_rng_state()
    message = refusal(Static(), example, layout="static")
    assert "draws random numbers in layer 'encoder' (Encoder): take the encoder or dropout out" in message
    assert torch.equal(torch.random.get_rng_state(), state)


def test_dropout_that_evaluation_mode_does_not_stop():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = model()

        def forward(self, x):
            return self.body(nn.functional.dropout(x, 0.5, training=True))

    assert "draws random numbers in the code before layer 'body" in refusal(Noisy())


@pytest.mark.parametrize(
    ("built", "wrong", "right"),
    [("sequence", "BT", "TB"), ("steps", "TB", "steps"), ("steps", "flat-BT", "steps"), ("sequence", "steps", "TB")],
)
def test_a_wrong_layout_is_caught_and_the_right_one_named(built, wrong, right):
    thing = model() if built == "sequence" else model(neuron=StatefulNeuron(0.2))
    if built == "steps":
        thing[3] = StatefulNeuron(0.1)
    message = refusal(thing, layout=wrong)
    assert f"with layout '{wrong}'" in message
    assert f"'{right}'" in message.partition("pass with layout")[2]


def test_a_layout_that_fails_names_the_right_one():
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.neuron, self.head = nn.Conv2d(2, 4, 3), PaperNeuron(0.2), nn.Linear(144, 5)

        def forward(self, x):
            t, n = x.shape[:2]
            x = self.neuron(self.conv(x.flatten(0, 1)).unflatten(0, (t, n)))
            return self.head(x.flatten(2))

    message = refusal(Frames(), spikes(4, 6, 2, 8, 8), layout="flat-BT")
    assert "the model fails on the example with layout 'flat-BT'" in message
    assert "the checks pass with layout 'TB'" in message


def test_a_layout_that_needs_no_output_says_so():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.thresh, self.act = 0.2, lambda u: Ramp.apply(u, 1.0)

        def forward(self, x, mem):
            mem = x if mem is None else 0.5 * mem + x
            fired = self.act(mem - self.thresh)
            return fired, mem * (1 - fired)

    class Cells(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.one, self.fc2, self.two = nn.Linear(20, 16), Cell(), nn.Linear(16, 5), Cell()

        def forward(self, x, state=None):
            first, second = (None, None) if state is None else state
            x, first = self.one(self.fc1(x), first)
            x, second = self.two(self.fc2(x), second)
            return x, (first, second)

    torch.manual_seed(0)
    cells = Cells()
    message = refusal(cells, layout="steps", output=0)
    assert message.endswith("the checks pass with layout 'steps+state' without output=")
    assert wrap(cells, X, layout="steps+state").penultimate_layer == "one"


def test_unknown_choices():
    assert "layout is 'NT': choose one of 'TB'" in refusal(model(), layout="NT")
    assert "layout is ['TB']: choose one of 'TB'" in refusal(model(), layout=["TB"])
    assert "readout is ['mean']: choose from 'mean'" in refusal(model(), readout=["mean"])
    for wrong in ("rectangular", Rectangular):
        fix = "give a derivative, such as spikeflip.Rectangular()"
        assert refusal(model(), surrogate=wrong) == f"surrogate is {wrong!r}: {fix}"
    assert "readout is 'vote'" in refusal(model(), readout="vote")
    assert "penultimate is '7': choose a spiking layer that runs, of '1', '3'" in refusal(model(), penultimate="7")


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (torch.zeros(4, 20), "the batch axis first"),
        (spikes(4, 6, 20) * 0.5, "binarise them"),
        ([1, 2], "the example is list"),
        (torch.zeros(0, 6, 20), "the batch axis first"),
    ],
)
def test_examples_that_are_none(example, words):
    assert words in refusal(model(), example)


def test_of_a_large_example_three_samples_are_copied():
    """One sample many times over, in no memory."""
    assert three_samples(X[:1].expand(10**12, 6, 20)).shape == (3, 6, 20)


def test_no_spiking_layer():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.limit, self.inner = 0.2, PaperNeuron(0.2)
            self.inner.thresh = 0.0
            self.inner.__dict__["spike"] = self.inner.__dict__.pop("act")
            self.inner.act = None

        def spike(self, u):
            return Ramp.apply(u, 1.0)

        def forward(self, x):
            mem, out = 0, []
            for current in x.unbind(0):
                mem = 0.5 * mem + current
                out.append(self.spike(mem - self.limit))
                mem = mem * (1 - out[-1])
            return torch.stack(out)

    thing = nn.Sequential(nn.Linear(20, 16), Own(), nn.Linear(16, 5), Own())
    assert "no spiking layer was found" in refusal(thing)
    bare = wrap(thing, X, neurons={})
    assert bare.penultimate_threshold is None
    with pytest.raises(SpikeflipError, match=r"penultimate threshold is 1.0, but no spiking layer .* is known"):
        bare.probe(X).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(4), penultimate_threshold=1.0))
    with pytest.raises(SpikeflipError, match=r"output window is 2.0, but no spiking layer"):
        bare.probe(X).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(4), output_window=2.0))
    with pytest.raises(SpikeflipError, match=r"a surrogate .* is asked for, but no spiking layer"):
        bare.with_surrogate(Rectangular())
    found = bare.probe(X).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(4)))
    assert found.penultimate_spikes.tolist() == [-1.0] * 4
    for rows in ({Own: ("limit", "spike")}, [NeuronType("own", "limit", "spike", Own)]):
        known = wrap(thing, X, neurons=rows)
        assert (known.penultimate_layer, known.penultimate_threshold) == ("1", 0.2)
        assert torch.equal(known.scores(X), bare.scores(X))


@pytest.mark.parametrize(
    ("neurons", "words"),
    [
        ({PaperNeuron: ("tresh", "act")}, "layer '1' (PaperNeuron) has no threshold 'tresh': name in neurons= the"),
        ({PaperNeuron: ("forward", "act")}, "layer '1' (PaperNeuron) has no threshold 'forward'"),
        ({PaperNeuron: ("thresh", "fire")}, "layer '1' (PaperNeuron) has no spike function 'fire': name in neurons="),
        ({PaperNeuron: ("act", "thresh")}, "layer '1' (PaperNeuron) has no threshold 'act'"),
        ({PaperNeuron: (None, "thresh")}, "layer '1' (PaperNeuron) has no spike function 'thresh'"),
        ({PaperNeuron: "thresh"}, "to 'thresh', which is no row: give {YourNeuron: ('threshold', 'spike_function')}"),
        ({PaperNeuron: ("thresh",)}, "to ('thresh',), which is no row"),
        ({"PaperNeuron": ("thresh", "act")}, "maps 'PaperNeuron' to ('thresh', 'act'), which is no row"),
        ([PaperNeuron], "neurons= holds a value of type type, which is no row"),
        (PaperNeuron, "neurons= holds a value of type type, which is no row"),
    ],
)
def test_rows_of_neurons_that_are_none(neurons, words):
    assert words in refusal(model(), neurons=neurons)
    with pytest.raises(SpikeflipError, match="neurons="):
        doctor(model(), X, neurons=neurons)


def test_no_layer_before_the_last_weights():
    one = nn.Sequential(nn.Linear(20, 5), PaperNeuron(0.1))
    victim = wrap(one, X)
    assert victim.penultimate_threshold is None
    with pytest.raises(SpikeflipError, match="name one of '1' as penultimate="):
        victim.probe(X).input_gradient(lambda s, _: torch.ones_like(s), ask(torch.arange(4), penultimate_threshold=1.0))
    assert wrap(one, X, penultimate="1").penultimate_threshold == 0.1
    steps = nn.Sequential(nn.Linear(20, 5), StatefulNeuron(0.1))
    assert wrap(steps, X, layout="steps").penultimate_layer is None  # though the output starts before the weights do


class Outputs(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.body, self.answer = model(), answer

    def forward(self, x):
        return self.answer(self.body(x))


@pytest.mark.parametrize(
    ("answer", "options", "words"),
    [
        (lambda s: (s, s), {}, "returns 2 parts: choose one with output=, of 0 (a tensor (6, 3, 5)), 1"),
        (lambda s: {"out": s}, {}, "choose one with output=, of 'out'"),
        (lambda s: (s, s), {"output": 5}, "output is 5, but the model returns a tuple of 2"),
        (lambda s: "spikes", {}, "returns a value of type str"),
        (lambda s: s.unsqueeze(-1), {}, "has shape (6, 3, 5, 1)"),
        (lambda s: s.mean((0, 2)), {}, "has shape (3,)"),
        (lambda s: s[..., :1], {}, "shape (3, 1), of one class alone"),
        (lambda s: s.mean(0).mT, {}, "shape (5, 3), not (N, K)"),
        (lambda s: s, {"readout": "none"}, "with an axis of time: choose readout 'mean'"),
        (lambda s: s.mean(0), {"readout": "last"}, "from which readout 'last' makes no scores"),
        (lambda s: s.mean(0) / 0, {}, "not finite"),
    ],
)
def test_outputs_that_are_no_scores(answer, options, words):
    assert words in refusal(Outputs(answer), **options)


def test_a_forward_without_gradients():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = model()

        @torch.no_grad()
        def forward(self, x):
            return self.body(x)

    assert "no gradients with respect to its input, as its forward runs without them at layer 'body'" in refusal(
        Frozen()
    )
    assert "the graph is cut in layer '0' (Detached)" in refusal(model(Detached()))
    frozen = model().requires_grad_(False)
    assert wrap(frozen, X).scores(X).any()


class Detached(nn.Module):
    def forward(self, x):
        return x.detach()


def test_a_step_without_surrogate():
    hard = PaperNeuron(0.2)
    hard.act = lambda u, _: (u >= 0).float()
    assert "layer '1' fires by a step without a surrogate derivative: pass surrogate=" in refusal(model(neuron=hard))
    soft = wrap(model(), X, surrogate=Rectangular(1.0))
    cured = wrap(model(neuron=hard), X, surrogate=Rectangular(1.0))
    ones = torch.ones(4, 5)
    wanted = soft.probe(X).input_gradient(lambda s, _: ones, ask(torch.arange(4))).values
    assert torch.equal(cured.probe(X).input_gradient(lambda s, _: ones, ask(torch.arange(4))).values, wanted)
    assert wanted.any()


def test_surrogates_that_are_none():
    nan = StatefulNeuron(0.2)
    nan.act = surrogate(lambda u: (-u / u.abs()).exp() / (u - u))
    assert "the surrogate of layer '1' is not finite near its threshold" in refusal(
        nn.Sequential(nn.Linear(20, 16), nan, nn.Linear(16, 5), StatefulNeuron(0.1)), layout="steps"
    )
    nan.act = surrogate(torch.zeros_like)
    assert "layer '1' fires by a step without a surrogate" in refusal(
        nn.Sequential(nn.Linear(20, 16), nan, nn.Linear(16, 5), StatefulNeuron(0.1)), layout="steps"
    )
    nan.act = surrogate(lambda u: torch.where(u.abs() > 2, torch.nan, torch.ones_like(u)))
    assert "the input gradient is not finite on the example" in refusal(
        nn.Sequential(nn.Linear(20, 16), nan, nn.Linear(16, 5), StatefulNeuron(5.0)),
        spikes(4, 6, 20) * 0,
        layout=lambda net, x: torch.stack([net(v + 9) for v in x.unbind(1)]),
    )


def test_an_unsupported_version(monkeypatch):
    class Old(PaperNeuron):
        pass

    Old.__module__ = "norse.torch.module"
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.7")
    assert "norse 0.0.7, which is not supported: install norse 1.1 or newer" in refusal(model(neuron=Old(0.2)))
    monkeypatch.setattr(metadata, "version", lambda name: "1.1.0")
    wrap(model(neuron=Old(0.2)), X)


def test_spikes_of_another_shape_than_the_example():
    with pytest.raises(SpikeflipError, match=r"spikes have shape \(2, 6, 19\), but the victim takes \(N, T, 20\)"):
        wrap(model(), X).scores(torch.zeros(2, 6, 19))
