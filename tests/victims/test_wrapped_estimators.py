"""Estimators of gradients on wrapped models: those of our own networks with the same weights and neurons."""

from dataclasses import dataclass

import pytest
import torch
from asking import away, gradient, same
from equations import spikes
from own_neurons import (
    DECAY,
    SURROGATE,
    THRESHOLD,
    Frames,
    Neuron,
    Sequence,
    T,
    Whole,
    layers_of,
    linear,
    network,
    plain,
)
from torch import nn
from torch.utils.checkpoint import checkpoint

from spikeflip import LIF, SpikeflipError, SpikingNetwork, wrap
from spikeflip.attacks import pgd, scg
from spikeflip.snn.estimators import estimator
from spikeflip.snn.gradients import Estimator
from spikeflip.snn.memory import Memory

SLOPES = ["straight-through", "pdsg", "assg"]


@pytest.fixture(scope="module")
def own():
    return network()


@pytest.mark.parametrize("layout", ["steps", "steps+state", "TB"])
@pytest.mark.parametrize("how", SLOPES)
def test_slopes_are_those_of_an_own_network(own, layout, how):
    victim, inputs = plain(own, layout), spikes(9, T, 20, seed=3).double()
    scores = victim.scores(inputs)
    assert torch.equal(scores, own.scores(inputs))
    same(victim, own, inputs, how)
    same(victim, own, inputs, how, threshold=0.55)
    same(victim, own, inputs, how, rows=torch.tensor([4, 1, 1, 7]))
    same(victim, own, inputs, estimator(how, output_window=0.4))
    assert torch.equal(victim.scores(inputs), scores)


def test_places_are_pooled_and_channels_are_not():
    own = network("4C3-5FC", (2, 6, 6))
    conv = nn.Conv2d(2, 4, 3, bias=False, padding=1, dtype=torch.float64)
    conv.weight.data.copy_(own.weights[0].detach())
    layers = [Frames(conv), Sequence(), nn.Flatten(2), linear(own.weights[1].flatten(1)), Sequence()]
    inputs = spikes(5, T, 2, 6, 6, seed=3).double()
    victim = wrap(nn.Sequential(*layers), inputs, surrogate=SURROGATE)
    assert torch.equal(victim.scores(inputs), own.scores(inputs))
    for how in SLOPES:
        same(victim, own, inputs, how)


@pytest.mark.parametrize("layout", ["steps", "steps+state"])
@pytest.mark.parametrize("how", ["windowed:1", "windowed:2", "windowed:4"])
def test_windows_are_those_of_an_own_network(own, layout, how):
    victim, inputs = plain(own, layout), spikes(9, T, 20, seed=3).double()
    found = same(victim, own, inputs, how)
    same(victim, own, inputs, how, threshold=0.55)
    same(victim, own, inputs, estimator(how, output_window=0.4))
    assert not torch.allclose(found, gradient(victim, inputs, "bptt").values)


def test_windows_of_a_repeated_image(own):
    image = spikes(9, 20, seed=3).double()
    layers = nn.Sequential(*layers_of(own, Neuron))
    victim = wrap(layers, image[:4], layout="static", time_steps=T, surrogate=SURROGATE)
    for how in ("windowed", "pdsg"):
        same(victim, own, image.unsqueeze(1).repeat_interleave(T, 1), how)


def test_a_slope_of_its_own_in_windows(own):
    @dataclass(frozen=True)
    class Near(Estimator):
        reach = 2

        def slope(self, layer):
            return (1 - layer.distance.abs()).clamp(min=0)

    inputs = spikes(9, T, 20, seed=3).double()
    same(plain(own, "steps"), own, inputs, Near())


def test_memory_is_that_of_an_own_network(own):
    """Over several steps; of some samples at a time; frozen; and of samples whose gradient is gone."""
    victim = plain(own, "steps")
    memories = Memory(9), Memory(9)

    def ask(seed, rows=None, *, freeze=False, how="assg", direction=away):
        inputs = spikes(9, T, 20, seed=seed).double()
        found = []
        for v, memory in zip((victim, own), memories, strict=True):
            part = memory if rows is None else memory.of(rows)
            part = part.frozen() if freeze else part
            found.append(gradient(v, inputs, how, rows=rows, memory=part, direction=direction).values)
        assert found[1].any()
        torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=1e-9)
        return found[0]

    first = ask(3)
    assert torch.equal(first, ask(3, freeze=True))
    assert torch.equal(first, ask(3, freeze=True))
    assert not torch.allclose(first, ask(3))
    ask(4, torch.tensor([5, 0, 2]))
    ask(5, direction=lambda s, r: away(s, r) * (r % 2 == 0)[:, None])
    ask(6, how=estimator("assg", output_window=0.05), direction=lambda s, r: away(s, r) * (r != 1)[:, None])
    ask(7)


@pytest.mark.parametrize("how", SLOPES)
def test_batch_mates_do_not_matter(own, how):
    victim, inputs = plain(own, "steps"), spikes(9, T, 20, seed=3).double()
    whole = gradient(victim, inputs, how).values
    for i in (0, 4, 8):
        alone = gradient(victim, inputs[i : i + 1], how, direction=lambda s, r, i=i: away(s, r + i)).values
        torch.testing.assert_close(alone, whole[i : i + 1], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("how", ["assg", "pdsg", "straight-through", "windowed"])
def test_attacks_are_those_of_an_own_network(own, how):
    inputs = spikes(9, T, 20, seed=3).double()
    labels = own.scores(inputs).argmax(1)
    victim = plain(own, "steps")
    found = []
    for v in (victim, own):
        flipped = scg(v, inputs, labels, steps=6, gradient=how, seed=1, micro_batch=4)
        images = pgd(
            v, torch.rand(6, 20, generator=torch.Generator().manual_seed(0)), labels[:6], gradient=how, steps=4
        )
        found.append((flipped.adversarials, flipped.success, flipped.vanished, images.adversarials, images.success))
    assert all(map(torch.equal, *found))
    assert found[0][1].any()


def test_the_model_is_given_back_as_it_was(own):
    victim, inputs = plain(own, "steps"), spikes(9, T, 20, seed=3).double()
    before = [dict(vars(module)) for module in victim.model.modules()]
    for how in (*SLOPES, "windowed"):
        gradient(victim, inputs, how)
    for module, was in zip(victim.model.modules(), before, strict=True):
        assert vars(module).keys() == was.keys()
        assert all(vars(module)[name] is value for name, value in was.items())


class Asking(Neuron):
    """Asks its spike function for the reset too, of the step before, and cuts the graph there, as snnTorch does."""

    def forward(self, current):
        mem = torch.zeros_like(current) if self.mem is None else self.mem
        reset = self.act(mem - self.thresh).detach()
        self.mem = DECAY * mem + current - reset * self.thresh
        return self.act(self.mem - self.thresh)


def test_a_spike_function_that_is_asked_for_the_reset_too(own):
    """Only what the scores depend on is a time step: statistics are those of a loop."""
    inputs = spikes(9, T, 20, seed=3).double()
    model = nn.Sequential(*layers_of(own, Asking))
    found = gradient(wrap(model, inputs, layout="steps"), inputs, "pdsg").values
    x = inputs.clone().requires_grad_()
    below = x
    for weight in own.weights:
        current = below @ weight.detach().T
        mem, reset, distances = 0, 0, []
        for t in range(T):
            mem = DECAY * mem + current[:, t] - reset * THRESHOLD
            distances.append(mem - THRESHOLD)
            reset = (distances[-1] >= 0).double().detach()
        u = torch.stack(distances, 1)
        h = u.detach() / THRESHOLD
        spread = torch.stack([h[:, : t + 1].std(1) if t else torch.ones_like(h[:, 0]) for t in range(T)], 1)
        spread = torch.where(spread > 0, spread, 1)
        slope = torch.distributions.Normal(spread / 2, spread).log_prob(h).exp() / THRESHOLD
        below = (u.detach() >= 0).double() + (u - u.detach()) * slope
    below.mean(1).backward(away(below.mean(1), torch.arange(9)))
    torch.testing.assert_close(found, x.grad, atol=1e-12, rtol=1e-9)


def test_neurons_with_thresholds_of_their_own(own):
    """The same network with currents, and not thresholds, scaled: a slope is in units of the threshold."""
    scales = torch.linspace(0.5, 2, 16, dtype=torch.float64)
    inputs = spikes(9, T, 20, seed=3).double()
    layers = layers_of(own, Neuron)
    wanted = plain(own, "steps")
    layers[0].weight.data *= scales[:, None]
    layers[1] = Neuron(THRESHOLD * scales)
    victim = wrap(nn.Sequential(*layers), inputs, layout="steps")
    for how in SLOPES:
        same(victim, wanted, inputs, how)
    layers[1].thresh = (THRESHOLD * scales).expand(1, 16)
    same(victim, wanted, inputs, "pdsg")
    layers[1].thresh = (THRESHOLD * scales).expand(9, 16)
    with pytest.raises(SpikeflipError, match=r"the threshold of layer '1' has shape \(9, 16\), which is not one of"):
        gradient(victim, inputs, "pdsg")


def test_a_layer_that_is_given_all_steps_at_once(own):
    inputs = spikes(9, T, 20, seed=3).double()
    memoryless = SpikingNetwork(
        "16FC-5FC", (20,), time_steps=T, neuron=LIF(THRESHOLD, 0.0, "none", SURROGATE), seed=2
    ).double()
    layers = layers_of(memoryless, Whole)
    victim = wrap(nn.Sequential(*layers), inputs, surrogate=SURROGATE)
    for how in SLOPES:
        same(victim, memoryless, inputs, how)
        same(victim, memoryless, inputs[:T], how)  # as many samples as steps
    framed = wrap(nn.Sequential(nn.Flatten(0, 1), *layers, nn.Unflatten(0, (T, -1))), inputs, surrogate=SURROGATE)
    same(framed, memoryless, inputs, "straight-through")
    with pytest.raises(
        SpikeflipError, match=r"^layer '2' fires in 1 calls of \(54, 16\) for 9 samples and 6 time steps"
    ):
        gradient(framed, inputs, "pdsg")


class Inside(nn.Module):
    """Runs T times on an image, and answers with what its last neurons are given."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        *before, last = self.body
        repeated = x.expand(T, *x.shape)
        for layer in before:
            repeated = layer(repeated)
        last(repeated)
        return repeated.mean(0)


def test_time_inside_the_model_and_neurons_that_are_not_read(own):
    image = spikes(9, 20, seed=3).double()
    body = nn.Sequential(*layers_of(own, Sequence))
    inside = wrap(Inside(body), image, layout="static", surrogate=SURROGATE)
    outside = wrap(body[:-1], image.unsqueeze(1).repeat_interleave(T, 1), surrogate=SURROGATE)
    for how in SLOPES:
        one = gradient(inside, image.unsqueeze(1), how).values
        two = gradient(outside, image.unsqueeze(1).repeat_interleave(T, 1), how).values
        assert two.any()
        torch.testing.assert_close(one, two.sum(1, keepdim=True), atol=1e-12, rtol=1e-9)
    with pytest.raises(SpikeflipError, match="but of a Sequence it is not known"):
        gradient(inside, image.unsqueeze(1), "windowed")


class Again(nn.Module):
    """A layer that is run again on the way back."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return checkpoint(self.layer, x, use_reentrant=False)


def test_layers_that_run_again_on_the_way_back(own):
    inputs = spikes(9, T, 20, seed=3).double()
    layers = layers_of(own, Sequence)
    plainly, again = (
        wrap(nn.Sequential(*with_it), inputs, surrogate=SURROGATE)
        for with_it in (layers, [Again(nn.Sequential(*layers[:3])), *layers[3:]])
    )
    for how in SLOPES:
        one, two = (gradient(victim, inputs, how, memory=Memory(9)).values for victim in (plainly, again))
        assert torch.equal(one, two)
