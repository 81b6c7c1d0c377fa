import pytest
import torch

from spikeflip import LIF, Rectangular, SpikeflipError, SpikingNetwork, judge, scg
from spikeflip.snn.coding import bernoulli, encode, latency, winner
from spikeflip.snn.training import Training, accuracy, train
from spikeflip.streams import _PURPOSES, stream, uniform


def test_rates_approach_intensities():
    images = torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0]])
    rates = bernoulli(images, 20000, seed=0, samples=torch.tensor([3])).mean(1)[0]
    assert rates[0] == 0
    assert rates[-1] == 1
    deviation = (images[0] * (1 - images[0]) / 20000).sqrt()
    assert ((rates - images[0]).abs() <= 4 * deviation).all()


def test_streams_do_not_depend_on_the_batch():
    ids = torch.tensor([5, 2, 9])
    together = uniform(1, ids, "sample", torch.tensor([0, 3, 1]), (4, 2))
    for row, sample, step in zip(together, ids, (0, 3, 1), strict=True):
        assert torch.equal(uniform(1, sample.reshape(1), "sample", step, (4, 2))[0], row)


def test_streams_differ_by_every_part_of_their_name():
    names = [(0, 0, "encode", 0), (1, 0, "encode", 0), (0, 1, "encode", 0), (0, 0, "flip", 0), (0, 0, "encode", 1)]
    assert len({float(stream(*name).random()) for name in names}) == len(names)


def test_stream_is_the_documented_one():
    # Fixed for ever: adversarials of the same seed must not change between versions.
    assert [round(float(x), 6) for x in stream(7, 11, "encode", 2).random(3)] == [0.477017, 0.7471, 0.293735]


def test_purposes_keep_their_numbers():
    """Each is part of a stream's name, so a saved run with another could never be computed again."""
    names = ("encode", "sample", "flip", "judge", "train", "batch", "weights", "dropout", "shift", "write", "search")
    numbers = {name: number for number, name in enumerate((*names, "noise"))}
    assert numbers.items() <= _PURPOSES.items()
    assert len(set(_PURPOSES.values())) == len(_PURPOSES)


def test_encode_passes_spikes():
    spikes = torch.ones(2, 3, 4, dtype=torch.uint8)
    assert torch.equal(encode(spikes, (4,), 3, seed=0, samples=torch.arange(2)), spikes.float())


def test_a_brighter_pixel_fires_earlier_and_once():
    images = torch.tensor([[1.0, 0.8, 0.74, 0.26, 0.01, 0.0]])
    spikes = latency(images, 5)[0]
    assert spikes.argmax(0).tolist() == [0, 1, 1, 3, 4, 0]  # (1 - p) * 4 = 0, 0.8, 1.04, 2.96, 3.96
    assert spikes.sum(0).tolist() == [1, 1, 1, 1, 1, 0]
    assert torch.equal(latency(images, 1)[0], (images > 0).float())
    assert latency(images.double(), 5).dtype == torch.float64


def test_halves_of_a_step_go_to_the_even_one():
    # (1 - p) * 4 = 0.5, 1.5, 2.5, 3.5
    images = torch.tensor([[0.875, 0.625, 0.375, 0.125]])
    assert latency(images, 5)[0].argmax(0).tolist() == [0, 2, 2, 4]
    maps = images.reshape(1, 1, 2, 2)  # of any shape
    assert torch.equal(latency(maps, 5), latency(images, 5).reshape(1, 5, 1, 2, 2))


def test_an_encoding_is_named_by_its_sample_purpose_and_step():
    images, ids, steps = torch.full((2, 3), 0.5), torch.tensor([4, 9]), torch.tensor([2, 6])
    for purpose in ("encode", "judge"):
        for step in (steps, 3):
            found = encode(images, (3,), 5, seed=8, samples=ids, purpose=purpose, step=step)
            for n, sample in enumerate(ids.tolist()):
                numbers = stream(8, sample, purpose, 3 if step is not steps else int(step[n])).random(
                    (5, 3), dtype="float32"
                )
                assert torch.equal(found[n], (torch.from_numpy(numbers) < 0.5).float())
    assert torch.equal(encode(images, (3,), 5, seed=8, samples=ids), bernoulli(images, 5, seed=8, samples=ids))


def test_only_rate_coding_draws():
    images, ids = torch.tensor([[0.0, 0.3, 0.7]]), torch.tensor([0])
    assert torch.equal(encode(images, (3,), 4, seed=0, samples=ids, coding="latency"), latency(images, 4))
    direct = encode(images, (3,), 4, seed=0, samples=ids, coding="direct")
    assert torch.equal(direct, images.expand(4, 3).unsqueeze(0))
    drawn = bernoulli(images, 4, seed=0, samples=ids)
    assert torch.equal(encode(images, (3,), 4, seed=0, samples=ids), drawn)
    spikes = torch.ones(1, 2, 3)
    assert all(encode(spikes, (3,), 4, seed=0, samples=ids, coding=c) is spikes for c in ("rate", "latency", "direct"))


def by_latency():
    """Two output neurons of one pixel each: the one whose pixel is bright enough to fire in time wins."""
    network = SpikingNetwork(
        "2FC", (2,), time_steps=3, neuron=LIF(0.5, 0.5, "none", Rectangular(4.0)), coding="latency"
    )
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(2))
    return network


def test_the_victim_says_how_images_become_spikes():
    # A spike of 1 at step 0 keeps the potential at 1, 0.5, 0.25: two outputs. At step 2 there is one.
    images = torch.tensor([[1.0, 0.1], [0.1, 1.0]])
    victim = by_latency()
    assert accuracy(victim, images, torch.tensor([0, 1])) == 1
    labels = torch.tensor([0, 1])
    result = scg(victim, images, labels, threshold=None, loss="ce", steps=4)
    judgement = judge(victim, images, result.adversarials, labels, None, result, draws=50)
    assert result.success.all()
    assert judgement.draws == 1
    assert torch.equal(judgement.rows["verified"], judgement.rows["success"].double())


def test_what_nothing_moves_is_given_up_where_no_encoding_is_fresh():
    images, labels = torch.tensor([[1.0, 0.1]]), torch.tensor([0])
    zero = {"threshold": None, "loss": lambda scores, classes: scores.sum(1) * 0, "flipper": False, "steps": 9}
    assert scg(by_latency(), images, labels, **zero).forwards.tolist() == [1]
    by_rate = by_latency()
    by_rate.coding = "rate"
    assert scg(by_rate, torch.tensor([[1.0, 0.0]]), labels, **zero).forwards.tolist() == [10]


def test_training_sees_latencies():
    images = torch.rand(24, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(24) % 2
    settings = Training(updates=5, batch_size=8, initial_rate=0.2, validate_every=5)

    def trained(inputs, coding):
        network = SpikingNetwork("12FC-2FC", (1, 4, 4), time_steps=6, coding=coding)
        history = train(network, (inputs, labels), (inputs, labels), settings)
        return [*network.weights], history

    weights, history = trained(images, "latency")
    from_spikes, same_history = trained(latency(images, 6), "rate")
    assert history == same_history
    assert all(map(torch.equal, weights, from_spikes))
    assert not torch.equal(weights[0], trained(images, "rate")[0][0])


def test_a_state_of_another_coding_is_refused(tmp_path):
    images, labels = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    settings = Training(updates=1, batch_size=4)
    train(SpikingNetwork("2FC", (4,)), (images, labels), (images, labels), settings, state=tmp_path / "state")
    other = SpikingNetwork("2FC", (4,), coding="latency")
    with pytest.raises(SpikeflipError, match="holds the unfinished training of another"):
        train(other, (images, labels), (images, labels), settings, state=tmp_path / "state")


def test_spiking_networks_do_not_take_images_as_they_are():
    with pytest.raises(SpikeflipError, match="coding is 'direct': choose rate or latency"):
        SpikingNetwork("2FC", (2,), coding="direct")


def test_winner_of_a_tie_is_nobody():
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.2, 0.5], [0.1, 0.3, 0.2]])
    assert winner(scores).tolist() == [-1, -1, 1]
