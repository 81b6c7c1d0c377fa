"""What a gradient can be asked with, against loops of plain autograd."""

from dataclasses import dataclass

import pytest
import torch
from plain_gradients import away, plain

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.attacks import loop
from spikeflip.snn.coding import winner
from spikeflip.snn.engines import dense
from spikeflip.snn.gradients import BPTT, Estimator, GradientRequest
from spikeflip.snn.memory import Memory
from spikeflip.snn.surrogate import Gaussian, Rectangular, Triangular

T = 7


def network(reset="hard", **options):
    neuron = LIF(0.4, 0.6, reset, Rectangular(0.9))
    net = SpikingNetwork("9FC-6FC-3FC", (8,), time_steps=T, neuron=neuron, seed=3, **options).double()
    with torch.no_grad():
        for weight in net.weights:
            weight.mul_(1.5)
    return net


def spikes(n=5):
    return (torch.rand(n, T, 8, generator=torch.Generator().manual_seed(4)) < 0.5).double()


def found(net, x, estimator, **known):
    return net.probe(x).input_gradient(away, GradientRequest(estimator=estimator, **known)).values


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("surrogate", [None, Rectangular(1.6), Triangular(0.7), Gaussian(0.5)])
def test_a_surrogate_is_part_of_the_request(reset, surrogate):
    net, x = network(reset), spikes()
    derivative = (surrogate or net.neuron.surrogate).derivative
    expected = plain(net, x, lambda distance, _: derivative(distance))
    values = found(net, x, BPTT(surrogate))
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-12)
    assert values.any()
    torch.testing.assert_close(values, found(net.on("torch", surrogate=surrogate), x, BPTT()), rtol=0, atol=0)


def test_the_output_layer_may_have_a_window_of_its_own():
    net, x = network(), spikes()

    def slope(distance, layer):
        return Triangular(2.0 if layer == 2 else 0.7).derivative(distance)

    values = found(net, x, BPTT(Triangular(0.7), output_window=2.0))
    torch.testing.assert_close(values, plain(net, x, slope), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("window", [1, 2, 3, T, 20])
def test_a_window_of_time_steps_cuts_the_recurrence(reset, window):
    net, x = network(reset), spikes()
    expected = plain(net, x, lambda distance, _: net.neuron.surrogate.derivative(distance), window)
    torch.testing.assert_close(found(net, x, BPTT(window=window)), expected, rtol=1e-10, atol=1e-12)
    assert torch.equal(found(net, x, BPTT(window=T)), found(net, x, BPTT())) == (window > 0)


@dataclass(frozen=True)
class Averaged(Estimator):
    """Mean over time of what each layer sends down, no recurrence, one triangle."""

    reach = 1
    averaged = True

    def slope(self, layer):
        return Triangular(0.8).derivative(layer.distance)


def test_an_estimator_may_average_over_time():
    net, x = network(), spikes()
    expected = plain(net, x, lambda distance, _: Triangular(0.8).derivative(distance), 1, averaged=True)
    torch.testing.assert_close(found(net, x, Averaged()), expected, rtol=1e-10, atol=1e-12)


@dataclass(frozen=True)
class OfRates(Estimator):
    """One slope for all time steps, by the mean current, which is got back from the potentials."""

    reach = 1

    def slope(self, layer):
        u, neuron = layer.potential, layer.neuron
        before = torch.cat([torch.zeros_like(u[:, :1]), (u * (u < neuron.threshold))[:, :-1]], 1)
        mean = (u - neuron.decay * before).mean(1, keepdim=True)
        return (mean.abs() <= 0.5).to(u).expand_as(u)


def test_an_estimator_may_go_by_rates():
    net, x = network(), spikes()
    given = {}

    def slope(distance, layer):
        u = distance + net.neuron.threshold
        before = torch.cat([torch.zeros_like(u[:, :1]), (u * (distance < 0))[:, :-1]], 1)
        given[layer] = (u - net.neuron.decay * before).mean(1, keepdim=True)
        return (given[layer].abs() <= 0.5).to(u).expand_as(u)

    torch.testing.assert_close(found(net, x, OfRates()), plain(net, x, slope, 1), rtol=1e-10, atol=1e-12)


@dataclass(frozen=True)
class BySpread(Estimator):
    """A bump as wide as the potentials of a sample and channel vary, over the steps so far."""

    def slope(self, layer):
        u, t = layer.potential, torch.arange(1, layer.potential.shape[1] + 1)[:, None]
        mean = u.cumsum(1) / t
        spread = ((u.square().cumsum(1) / t) - mean.square()).clamp(min=1e-4).sqrt()
        return torch.exp(-((layer.distance / spread) ** 2)) / spread


@dataclass(frozen=True)
class Adaptive(Estimator):
    """As sharp as the distances seen so far allow, remembered of every sample, neuron and step."""

    def slope(self, layer):
        name, size = ("size", layer.index), layer.distance.abs()
        mean = 0.9 * layer.memory.recall(name, size, initial=1.0) + 0.1 * size
        layer.memory.keep(name, mean)
        return torch.exp(-size / mean) / mean


@pytest.mark.parametrize("estimator", [Averaged(), OfRates(), BySpread(), Adaptive(), BPTT(window=2)])
def test_batch_mates_and_their_order_do_not_matter(estimator):
    net, x = network(), spikes(6)
    rows = torch.tensor([4, 0, 3])
    whole = found(net, x, estimator)
    assert whole.flatten(1).any(1).sum() > 3
    torch.testing.assert_close(found(net, x, estimator, rows=rows), whole[rows], rtol=1e-12, atol=1e-14)

    def alone(n):
        return net.probe(x[n : n + 1]).input_gradient(
            lambda scores, _: away(scores, torch.tensor([n])), GradientRequest(estimator=estimator)
        )

    each = torch.cat([alone(n).values.clone() for n in range(6)])
    torch.testing.assert_close(each, whole, rtol=1e-12, atol=1e-14)


def test_what_is_remembered_belongs_to_a_sample():
    net, x = network(), spikes(4)
    memory = Memory(4)
    first, second = (found(net, x, Adaptive(), memory=memory).clone() for _ in range(2))
    assert not torch.equal(first, second)
    fewer = Memory(2)

    def weighed():
        request = GradientRequest(estimator=Adaptive(), memory=fewer)
        return net.probe(x[[3, 1]]).input_gradient(lambda s, rows: away(s, torch.tensor([3, 1])[rows]), request).values

    torch.testing.assert_close(weighed().clone(), first[[3, 1]], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(weighed(), second[[3, 1]], rtol=1e-12, atol=1e-14)


def test_a_sample_whose_loss_asks_for_nothing_keeps_its_memory_as_it_was():
    net, x, memory = network(), spikes(4), Memory(4)
    request = GradientRequest(estimator=Adaptive(), memory=memory)

    def but(left_out):
        def gradient(scores, rows):
            found = away(scores, rows)
            found[[row in left_out for row in rows.tolist()]] = 0
            return found

        return gradient

    first = net.probe(x).input_gradient(but({1}), request).values.clone()
    second = net.probe(x).input_gradient(away, request).values.clone()
    assert not first[1].any()
    alone = Memory(3)
    others = x[[0, 2, 3]]
    for expected in (first, second):
        asked = GradientRequest(estimator=Adaptive(), memory=alone)
        values = net.probe(others).input_gradient(lambda s, r: away(s, torch.tensor([0, 2, 3])[r]), asked).values
        torch.testing.assert_close(values, expected[[0, 2, 3]], rtol=1e-12, atol=1e-14)


def test_samples_of_a_batch_that_runs_in_parts_keep_their_own(monkeypatch):
    net = SpikingNetwork("4C3-4C3-6FC-3FC", (2, 6, 6), neuron=LIF(0.3, 0.5, "hard", Rectangular(0.9)), seed=2).double()
    x = (torch.rand(5, T, 2, 6, 6, generator=torch.Generator().manual_seed(4)) < 0.4).double()

    def twice():
        memory = Memory(5)
        return [found(net, x, Adaptive(), memory=memory).clone() for _ in range(2)]

    whole = twice()
    monkeypatch.setattr(dense, "_CHUNK_BYTES", 1)
    for part, expected in zip(twice(), whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-10, atol=1e-13)
    assert not torch.equal(*whole)


def test_the_event_engine_gives_what_it_does_not_serve_to_the_torch_engine():
    torch_net = SpikingNetwork("4C3-AP2-6FC-3FC", (2, 6, 6), neuron=LIF(0.3, 0.5, "hard", Rectangular(0.5)), seed=2)
    event = torch_net.on("event")
    x = (torch.rand(3, T, 2, 6, 6, generator=torch.Generator().manual_seed(4)) < 0.4).float()
    for estimator in (Averaged(), Adaptive(), BPTT(Triangular(1.0)), BPTT(Rectangular(2.0)), BPTT(window=2)):
        expected = found(torch_net, x, estimator)
        request = GradientRequest(estimator=estimator)
        for probe in (event.probe(x), event.probe(x, request)):
            values = probe.input_gradient(away, request).values
            assert values.any()
            torch.testing.assert_close(values, expected)
    assert event.engine_for(BPTT(output_window=3.0)) is event.engine
    assert event.engine_for(BPTT(Rectangular(0.5))) is event.engine
    assert event.engine_for(BPTT(Rectangular(0.6))) is not event.engine


def test_what_another_engine_gave_leaves_the_network_as_it_is():
    net = SpikingNetwork("4C3-AP2-6FC-3FC", (2, 6, 6), neuron=LIF(0.3, 0.5, "hard", Rectangular(0.5)), seed=2)
    event = net.on("event")
    x = (torch.rand(3, T, 2, 6, 6, generator=torch.Generator().manual_seed(4)) < 0.4).float()
    names, expected = list(event.state_dict()), found(net, x, Averaged()).clone()
    torch.testing.assert_close(found(event, x, Averaged()), expected)
    assert list(event.state_dict()) == names == list(net.state_dict())
    assert len(list(event.modules())) == len(list(net.modules()))
    changed = LIF(0.5, 0.2, "soft", Rectangular(0.5))
    event.neuron = net.neuron = changed
    after = found(net, x, Averaged()).clone()
    assert not torch.equal(after, expected)
    torch.testing.assert_close(found(event, x, Averaged()), after)
    with torch.no_grad():
        net.weights[0].mul_(1.5)
    torch.testing.assert_close(found(event, x, Averaged()), found(net, x, Averaged()))


def test_an_attack_remembers_for_its_estimator_whatever_the_batch():
    net, x = network(), spikes(6)
    with torch.no_grad():
        net.weights[-1].mul_(3).abs_()[0].mul_(4)  # so that class 0 wins
    said, seen = winner(net.scores(x)), {}
    kept = (said >= 0).nonzero().flatten().tolist()
    assert len(kept) > 1

    def rule(step):
        values = step.gradient("mse", GradientRequest(estimator=Adaptive())).values
        for sample, iteration, value in zip(step.samples.tolist(), step.iterations.tolist(), values, strict=True):
            seen[sample, iteration] = value.clone()
        return loop.Move(step.inputs, torch.zeros(len(step.inputs), dtype=torch.int8))

    by_batch = []
    for size in (1, 6):
        seen.clear()
        loop.run(net, x.float(), said.clamp(min=0), None, rule, steps=3, micro_batch=size)
        by_batch.append(dict(seen))
    one, six = by_batch
    assert one.keys() == six.keys() == {(n, i) for n in kept for i in range(3)}
    for key, value in one.items():
        torch.testing.assert_close(value, six[key], rtol=1e-10, atol=1e-12)
    assert any(not torch.equal(one[n, 0], one[n, 1]) for n in kept)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"output_window": 0.0}, "output_window is 0.0"),
        ({"output_window": float("nan")}, "nan"),
        ({"window": 0}, "window is 0"),
    ],
)
def test_values_out_of_range_are_refused(wrong, words):
    with pytest.raises(SpikeflipError, match=words):
        BPTT(**wrong)
