"""A victim as a module: its gradient is the victim's own, and libraries can do nothing else to it."""

import pytest
import torch
from asking import ask
from torch import nn

from spikeflip import LIF, ReluNetwork, SpikeflipError, SpikingNetwork, wrap
from spikeflip.interop import as_module
from spikeflip.snn.coding import encode
from spikeflip.snn.surrogate import Rectangular

EIGHT = torch.arange(8)
NEURON = LIF(0.3, 0.3, "hard", Rectangular(1.0))


class Neuron(nn.Module):
    """Hand-written, as published code has it: remembers its potential."""

    def __init__(self):
        super().__init__()
        self.thresh, self.mem = 0.4, 0.0

    def act(self, u):
        return torch.sigmoid(u) + ((u >= 0).float() - torch.sigmoid(u)).detach()

    def forward(self, current):
        self.mem = 0.5 * self.mem + current
        spikes = self.act(self.mem - self.thresh)
        self.mem = self.mem - spikes * self.thresh
        return spikes


def foreign(**options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), Neuron(), nn.Linear(16, 4), Neuron())
    return wrap(model, (torch.rand(4, 6, 12) < 0.5).float(), layout="steps", **options)


def network(**options):
    return SpikingNetwork("16FC-8FC-4FC", (12,), time_steps=6, neuron=NEURON, seed=2, **options)


VICTIMS = {
    "rate": network,
    "latency": lambda: network(coding="latency"),
    "event engine": lambda: network().on("event"),
    "ReLU twin": lambda: ReluNetwork("16FC-8FC-4FC", (12,), seed=2),
    "foreign": foreign,
}


@pytest.fixture(params=list(VICTIMS))
def victim(request):
    return VICTIMS[request.param]()


def images(n=8, seed=0):
    return torch.rand(n, 12, generator=torch.Generator().manual_seed(seed))


def weights(n=8):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(9))


def seen(victim, inputs, seed, samples, step):
    return encode(inputs, (12,), victim.time_steps, coding=victim.coding, seed=seed, samples=samples, step=step)


def own(victim, inputs, **options):
    """Scores and gradient of their weighted sum, straight from the victim; ``inputs`` as it sees them."""
    rows = torch.arange(len(inputs))
    found = (
        victim.probe(inputs).input_gradient(lambda _, which: weights(len(inputs))[which], ask(rows, **options)).values
    )
    return victim.scores(inputs), found.clone()


def through(module, inputs):
    x = inputs.clone().requires_grad_()
    scores = module(x)
    (scores * weights(len(x))).sum().backward()
    return scores.detach(), x.grad


def test_images_get_the_victims_own_gradient(victim):
    module = as_module(victim, seed=7)
    for step in range(2):
        scores, gradient = own(victim, seen(victim, images(), 7, EIGHT, step))
        got = through(module, images())
        assert gradient.any()
        torch.testing.assert_close(got[0], scores, rtol=0, atol=0)
        torch.testing.assert_close(got[1], gradient.sum(1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["rate", "event engine", "foreign"])
def test_spikes_get_the_victims_own_gradient(name, some_spikes):
    victim, spikes = VICTIMS[name](), some_spikes(8, 6, 12)
    scores, gradient = own(victim, spikes)
    got = through(as_module(victim), spikes)
    assert gradient.any()
    assert torch.equal(got[0], scores)
    assert torch.equal(got[1], gradient)


def test_gradient_is_the_slope():
    """Where the victim is smooth, autograd's own check by finite differences holds, scale included."""
    twin = ReluNetwork("16FC-8FC-4FC", (12,), seed=2)
    x = images().double() * 0.8 + 0.1
    assert torch.autograd.gradcheck(as_module(twin), x.requires_grad_(), eps=1e-3, atol=1e-3)


def test_summed_gradient_has_the_size_of_the_slope(digit_victim, digits):
    """Along the gradient the mean score of many encodings moves as it says, to within what a surrogate can say."""
    x, y, ids = digits.images[:30], digits.labels[:30], torch.arange(30)
    leaf = x.clone().requires_grad_()
    as_module(digit_victim, draws=20)(leaf)[ids, y].sum().backward()
    ends = [(x + sign * 0.1 * leaf.grad.sign()).clamp(0, 1) for sign in (1, -1)]
    one, other = (as_module(digit_victim, draws=60, seed=1)(end)[ids, y].sum() for end in ends)
    claimed = ((ends[0] - ends[1]) * leaf.grad).sum()
    assert 0.3 < claimed / (one - other) < 3  # averaged instead of summed it would be a tenth of this


def test_threshold_and_window_are_of_gradients_alone():
    victim = network()
    options = {"penultimate_threshold": 1.0, "output_window": 5.0}
    scores, gradient = own(victim, seen(victim, images(), 0, EIGHT, 0), **options)
    got = through(as_module(victim, threshold=1.0, output_window=5.0), images())
    assert torch.equal(got[0], scores)
    torch.testing.assert_close(got[1], gradient.sum(1), rtol=1e-6, atol=1e-7)
    assert not torch.equal(got[1], through(as_module(victim), images())[1])


def test_draws_are_averaged(victim):
    one, three = as_module(victim, seed=4), as_module(victim, seed=4, draws=3)
    single = [through(one, images()) for _ in range(3)]
    scores, gradient = through(three, images())
    torch.testing.assert_close(scores, torch.stack([s for s, _ in single]).mean(0))
    torch.testing.assert_close(gradient, torch.stack([g for _, g in single]).mean(0))


def test_every_call_is_a_fresh_encoding_and_can_be_repeated():
    module = as_module(network())
    first, second = module(images()), module(images())
    assert not torch.equal(first, second)
    module.restart()
    assert torch.equal(module(images()), first)
    assert not torch.equal(as_module(network(), seed=1)(images()), first)


def test_without_fresh_encodings_scores_are_a_function_of_the_image():
    module = as_module(network(), fresh=False, draws=2)
    scores, gradient = through(module, images())
    again = through(module, images())
    assert torch.equal(again[0], scores)
    assert torch.equal(again[1], gradient)
    order = torch.tensor([5, 0, 3])
    assert torch.equal(module(images()[order]), scores[order])


def test_gradient_is_of_its_own_call_whatever_runs_in_between(victim):
    wanted = through(as_module(victim), images())[1]
    module, x = as_module(victim), images().requires_grad_()
    scores = module(x)
    other = images(8, seed=5).requires_grad_()
    through(module, other.detach())
    victim.scores(seen(victim, images(3, seed=6), 0, torch.arange(3), 0))
    (scores * weights()).sum().backward()
    assert torch.equal(x.grad, wanted)


def test_parts_do_not_matter(victim):
    whole, parts = (through(as_module(victim, micro_batch=size), images()) for size in (64, 3))
    torch.testing.assert_close(parts[0], whole[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-6, atol=1e-7)
    assert as_module(victim)(images(0)).shape == (0, 4)


def test_the_victim_is_no_part_of_the_module():
    victim = foreign()
    victim.model.train()
    module = as_module(victim)
    assert [tuple(p.shape) for p in module.parameters()] == [(0,)]
    assert not module.training
    module.train().double().requires_grad_(True)
    through(module, images())
    assert victim.model.training
    assert all(p.grad is None and p.requires_grad and p.dtype == torch.float32 for p in victim.model.parameters())
    own_network = network()
    before = {name: value.clone() for name, value in own_network.state_dict().items()}
    through(as_module(own_network), images())
    assert all(p.grad is None for p in own_network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in own_network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_types_are_those_of_the_inputs(victim, dtype):
    scores, gradient = through(as_module(victim), images().to(dtype))
    assert scores.dtype == gradient.dtype == dtype
    wanted = as_module(victim)(images().to(dtype).float())
    torch.testing.assert_close(scores.float(), wanted, rtol=1e-3, atol=1e-3)


def test_no_graph_where_none_is_asked_for():
    assert not as_module(network())(images()).requires_grad
    with torch.no_grad():
        assert not as_module(network())(images().requires_grad_()).requires_grad
    module = as_module(network())
    with torch.inference_mode():
        assert module(images()).shape == (8, 4)


def test_binarised_spikes(some_spikes):
    spikes = some_spikes(8, 6, 12)
    soft = spikes * 0.4 + 0.3
    wanted, got = through(as_module(network()), spikes), through(as_module(network(), binarise=True), soft)
    assert torch.equal(got[0], wanted[0])
    assert torch.equal(got[1], wanted[1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_binarised(value, some_spikes):
    spikes = some_spikes(8, 6, 12)
    spikes[3, 2, 1] = value
    with pytest.raises(SpikeflipError, match=f"inputs hold the value {value}: replace it"):
        as_module(network(), binarise=True)(spikes)


def test_rounding_past_the_bounds_is_forgiven():
    x = images()
    x[0, 0], x[1, 1] = -1e-7, 1 + 1e-7
    assert torch.equal(as_module(network())(x), as_module(network())(x.clamp(0, 1)))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (images() * 1.5 - 0.2, r"images hold the value .* at .*: scale them to \[0, 1\]"),
        (images().where(images() < 0.9, torch.nan), r"inputs hold the value nan: replace it by numbers in \[0, 1\]"),
        (torch.full((2, 6, 12), 0.5), r"spikes hold the value 0.5 at \(0, 0, 0\): binarise them to exactly 0 or 1"),
        (images()[:, :5], r"inputs have shape \(8, 5\), but the network takes images \(N, 12\) or spikes \(N, T, 12\)"),
    ],
)
def test_wrong_inputs(inputs, message):
    with pytest.raises(SpikeflipError, match=message):
        as_module(network())(inputs)


def test_wrong_arguments(some_spikes):
    with pytest.raises(SpikeflipError, match=r"as_module takes a victim, but this is a Linear: .* spikeflip\.wrap"):
        as_module(nn.Linear(3, 3))
    for name in ("draws", "micro_batch"):
        with pytest.raises(SpikeflipError, match=f"{name} is 0: give at least 1"):
            as_module(network(), **{name: 0})
    for name in ("threshold", "output_window"):
        with pytest.raises(SpikeflipError, match=f"{name} is -1.0: give a positive number"):
            as_module(network(), **{name: -1.0})
    with pytest.raises(SpikeflipError, match="but the network takes images"):
        as_module(VICTIMS["ReLU twin"]())(some_spikes(8, 6, 12))


def test_gradient_that_is_not_finite():
    victim = VICTIMS["ReLU twin"]()
    scores = as_module(victim)(images().requires_grad_())
    with pytest.raises(SpikeflipError, match="the victim's input gradient is not finite: check its weights"):
        (scores * torch.inf).sum().backward()


def test_no_second_derivative():
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(as_module(network())(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
