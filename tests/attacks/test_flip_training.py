"""The recordings that adversarial training with flips learns from, and what it is worth."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from spikeflip import LIF, Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork, load_images, simulate_saccades
from spikeflip.attacks.adversarial_training import AdversarialTraining
from spikeflip.attacks.flip_training import FlipTraining, events_of, flip_most, most_flips
from spikeflip.runs.outcome import robust_accuracy
from spikeflip.snn.losses import score_gradient
from spikeflip.snn.perturbing import Batch
from spikeflip.snn.training import Training, train
from spikeflip.snn.twin_training import train_twin

LAYERS = "6C3-AP2-10FC", (2, 8, 8)
SMALL = Training(updates=4, batch_size=16, validate_every=2)


def network(**options):
    return SpikingNetwork(*LAYERS, time_steps=4, neuron=LIF(0.3, 0.25), seed=1, **options)


def learn(net, data, settings=SMALL, **options):
    return train(net, data, (data[0][:0], data[1][:0]), settings, **options)


def batch_of(net, data, rows, update=4, **settings):
    return Batch.of(net, data, rows, update, replace(SMALL, **settings))


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.weights, other.weights, strict=True))


def flips(found, spikes):
    return (found != spikes).flatten(1).sum(1)


@pytest.fixture
def labelled(digits):
    return simulate_saccades(digits.images[:80], steps=4).to(torch.uint8), digits.labels[:80]


class Known:
    """A victim whose gradient in each step is what a test says, whatever it sees."""

    device = torch.device("cpu")

    def __init__(self, *gradients):
        self.gradients, self.seen = list(gradients), []

    def probe(self, spikes):
        self.seen.append(spikes.tolist())
        return SimpleNamespace(input_gradient=lambda loss: SimpleNamespace(values=self.gradients.pop(0)))


def known(spikes, limits, *gradients):
    """What is left of spikes ``(n, T)`` after so many steps, and what the victim saw in them."""
    victim = Known(*map(torch.tensor, gradients))
    found = flip_most(victim, torch.tensor(spikes), None, torch.tensor(limits), steps=len(gradients))
    return found.tolist(), victim.seen


def test_the_largest_gains_are_flipped_and_no_others():
    """A spike's gain is that of removing it: minus its gradient. The third cell has most, and then the first."""
    gradient = [[2.0, 3.0, -4.0, -0.5, 1.0]]
    spikes = [[0, 1, 1, 0, 0]]
    assert known(spikes, [1], gradient)[0] == [[0, 1, 0, 0, 0]]
    assert known(spikes, [2], gradient)[0] == [[1, 1, 0, 0, 0]]
    assert known(spikes, [3], gradient)[0] == [[1, 1, 0, 0, 1]]
    assert known(spikes, [5], gradient)[0] == [[1, 1, 0, 0, 1]]  # two would lower the loss
    assert known(spikes, [9], gradient)[0] == [[1, 1, 0, 0, 1]]  # more than there are cells
    assert known(spikes, [0], gradient) == (spikes, [])


def test_each_sample_keeps_to_its_own_limit():
    gradient = [[2.0, 3.0, 1.0]] * 3
    assert known([[0, 0, 0]] * 3, [2, 0, 1], gradient)[0] == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_steps_share_the_flips_and_never_flip_a_cell_back():
    """The second step would take back what the first did, and has the third cell instead."""
    found, seen = known([[0, 0, 0, 0]], [2], [[3.0, 2.0, 1.0, 0.5]], [[-9.0, -1.0, 0.25, 0.125]])
    assert seen == [[[0, 0, 0, 0]], [[1, 0, 0, 0]]]
    assert found == [[1, 0, 1, 0]]
    # Of three flips in two steps the first has one; of one, none, so that no gradient is asked for.
    assert known([[0, 0, 0]], [3], [[3.0, 2.0, 1.0]], [[1.0, 2.0, 3.0]])[1] == [[[0, 0, 0]], [[1, 0, 0]]]
    assert known([[0, 0, 0]], [1], [[3.0, 2.0, 1.0]], [[1.0, 2.0, 3.0]]) == ([[1, 0, 0]], [[[0, 0, 0]]])


def test_an_empty_gradient_leaves_the_sample_and_a_later_step_makes_up_for_it():
    nothing = [0.0, 0.0, 0.0]
    assert known([[0, 1, 0]], [2], [nothing])[0] == [[0, 1, 0]]
    assert known([[0, 1, 0]] * 2, [2, 1], [nothing] * 2, [[1.0, -0.5, 2.0], nothing])[0] == [[1, 1, 1], [0, 1, 0]]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_no_more_cells_than_the_share_are_flipped(labelled, share, steps):
    batch = batch_of(network(), labelled, torch.arange(24))
    found = FlipTraining(share, steps=steps)(batch)
    limits = torch.tensor([int(share * int(sample.sum()) + 1e-9) for sample in batch.inputs])
    assert found.shape == batch.inputs.shape
    assert bool(((found == 0) | (found == 1)).all())
    assert bool((flips(found, batch.inputs) <= limits).all())
    if share < 0.5:  # of all these cells there are enough with a gain
        assert torch.equal(flips(found, batch.inputs), limits)
    growing, first = FlipTraining(share, steps=steps, warm_up=1.0), batch_of(network(), labelled, torch.arange(24), 1)
    limits = torch.tensor([int(share / 4 * int(sample.sum()) + 1e-9) for sample in batch.inputs])
    assert bool((flips(growing(first), batch.inputs) <= limits).all())


def test_all_of_it_follows_a_plain_loop(labelled):
    """One cell after the other, by the gradient of the network."""
    net, share, steps = network(), 0.2, 3
    batch = batch_of(net, labelled, torch.arange(9))
    found = FlipTraining(share, steps=steps, warm_up=0)(batch)
    for n, (spikes, label) in enumerate(zip(*labelled, strict=True)):
        if n == len(found):
            break
        left, cells = [float(cell) for cell in spikes.flatten()], set()
        for step in range(steps):
            now = torch.tensor(left).view(1, *spikes.shape)
            loss = lambda scores, _, label=label: score_gradient("ce", scores, label[None])[1]  # noqa: E731
            gradient = net.probe(now).input_gradient(loss).values.flatten().tolist()
            gains = {i: g if not left[i] else -g for i, g in enumerate(gradient) if i not in cells}
            due = int(share * int(spikes.sum()) + 1e-9) * (step + 1) // steps - len(cells)
            for i in sorted(gains, key=gains.get, reverse=True)[:due]:
                if gains[i] > 0:
                    left[i] = 1 - left[i]
                    cells.add(i)
        assert found[n].flatten().tolist() == left


@pytest.mark.parametrize("engine", ["torch", "event"])
def test_batch_mates_change_nothing(labelled, engine):
    attack, net = FlipTraining(0.2), network().on(engine)
    together = attack(batch_of(net, labelled, torch.arange(10)))
    alone = [attack(batch_of(net, labelled, rows)) for rows in torch.arange(10).split(3)]
    assert float((together != torch.cat(alone)).float().mean()) < 0.001  # of two gains that rounding makes equal


def test_the_number_of_flips_grows_linearly_and_is_rounded_down():
    events = torch.tensor([0, 9, 100, 5000])
    growing = [FlipTraining(0.1, warm_up=0.5).flips(events, n, 8).tolist() for n in (1, 2, 4, 8)]
    assert growing == [[0, 0, 2, 125], [0, 0, 5, 250], [0, 0, 10, 500], [0, 0, 10, 500]]
    assert FlipTraining(0.1, warm_up=0).flips(events, 1, 8).tolist() == [0, 0, 10, 500]
    assert FlipTraining(0.1, warm_up=1).flips(events, 4, 8).tolist() == [0, 0, 5, 250]
    # 0.29 * 100 is 28.999999999999996, and they are 29 all the same.
    assert [int(most_flips(torch.tensor([100]), share)) for share in (0.29, 0.57, 1.0)] == [29, 57, 100]


def test_events_are_the_cells_with_a_spike(some_spikes):
    spikes = some_spikes(3, 2, 4)
    assert events_of(spikes).tolist() == events_of(spikes.to(torch.uint8)).tolist() == spikes.sum((1, 2)).tolist()


def test_moved_recordings_are_flipped_by_a_share_of_what_is_left(labelled):
    """Events that leave the picture do not count."""
    seen = []

    class Noting(FlipTraining):
        def flips(self, events, update, updates):
            seen.extend(events.tolist())
            return super().flips(events, update, updates)

    batch = batch_of(network(), labelled, torch.arange(16), shift=3)
    Noting(0.1)(batch)
    assert seen == [int(sample.sum()) for sample in batch.inputs]
    assert sum(seen) < int(labelled[0][:16].sum())


@pytest.mark.parametrize("engine", ["torch", "event"])
def test_the_attack_leaves_nothing_behind_in_the_engine(labelled, engine):
    """The probe runs in the memory in which the update runs next."""
    attack, kept = FlipTraining(0.3, steps=2), {}
    hardened, replayed = network(), network()

    def attacked(batch):
        kept[batch.update, int(batch.samples[0])] = attack(batch)
        return kept[batch.update, int(batch.samples[0])]

    learn(hardened.on(engine), labelled, perturb=attacked)
    learn(replayed.on(engine), labelled, perturb=lambda batch: kept[batch.update, int(batch.samples[0])])
    assert len(kept) == 4
    assert equal(hardened, replayed)
    plain = network()
    learn(plain.on(engine), labelled)
    assert not equal(hardened, plain)


def test_an_interrupted_training_ends_with_the_same_weights(labelled, tmp_path):
    attack, state = FlipTraining(0.3, steps=2), tmp_path / "state.safetensors"
    undisturbed = network()
    learn(undisturbed, labelled, perturb=attack)

    def stop(now):
        if now.update == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(network(), labelled, perturb=attack, state=state, progress=stop)
    for other in (None, FlipTraining(0.3, steps=3), FlipTraining(0.2, steps=2), FlipTraining(0.3, 2, warm_up=0)):
        with pytest.raises(SpikeflipError, match="unfinished training of another network, setting or data set"):
            learn(network(), labelled, perturb=other, state=state)
    resumed, seen = network(), []
    learn(resumed, labelled, perturb=attack, state=state, progress=lambda now: seen.append(now.update))
    assert seen == [3, 4]
    assert equal(undisturbed, resumed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": -0.1}, "share is -0.1: give a share of the events in"),
        ({"share": 1.5}, "share is 1.5: give a share of the events in"),
        ({"share": float("nan")}, "share is nan: give a share of the events in"),
        ({"steps": 0}, "steps is 0: give at least 1"),
        ({"steps": 1.5}, "steps is 1.5: give a whole number"),
        ({"steps": 1001}, "steps is 1001: give at most 1000"),
        ({"warm_up": -0.5}, "warm_up is -0.5: give a share in"),
        ({"warm_up": 1.5}, "warm_up is 1.5: give a share in"),
    ],
)
def test_what_is_out_of_range_is_one_sentence(settings, message):
    with pytest.raises(SpikeflipError, match=message):
        FlipTraining(**{"share": 0.1} | settings)


def test_flips_are_for_spikes_and_a_ball_is_for_images(labelled, digits):
    images = digits.images[:80], digits.labels[:80]
    net = SpikingNetwork("10FC", (1, 8, 8), time_steps=4, neuron=LIF(0.3, 0.25))
    for learner, victim in ((train, net), (train_twin, ReluNetwork("10FC", (1, 8, 8)))):
        with pytest.raises(SpikeflipError, match="the inputs are images, and FlipTraining flips spikes: give Adv"):
            learner(victim, images, (images[0][:0], images[1][:0]), SMALL, perturb=FlipTraining(0.1))
    with pytest.raises(SpikeflipError, match="the inputs are spikes, and AdversarialTraining moves pixels: give Flip"):
        learn(network(), labelled, perturb=AdversarialTraining(0.1))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.8), (0.19, 0.8), (0.2, 0.6), (0.5, 0.4), (0.75, 0.2), (1, 0)])
def test_robust_accuracy_of_a_victim_whose_margins_are_known(share, expected):
    """Each of two inputs fires its own output, so that a margin of m spikes is gone after m flips; a tie is wrong."""
    net = SpikingNetwork("2FC", (2,), time_steps=5, neuron=LIF(0.5, 0.0, surrogate=Rectangular(4.0)))
    with torch.no_grad():
        net.weights[0].copy_(torch.eye(2))
    counts = torch.tensor([[3, 2], [1, 3], [4, 1], [0, 5], [2, 3]])  # margins of 1, 2, 3 and 5; the last is wrong
    spikes = (torch.arange(5)[:, None] < counts[:, None]).to(torch.uint8)
    labels = torch.tensor([0, 1, 0, 1, 0])
    assert robust_accuracy(net, spikes, labels, share) == pytest.approx(expected)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_it_makes_a_victim_need_more_flips(digits, seed):
    """A tenth of the events is enough for nearly all recordings of the plain victim, and not of the hardened one."""
    data = load_images("digits", "train")
    events, test = (simulate_saccades(images, steps=4).to(torch.uint8) for images in (data.images, digits.images[:60]))
    settings = Training(updates=150, dropout=0, widest_dropout=0, validate_every=150, micro_batch=64, seed=seed)
    found = []
    for perturb in (None, FlipTraining(0.1)):
        net = SpikingNetwork("64FC-64FC-10FC", events.shape[2:], time_steps=4, neuron=LIF(0.3, 0.25), seed=seed)
        learn(net.on("event"), (events, data.labels), settings, perturb=perturb)
        found.append(robust_accuracy(net, test, digits.labels[:60], 0.1, seed=seed))
    assert found[1] > found[0] + 0.1, found
