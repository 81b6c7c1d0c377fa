"""The images that adversarial training learns from, and what it is worth."""

from dataclasses import replace

import pytest
import torch

from spikeflip import LIF, ReluNetwork, SpikeflipError, SpikingNetwork, load_images
from spikeflip.attacks.adversarial_training import AdversarialTraining
from spikeflip.runs.outcome import robust_accuracy
from spikeflip.snn.perturbing import Batch
from spikeflip.snn.training import Training, train
from spikeflip.snn.twin_training import train_twin
from spikeflip.streams import uniform

LAYERS = "6C3-AP2-10FC", (1, 8, 8)
SMALL = Training(updates=4, batch_size=16, validate_every=2)


def network(kind="rate", **options):
    if kind == "twin":
        return ReluNetwork(*LAYERS, seed=1)
    return SpikingNetwork(*LAYERS, time_steps=4, neuron=LIF(0.3, 0.25), seed=1, coding=kind, **options)


def learn(net, data, settings=SMALL, **options):
    none = data[0][:0], data[1][:0]
    return (train_twin if isinstance(net, ReluNetwork) else train)(net, data, none, settings, **options)


def batch_of(net, data, rows, update=3, **settings):
    return Batch.of(net, data, rows, update, replace(SMALL, **settings))


def weights(net):
    return [weight.detach().clone() for weight in net.weights]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.fixture
def labelled(digits):
    return digits.images[:80], digits.labels[:80]


@pytest.mark.parametrize("kind", ["rate", "latency", "twin"])
@pytest.mark.parametrize("epsilon", [0.05, 0.3, 1.0])
def test_attacked_images_stay_in_the_ball_and_in_range(labelled, kind, epsilon):
    batch = batch_of(network(kind), labelled, torch.arange(24), update=4)
    found = AdversarialTraining(epsilon)(batch)
    assert found.shape == batch.inputs.shape
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    change = (found - batch.inputs).abs()
    assert float(change.max()) <= epsilon + 1e-6
    assert float(change.flatten(1).amax(1).min()) > 0.9 * epsilon  # of every image
    growing = AdversarialTraining(epsilon, warm_up=1.0)
    first = (growing(batch_of(network(kind), labelled, torch.arange(24), update=1)) - batch.inputs).abs()
    assert float(first.max()) <= epsilon / 4 + 1e-6


def test_one_step_of_a_linear_network_is_the_sign_of_its_gradient():
    """Cross-entropy of W x has the gradient W' (softmax - one-hot); a long step ends in the ball's corner."""
    net = ReluNetwork("3FC", (5,), seed=2)
    images, labels = torch.full((4, 5), 0.5), torch.tensor([0, 1, 2, 0])
    found = AdversarialTraining(0.125, steps=1, warm_up=0)(batch_of(net, (images, labels), torch.arange(4)))
    with torch.no_grad():
        start = torch.softmax(images @ net.weights[0].T, 1)  # that of the random start has the same signs here
        gradient = (start - torch.nn.functional.one_hot(labels, 3)) @ net.weights[0]
    assert torch.equal(found, images + 0.125 * gradient.sign())


def test_steps_follow_autograd_through_the_twin(labelled):
    """Two steps, from the same start, on the loss that PyTorch differentiates."""
    net, (images, labels) = network("twin"), (labelled[0][:9], labelled[1][:9])
    rows, radius, steps = torch.arange(9), 0.2, 2
    batch = batch_of(net, (images, labels), rows)
    found = AdversarialTraining(radius, steps=steps, warm_up=0)(batch)
    start = images + radius * (2 * uniform(SMALL.seed, rows, "inner-start", 3, images.shape[1:]) - 1)
    moved = start.clamp(images - radius, images + radius).clamp(0, 1)
    for _ in range(steps):
        leaf = moved.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(net(leaf), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
        moved = (moved + 2.5 * radius / steps * gradient.sign()).clamp(images - radius, images + radius).clamp(0, 1)
    different = (found - moved).abs() > 1e-6
    assert float(different.double().mean()) < 0.01  # signs of what rounding makes zero


@pytest.mark.parametrize("kind", ["rate", "twin"])
def test_batch_mates_change_nothing(labelled, kind):
    attack, net = AdversarialTraining(0.2), network(kind)
    together = attack(batch_of(net, labelled, torch.arange(10)))
    alone = [attack(batch_of(net, labelled, rows)) for rows in torch.arange(10).split(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


def test_random_numbers_are_new_in_each_update_step_and_sample(labelled):
    seen = []

    class Noting(SpikingNetwork):
        def probe(self, spikes, request=None):
            seen.append(spikes.clone())
            return super().probe(spikes, request)

    net = Noting(*LAYERS, time_steps=4, neuron=LIF(0.3, 0.25))
    images = torch.full((2, 1, 8, 8), 0.5)
    data = images, torch.tensor([0, 0])
    # A ball this small moves no pixel far enough to matter: what differs are the encodings.
    for update in (1, 2):
        AdversarialTraining(1e-6, steps=3, warm_up=0)(batch_of(net, data, torch.arange(2), update))
    encodings = [one for spikes in seen for one in spikes]
    assert len(encodings) == 12
    assert all(not torch.equal(a, b) for i, a in enumerate(encodings) for b in encodings[:i])


def test_images_are_coded_in_as_many_steps_as_the_training_does(labelled):
    assert batch_of(network(), labelled, torch.arange(2)).time_steps == 4
    short = batch_of(network(), labelled, torch.arange(2), coding_steps=2)
    assert short.encoded(short.inputs, "train", 1).shape == (2, 2, 1, 8, 8)
    assert batch_of(network(), labelled, torch.arange(2), coding_steps=9).time_steps == 4


@pytest.mark.parametrize("kind", ["rate", "latency", "twin"])
def test_an_update_learns_from_what_it_is_given(labelled, kind):
    """Images that are always replaced by others teach what these teach, dropout and encodings included."""
    other = labelled[0].flip(0)
    plain, replaced = network(kind), network(kind)
    settings = replace(SMALL, initial_share=0)  # by which weights would be scaled on other images
    learn(plain, (other, labelled[1]), settings)
    learn(replaced, labelled, settings, perturb=lambda batch: other[batch.samples])
    assert equal(plain, replaced)


@pytest.mark.parametrize(("kind", "engine"), [("rate", "torch"), ("rate", "event"), ("twin", "torch")])
def test_the_attack_leaves_nothing_behind_in_the_engine(labelled, kind, engine):
    """The probe runs in the memory in which the update runs next."""
    attack, kept = AdversarialTraining(0.3, steps=2), {}
    hardened, replayed = network(kind), network(kind)

    def attacked(batch):
        kept[batch.update, int(batch.samples[0])] = attack(batch)
        return kept[batch.update, int(batch.samples[0])]

    learn(hardened.on(engine), labelled, perturb=attacked)
    learn(replayed.on(engine), labelled, perturb=lambda batch: kept[batch.update, int(batch.samples[0])])
    assert len(kept) == 4
    assert equal(hardened, replayed)
    assert not equal(hardened, network(kind))


@pytest.mark.parametrize("kind", ["rate", "latency", "twin"])
def test_an_interrupted_training_ends_with_the_same_weights(labelled, kind, tmp_path):
    attack, state = AdversarialTraining(0.3, steps=2), tmp_path / "state.safetensors"
    undisturbed, again = network(kind), network(kind)
    learn(undisturbed, labelled, perturb=attack)
    learn(again, labelled, perturb=attack)
    assert equal(undisturbed, again)

    def stop(now):
        if now.update == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(network(kind), labelled, perturb=attack, state=state, progress=stop)
    for other in (None, AdversarialTraining(0.3, steps=3), AdversarialTraining(0.2, steps=2)):
        with pytest.raises(SpikeflipError, match="unfinished training of another network, setting or data set"):
            learn(network(kind), labelled, perturb=other, state=state)
    resumed, seen = network(kind), []
    learn(resumed, labelled, perturb=attack, state=state, progress=lambda now: seen.append(now.update))
    assert seen == [3, 4]
    assert equal(undisturbed, resumed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": -0.1}, "epsilon is -0.1: give a radius in"),
        ({"epsilon": 1.5}, "epsilon is 1.5: give a radius in"),
        ({"epsilon": float("nan")}, "epsilon is nan: give a radius in"),
        ({"steps": 0}, "steps is 0: give at least 1"),
        ({"steps": 1.5}, "steps is 1.5: give a whole number"),
        ({"steps": 1001}, "steps is 1001: give at most 1000"),
        ({"warm_up": -0.5}, "warm_up is -0.5: give a share in"),
        ({"warm_up": 1.5}, "warm_up is 1.5: give a share in"),
    ],
)
def test_what_is_out_of_range_is_one_sentence(settings, message):
    with pytest.raises(SpikeflipError, match=message):
        AdversarialTraining(**{"epsilon": 0.1} | settings)


def test_the_ball_grows_linearly():
    assert [AdversarialTraining(0.2, warm_up=0.5).radius(n, 8) for n in (1, 2, 4, 8)] == [0.05, 0.1, 0.2, 0.2]
    assert [AdversarialTraining(0.2, warm_up=0).radius(n, 8) for n in (1, 8)] == [0.2, 0.2]
    assert AdversarialTraining(0.2, warm_up=1).radius(4, 8) == 0.1


@pytest.mark.parametrize(("radius", "expected"), [(0.0, 0.8), (0.04, 0.8), (0.06, 0.6), (0.16, 0.4), (0.4, 0.0)])
def test_robust_accuracy_of_a_victim_whose_margins_are_known(radius, expected):
    """The larger of two inputs wins: they change places within half of their difference, at most 0.3, no nearer."""
    net = ReluNetwork("2FC", (2,))
    with torch.no_grad():
        net.weights[0].copy_(torch.eye(2))
    images = torch.tensor([[0.5, 0.4], [0.4, 0.7], [0.3, 0.9], [0.6, 0.0], [0.2, 0.4]])
    labels = torch.tensor([0, 1, 1, 0, 0])  # the last is wrong from the start
    assert robust_accuracy(net, images, labels, radius) == pytest.approx(expected)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize(("spiking", "epsilon", "more"), [(True, 0.2, 0.12), (False, 0.1, 0.15)])
def test_it_makes_a_victim_more_robust(digits, spiking, epsilon, more, seed):
    data, layers = load_images("digits", "train"), "64FC-64FC-10FC" if spiking else "16C3-AP2-64FC-10FC"
    made = {"loss": "mse"} if spiking else {"loss": "ce", "relative_rate": 0.03}
    settings = Training(updates=200, dropout=0, widest_dropout=0, validate_every=200, micro_batch=64, seed=seed, **made)
    found = []
    for perturb in (None, AdversarialTraining(epsilon)):
        net = (
            SpikingNetwork(layers, (1, 8, 8), time_steps=6, neuron=LIF(0.3, 0.25), seed=seed)
            if spiking
            else ReluNetwork(layers, (1, 8, 8), seed=seed)
        )
        learn(net, (data.images, data.labels), settings, perturb=perturb)
        found.append(robust_accuracy(net, digits.images[:60], digits.labels[:60], epsilon, seed=seed))
    assert found[1] > found[0] + more, found
