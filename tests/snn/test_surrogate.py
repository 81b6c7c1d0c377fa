import math
from dataclasses import replace

import pytest
import torch
from asking import ask

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.snn.neuron import fire
from spikeflip.snn.surrogate import SURROGATES, surrogate_name

KINDS = pytest.mark.parametrize("name", list(SURROGATES))
SMOOTH = [name for name in SURROGATES if name != "rectangular"]

# The function whose slope each is, from 0 to 1, of x and the width.
CURVES = {
    "triangular": lambda x, w: (1 + x.sign() * (1 - (1 - x.abs() / w).clamp(min=0) ** 2)) / 2,
    "sigmoid": lambda x, w: torch.sigmoid(4 * math.asinh(1) * x / w),  # asinh(1) = ln(1 + sqrt 2)
    "atan": lambda x, w: torch.atan(2 * x / w) / math.pi + 0.5,
    "gaussian": lambda x, w: torch.special.ndtr(x * math.sqrt(8 * math.log(2)) / w),
}


@KINDS
@pytest.mark.parametrize("width", [0.3, 1.0, 2.5])
def test_area_is_one_and_the_width_is_at_half_the_height(name, width):
    surrogate = SURROGATES[name](width)
    x = width * torch.linspace(-9, 9, 200_001, dtype=torch.float64).sinh()  # far out, for the arctangent's tails
    values = surrogate.derivative(x)
    assert torch.trapezoid(values, x) == pytest.approx(1, abs=1e-3)
    inside = torch.tensor([0.0, width * 0.4999, -width * 0.4999], dtype=torch.float64)
    top, *half = surrogate.derivative(inside).tolist()
    if name == "rectangular":
        assert half == [top, top]
        assert surrogate.derivative(inside * 1.001).tolist()[1:] == [0, 0]
    else:
        assert half == pytest.approx([top / 2] * 2, rel=1e-3)


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_those_of_their_curves(name):
    x = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(CURVES[name](x, 1.7).sum(), x)
    torch.testing.assert_close(SURROGATES[name](1.7).derivative(x.detach()), expected)


@KINDS
def test_memory_is_reused_and_the_distance_left_alone(name):
    distance, out = torch.linspace(-1, 1, 9), torch.empty(9)
    kept = distance.clone()
    found = SURROGATES[name](0.5).derivative(distance, out=out)
    assert found is out
    assert torch.equal(distance, kept)
    assert torch.equal(found, SURROGATES[name](0.5).derivative(distance))


@KINDS
def test_kinds_of_one_width_are_not_equal(name):
    others = [kind(0.5) for other, kind in SURROGATES.items() if other != name]
    surrogate = SURROGATES[name](0.5)
    assert surrogate not in others
    assert surrogate == SURROGATES[name]().with_width(0.5)
    assert surrogate_name(surrogate) == name
    with pytest.raises(SpikeflipError, match="surrogate width is 0"):
        SURROGATES[name](0)


class PlainFire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, threshold, surrogate):
        ctx.save_for_backward(u)
        ctx.threshold, ctx.surrogate = threshold, surrogate
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (u,) = ctx.saved_tensors
        return gradient * ctx.surrogate.derivative(u - ctx.threshold), None, None


def plain(current, neuron):
    """The loop of Eq. 6 with autograd through every operation but the firing."""
    u, spikes = None, []
    for t in range(current.shape[1]):
        if u is None:
            u = current[:, t]
        elif neuron.reset == "hard":
            u = neuron.decay * u * (1 - o) + current[:, t]  # noqa: F821
        else:
            u = neuron.decay * (u - neuron.threshold * o * (neuron.reset == "soft")) + current[:, t]  # noqa: F821
        o = PlainFire.apply(u, neuron.threshold, neuron.surrogate)
        spikes.append(o)
    return torch.stack(spikes, 1)


@KINDS
@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
def test_gradients_equal_a_plain_loop(name, reset):
    generator = torch.Generator().manual_seed(1)
    current = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(3, 7, 5, generator=generator, dtype=torch.float64)
    neuron = LIF(0.3, 0.4, reset, SURROGATES[name](0.8))
    (found,) = torch.autograd.grad((fire(current, neuron) * towards).sum(), current)
    (expected,) = torch.autograd.grad((plain(current, neuron) * towards).sum(), current)
    torch.testing.assert_close(found, expected)


@pytest.fixture
def network():
    return SpikingNetwork("4C3-AP2-8FC-3FC", (1, 6, 6), time_steps=5, seed=2)


def gradient(network, spikes, **options):
    probe = network.probe(spikes)
    towards = torch.tensor([[1.0, -1.0, 0.5]]).expand(len(spikes), 3)
    return probe.scores, probe.input_gradient(
        lambda s, rows: towards[rows], ask(torch.arange(len(spikes)), **options)
    ).values


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("engine", ["torch", "event"])
def test_a_network_with_another_surrogate(network, some_spikes, name, engine):
    spikes = some_spikes(4, 5, 1, 6, 6)
    surrogate = SURROGATES[name](0.7)
    other = network.on(engine, surrogate=surrogate)
    assert other.best_engine() == "torch"
    scores, found = gradient(other, spikes)
    own_scores, own = gradient(network, spikes)
    assert torch.equal(scores, own_scores)
    assert not torch.equal(found, own)
    assert network.neuron == LIF()
    leaf = spikes.clone().requires_grad_()
    fresh = SpikingNetwork("4C3-AP2-8FC-3FC", (1, 6, 6), neuron=LIF(surrogate=surrogate), seed=2)
    (expected,) = torch.autograd.grad((fresh(leaf) * torch.tensor([1.0, -1.0, 0.5])).sum(), leaf)
    torch.testing.assert_close(found, expected)
    assert all(weight.grad is None for weight in (*other.weights, *fresh.weights))


@KINDS
def test_an_output_window_keeps_the_kind(network, some_spikes, name):
    """With one layer the output's surrogate is the only one: a window is the same as a network of that width."""
    spikes = some_spikes(4, 5, 9)
    one = SpikingNetwork("3FC", (9,), neuron=LIF(surrogate=SURROGATES[name](0.5)), seed=2)
    _, found = gradient(one, spikes, output_window=1.3)
    one.neuron = replace(one.neuron, surrogate=SURROGATES[name](1.3))
    assert torch.equal(found, gradient(one, spikes)[1])


def test_the_event_engine_says_why_not(network, some_spikes, caplog):
    pytest.importorskip("spikeflip.snn.engines._native")
    assert network.best_engine() == "event"
    assert network.best_engine(surrogate=SURROGATES["rectangular"](3.0)) == "event"
    assert network.best_engine(surrogate=SURROGATES["atan"](1.0)) == "torch"
    network.on("event", surrogate=SURROGATES["atan"](1.0)).scores(some_spikes(1, 5, 1, 6, 6))
    assert "the rectangular surrogate alone, not ATan(width=1.0)" in caplog.text


def test_a_surrogate_of_ones_own(network, some_spikes):
    class Constant:
        width = 1.0

        def with_width(self, width):
            return self

        def derivative(self, distance, out=None):
            return (torch.empty_like(distance) if out is None else out).fill_(1)

    _, found = gradient(network.on("event", surrogate=Constant()), some_spikes(1, 5, 1, 6, 6))
    assert found.any()
    with pytest.raises(SpikeflipError, match="Constant has no name to be saved by"):
        surrogate_name(Constant())
