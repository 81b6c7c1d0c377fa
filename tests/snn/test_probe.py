"""What a probe promises: equal neighbours are equal in every cell, and each gradient is the one of its own sample."""

from dataclasses import replace

import pytest
import torch
from asking import ask

from spikeflip import LIF, Rectangular, SpikingNetwork
from spikeflip.snn.gradients import InputGradient
from spikeflip.snn.neuron import fire
from spikeflip.snn.probe import _Head, _without_equal_neighbours, all_zero
from spikeflip.snn.surrogate import SURROGATES

T, CELLS = 4, 3


def one_cell_differs():
    """A sample, and one copy for each of its cells in which that cell alone is another: ``(2 * cells, T, cells)``."""
    base = (torch.rand(T, CELLS, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    batch = []
    for cell in range(T * CELLS):
        other = base.clone()
        other.view(-1)[cell] = 1 - other.view(-1)[cell]
        batch += [base, other]
    return torch.stack(batch)


def test_samples_that_differ_in_one_cell_are_two():
    batch = one_cell_differs()
    kept, place = _without_equal_neighbours(batch)
    assert torch.equal(kept, batch)
    assert place.tolist() == list(range(len(batch)))


def test_equal_neighbours_are_one_and_equal_strangers_are_not():
    a, b = torch.zeros(2, 2), torch.ones(2, 2)
    kept, place = _without_equal_neighbours(torch.stack([a, a, b, b, b, a]))
    assert torch.equal(kept, torch.stack([a, b, a]))
    assert place.tolist() == [0, 0, 1, 1, 1, 2]
    for n in (0, 1, 2, 3):
        kept, place = _without_equal_neighbours(torch.zeros(n, 2, 2))
        assert (len(kept), place.tolist()) == (min(n, 1), [0] * n)


def make(architecture):
    found = SpikingNetwork(architecture, (CELLS,), time_steps=T, neuron=LIF(0.3, 0.4, surrogate=Rectangular(2.0)))
    with torch.no_grad():
        for at, weight in enumerate(found.weights):
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(at)))
    return found


def by_autograd(network, spikes, classes, threshold=None, window=None):
    """Scores, gradients and penultimate spikes of samples, each alone, by autograd over the layers."""
    found = []
    for sample, k in zip(spikes, classes, strict=True):
        leaf = sample.unsqueeze(0).requires_grad_()
        between, x, last = None, leaf, len(network.weights) - 1
        for at, weight in enumerate(network.weights):
            neuron = network.neuron
            if threshold is not None and at == last - 1:
                neuron = neuron.fire_at(threshold)
            if window is not None and at == last:
                neuron = replace(neuron, surrogate=neuron.surrogate.with_width(window))
            between, x = x, fire(x @ weight.detach().T, neuron)
        scores = x.mean(1)
        (gradient,) = torch.autograd.grad(scores[0, k], leaf)
        found.append((scores[0].detach(), gradient[0], float(between.detach().sum()) if last else 0.0))
    scores, gradients, spikes = zip(*found, strict=True)
    return torch.stack(scores), torch.stack(gradients), torch.tensor(spikes)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("4FC-3FC", {}),
        ("4FC-3FC", {"threshold": 0.9}),
        ("4FC-3FC", {"window": 0.7}),
        ("4FC-3FC", {"threshold": 0.2, "window": 5.0}),
        ("3FC", {}),
        ("3FC", {"window": 0.7}),
    ],
)
def test_every_sample_has_its_own_scores_and_gradient(architecture, options):
    network, batch = make(architecture), one_cell_differs()
    batch = torch.cat([batch[:6], batch[5:6], batch[:1], batch])
    classes = torch.arange(len(batch)) % 3
    probe = network.probe(batch)
    rows = torch.tensor([7, 5, 6, 0, 3, 3, 29])
    scores, gradients, spikes = by_autograd(network, batch[rows], classes[rows], **options)
    asked = []

    def towards(said, of):
        asked.append(of.tolist())
        if "threshold" not in options:
            torch.testing.assert_close(said, scores)
        return torch.eye(3)[classes[of]]

    found = probe.input_gradient(
        towards, ask(rows, penultimate_threshold=options.get("threshold"), output_window=options.get("window"))
    )
    assert asked == [rows.tolist()]
    torch.testing.assert_close(found.values, gradients)
    torch.testing.assert_close(found.penultimate_spikes, spikes)
    torch.testing.assert_close(probe.scores, by_autograd(network, batch, classes)[0])
    assert gradients.any()
    assert not found.loss_zero.any()
    # Asked once more without options, it is the pass as it was.
    again = probe.input_gradient(lambda _, of: torch.eye(3)[classes[of]], ask(rows))
    torch.testing.assert_close(again.values, by_autograd(network, batch[rows], classes[rows])[1])


def test_where_a_gradient_ended():
    """Of one output neuron a sample inside the window, one outside, and one whose loss asks for nothing."""
    network = SpikingNetwork("1FC-2FC", (2,), time_steps=1, neuron=LIF(0.5, 0.0, surrogate=Rectangular(0.5)))
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[0.6, 5.0]]))
        network.weights[1].copy_(torch.tensor([[0.6], [9.0]]))
    spikes = torch.tensor([[[1.0, 0.0]]]).expand(4, 1, 2).clone()
    spikes[3, 0, 1] = 1  # its hidden neuron is far above the window: the gradient dies there
    wanted = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    found = network.probe(spikes).input_gradient(lambda _, rows: wanted[rows], ask(torch.arange(4)))
    assert found.loss_zero.tolist() == [False, False, True, False]
    assert found.output_zero.tolist() == [False, True, True, False]
    # dL/du = 1 / 0.5 inside a window of 0.5, twice, times the weights.
    assert found.values[0].tolist() == [[pytest.approx(2 * 0.6 * 2 * 0.6), pytest.approx(2 * 0.6 * 2 * 5.0)]]
    assert not found.values[1:].any()
    assert found.penultimate_spikes.tolist() == [1.0] * 4


@pytest.mark.parametrize("kind", SURROGATES)
def test_an_output_window_widens_the_surrogate_that_was_chosen(kind, some_spikes):
    """Of the output layer alone: the others keep the width of their own."""
    base = SpikingNetwork("6FC-3FC", (5,), time_steps=T, neuron=LIF(0.3, 0.4), seed=3)
    network, spikes = base.on("torch", surrogate=SURROGATES[kind](0.8)), some_spikes(3, T, 5)
    classes = torch.tensor([0, 1, 2])
    found = network.probe(spikes).input_gradient(
        lambda _, rows: torch.eye(3)[classes[rows]], ask(torch.arange(3), output_window=2.5)
    )
    torch.testing.assert_close(found.values, by_autograd(network, spikes, classes, window=2.5)[1])


def test_what_a_probe_gives_is_frozen():
    assert InputGradient.__dataclass_params__.frozen
    assert _Head.__dataclass_params__.frozen


def test_zero_everywhere():
    assert all_zero(torch.tensor([[[0.0, 0.0]], [[0.0, -1e-30]], [[1.0, 0.0]]])).tolist() == [True, False, False]


def test_asking_leaves_no_graph():
    probe = make("4FC-3FC").probe(one_cell_differs()[:2])
    found = probe.input_gradient(lambda said, _: said.clone().requires_grad_() * 2, ask(torch.arange(2)))
    assert not found.values.requires_grad
    assert not probe.scores.requires_grad
