"""No more is held at a time than the limits allow for, and nothing that is computed depends on it."""

import os

import pytest
import torch

from spikeflip import LIF, SpikeflipError, SpikingNetwork, judge, limits, scg
from spikeflip.runs.devices import placed
from spikeflip.snn import startup
from spikeflip.snn.startup import scale_weights
from spikeflip.snn.training import Training, train
from spikeflip.snn.validation import at_a_time


@pytest.fixture
def network():
    return SpikingNetwork("4C3-AP2-3FC", (1, 6, 6), time_steps=5, neuron=LIF(0.3, 0.3), seed=4)


CELLS = 5 * (36 + 144 + 36 + 3)


def test_images_and_spikes_are_counted_in_neurons_and_inputs(network, monkeypatch):
    images, spikes = torch.rand(9, 1, 6, 6), torch.zeros(9, 10, 1, 6, 6)
    assert (at_a_time(network, images, 16), at_a_time(network, spikes, 16)) == (16, 16)
    monkeypatch.setattr(limits, "MOST_CELLS", 4 * CELLS)
    assert (at_a_time(network, images, 16), at_a_time(network, spikes, 16)) == (4, 2)
    monkeypatch.setattr(limits, "MOST_CELLS", 1)
    assert at_a_time(network, images, 16) == 1


def test_an_attack_and_its_judge_hold_fewer_and_find_the_same(network, monkeypatch):
    images = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    labels = network.scores(torch.ones(12, 5, 1, 6, 6)).argmax(1)

    def found():
        result = scg(network, images, labels, steps=3)
        return result.adversarials, judge(network, images, result.adversarials, labels, None, result, draws=7).rows

    adversarials, rows = found()
    sizes, forward = [], type(network.engine).forward

    def counted(engine, spikes, **options):
        sizes.append(len(spikes))
        return forward(engine, spikes, **options)

    monkeypatch.setattr(type(network.engine), "forward", counted)
    monkeypatch.setattr(limits, "MOST_CELLS", 3 * CELLS)
    fewer, same = found()
    assert max(sizes) == 3
    assert torch.equal(fewer, adversarials)
    assert all(torch.equal(same[name], rows[name]) for name in rows)


@pytest.mark.parametrize("kept", [1 << 26, 0])
@pytest.mark.parametrize("of_stimulated", [True, False])
def test_scaled_weights_do_not_depend_on_the_micro_batch(monkeypatch, kept, of_stimulated):
    """Whether the spikes below a layer are kept, or made again."""
    spikes = (torch.rand(13, 5, 2, 9, 9, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    nets = [SpikingNetwork("6C3-AP2-8C3-AP2-12FC-4FC", (2, 9, 9), time_steps=5, seed=2) for _ in range(3)]
    scale_weights(nets[0], spikes, 0.1, of_stimulated=of_stimulated, micro_batch=13)
    monkeypatch.setattr(startup, "MOST_CELLS", kept)
    for net, micro_batch in zip(nets[1:], (5, 1), strict=True):
        scale_weights(net, spikes.to(torch.uint8), 0.1, of_stimulated=of_stimulated, micro_batch=micro_batch)
        assert all(torch.equal(a, b) for a, b in zip(net.weights, nets[0].weights, strict=True))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("of_stimulated", [True, False])
def test_the_value_that_a_share_reaches_is_exact(share, of_stimulated):
    values = torch.randn(5_000, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    values[::3] = 0
    counted = values[values != 0] if of_stimulated else values
    expected = float(counted.sort(descending=True).values[max(1, round(share * len(counted))) - 1])
    found = startup._reached(lambda: values.split(700), share, of_stimulated=of_stimulated)
    assert found == max(expected, 0.0)
    assert startup._reached(lambda: [torch.zeros(4)], share, of_stimulated=of_stimulated) == 0


def test_before_training_no_more_run_than_the_micro_batch(network, monkeypatch):
    sizes, current = [], type(network.engine).current

    def counted(engine, layer, spikes):
        sizes.append(len(spikes))
        return current(engine, layer, spikes)

    monkeypatch.setattr(type(network.engine), "current", counted)
    data = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    train(network, data, (data[0][:0], data[1][:0]), Training(updates=1, batch_size=4, micro_batch=2))
    assert max(sizes) == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_saved_training_that_is_no_plain_file_is_refused(network, tmp_path, make):
    make(tmp_path / "training.safetensors")
    data = torch.rand(4, 1, 6, 6), torch.arange(4) % 3
    with pytest.raises(SpikeflipError, match=r"training\.safetensors is damaged \(it is no plain file\)"):
        train(network, data, data, Training(updates=1), state=tmp_path / "training.safetensors")


@pytest.mark.parametrize("device", ["meta", "hpu", "privateuseone", "mps", "cuda:x", "CPU", "cpu:0:0", "", "a\nb"])
def test_devices_that_no_attack_runs_on_are_refused(network, device):
    with pytest.raises(SpikeflipError, match=r"--device is .*: choose cpu, cuda or cuda:N"):
        placed(network, device)
