import torch

from spikeflip.snn.coding import bernoulli, encode, winner
from spikeflip.streams import stream, uniform


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


def test_encode_passes_spikes():
    spikes = torch.ones(2, 3, 4, dtype=torch.uint8)
    assert torch.equal(encode(spikes, (4,), 3, seed=0, samples=torch.arange(2)), spikes.float())


def test_winner_of_a_tie_is_nobody():
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.2, 0.5], [0.1, 0.3, 0.2]])
    assert winner(scores).tolist() == [-1, -1, 1]
