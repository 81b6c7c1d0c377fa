"""Gradients sent back in bfloat16: the same scores, nearly the same directions, the same attack."""

import pytest
import torch
from asking import ask

from spikeflip import LIF, SpikeflipError, SpikingNetwork, judge, scg
from spikeflip.intervals import wilson

NETWORKS = [
    ("8C3-AP2-12C5-AP2-16FC-10FC", (2, 9, 9)),
    ("20C3-33C1-AP2-40C7-70FC-10FC", (3, 7, 6)),
    ("AP2-9C3-10FC", (1, 6, 6)),
    ("64FC-10FC", (12,)),
    ("10FC", (2, 4, 4)),
]


def gradients(network, spikes, **options):
    probe = network.probe(spikes)
    weight = torch.randn(len(spikes), network.classes, generator=torch.Generator().manual_seed(1))
    found = probe.input_gradient(lambda scores, rows: weight[rows], ask(torch.arange(len(spikes)), **options))
    return probe.scores, found.values.clone(), found


@pytest.mark.parametrize(("architecture", "shape"), NETWORKS)
@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("threshold", [None, 0.6])
def test_scores_are_the_same_bits_and_gradients_point_the_same_way(architecture, shape, reset, threshold, some_spikes):
    network = SpikingNetwork(architecture, shape, neuron=LIF(0.3, 0.3, reset), seed=3)
    with torch.no_grad():
        for weight in network.weights:
            weight.mul_(2)  # so that spikes reach the output
    options = {} if threshold is None or len(network.layers) == 1 else {"penultimate_threshold": threshold}
    spikes = some_spikes(6, 5, *shape)
    coarse = network.on("torch", precision="bf16-gradient")
    scores, expected, facts = gradients(network, spikes, **options)
    our_scores, found, our_facts = gradients(coarse, spikes, **options)
    assert torch.equal(our_scores, scores)
    assert torch.equal(coarse.scores(spikes), network.scores(spikes))
    for name in ("loss_zero", "output_zero", "penultimate_spikes"):
        assert torch.equal(getattr(our_facts, name), getattr(facts, name))
    assert found.dtype == torch.float32
    assert not found[facts.output_zero].any()
    alive = expected.flatten(1).any(1)
    assert alive.any()
    likeness = torch.cosine_similarity(found[alive].flatten(1), expected[alive].flatten(1))
    assert likeness.min() > 0.999
    assert not torch.equal(found, expected)  # it did run in bfloat16


def test_it_is_a_property_of_one_view_of_the_network(deep_network, some_spikes):
    spikes = some_spikes(3, 6, 2, 9, 9)
    expected = gradients(deep_network, spikes)[1]
    coarse = deep_network.on("torch", precision="bf16-gradient")
    gradients(coarse, spikes)
    for exact in (deep_network, coarse.on("torch")):
        assert torch.equal(gradients(exact, spikes)[1], expected)
    with torch.no_grad():
        deep_network.weights[-1].mul_(-1)
    torch.testing.assert_close(gradients(coarse, spikes)[1], gradients(deep_network, spikes)[1], rtol=0.1, atol=1e-3)


def test_attacks_succeed_as_often(digit_victim, digits):
    images, labels = digits.images, digits.labels
    rates = []
    for precision in ("float32", "bf16-gradient"):
        attacked = digit_victim.on("torch", precision=precision)
        result = scg(attacked, images, labels, steps=1, threshold=None)
        judged = judge(digit_victim, images, result.adversarials, labels, None, result, draws=1)
        rates.append((result, judged.summary()))
    (exact, one), (coarse, other) = rates
    assert torch.equal(exact.already_wrong, coarse.already_wrong)
    assert not torch.equal(exact.adversarials, coarse.adversarials)
    rate, our_rate, n = one["attack_success_rate"], other["attack_success_rate"], one["attack_success_rate_n"]
    assert 0.2 < rate < 0.8  # one step, so that a difference would show
    assert wilson(rate, n)[0] <= our_rate <= wilson(rate, n)[1]
    assert wilson(our_rate, n)[0] <= rate <= wilson(our_rate, n)[1]


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [
        ("torch", "half", "precision is 'half': choose from float32, bf16-gradient"),
        ("event", "bf16-gradient", "precision is 'bf16-gradient', but the event engine works in float32 alone"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused(deep_network, engine, precision, message):
    with pytest.raises(SpikeflipError, match=message):
        deep_network.on(engine, precision=precision)
