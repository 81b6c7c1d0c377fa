"""Every cell of an input is looked at, wherever it is, and what is wrong is named with its place."""

import itertools
import math
import re

import pytest
import torch

from spikeflip import Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork
from spikeflip.snn import measure_firing
from spikeflip.snn.validation import check_classes, check_counts, check_goals, check_streams, check_values, kind_of

SHAPE = (3, 2, 2)
PLACES = list(itertools.product(*map(range, SHAPE)))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["images", "spikes"])
def test_one_wrong_cell_is_found_wherever_it_is(kind, place):
    for value in (math.nan, math.inf, -math.inf, 1.5, -0.25, *((0.5,) if kind == "spikes" else ())):
        inputs = torch.ones(SHAPE)
        inputs[place] = value
        said = f"inputs hold the value {value}" if not math.isfinite(value) else f"{kind} hold the value {value:g} at "
        with pytest.raises(SpikeflipError, match=re.escape(said)) as error:
            check_values(inputs, kind)
        if math.isfinite(value):
            assert f" at {place}: " in str(error.value)


def test_right_values_are_taken():
    check_values(torch.tensor([[0.0, 0.3, 1.0]]), "images")
    check_values(torch.tensor([[0.0, 0.3, 1.0]], dtype=torch.float64), "images")
    for dtype in (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int64, torch.bool):
        check_values(torch.tensor([[0, 1]]).to(dtype), "spikes")
    for dtype in (torch.float16, torch.uint8):
        with pytest.raises(SpikeflipError, match=f"images are of type {dtype}"):
            check_values(torch.zeros(1, 2).to(dtype), "images")


def test_images_and_spikes_are_told_apart_by_their_shape():
    assert kind_of(torch.zeros(5, 2, 3, 3), (2, 3, 3)) == "images"
    assert kind_of(torch.zeros(5, 1, 2, 3, 3), (2, 3, 3)) == "spikes"
    for coding, shape in (("rate", (5, 2, 3)), ("rate", (5, 0, 2, 3, 3)), ("direct", (5, 1, 2, 3, 3))):
        with pytest.raises(SpikeflipError, match=re.escape(f"inputs have shape {shape}")):
            kind_of(torch.zeros(shape), (2, 3, 3), coding)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_one_wrong_label_target_or_id_is_found_wherever_it_is(at):
    good = torch.tensor([0, 1, 2])
    for wrong in (-1, 3):
        bad = good.clone()
        bad[at] = wrong
        with pytest.raises(SpikeflipError, match=f"label {wrong} is out of range: the network has classes 0 to 2"):
            check_classes("label", bad, 3, 3)
    targets = (good + 1) % 3
    check_goals(good, targets, 3, 3)
    targets[at] = good[at]
    with pytest.raises(SpikeflipError, match=f"the target of sample {at} is its label, {at}"):
        check_goals(good, targets, 3, 3)
    ids = torch.tensor([0, 5, 2])
    check_streams(2**64 - 1, ids, 3)
    ids[at] = -4
    with pytest.raises(SpikeflipError, match="samples hold the id -4"):
        check_streams(0, ids, 3)


def test_counts_begin_at_one():
    check_counts(draws=1, steps=7)
    for wrong, said in ((0, "steps is 0: give at least 1"), (1.5, "steps is 1.5: give a whole number")):
        with pytest.raises(SpikeflipError, match=said):
            check_counts(draws=1, steps=wrong)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            1.0000002,
            r"images hold the value 1\.0000002\d* at \(0, 1\): it is rounded beyond the range, give inputs\.clamp",
        ),
        (-1e-9, r"images hold the value -1e-09 at \(0, 1\): it is rounded beyond the range, give inputs\.clamp"),
        (1.1, r"images hold the value 1\.1 at \(0, 1\): scale them"),
    ],
)
def test_a_pixel_a_little_beyond_the_range_is_told_from_those_inside(value, said):
    with pytest.raises(SpikeflipError, match=said):
        check_values(torch.tensor([[1.0, value]]), "images")


def test_a_spike_that_is_almost_one_is_told_from_one():
    with pytest.raises(SpikeflipError, match=r"spikes hold the value 0\.9999999\d* at \(0, 1\): binarise"):
        check_values(torch.tensor([[1.0, 0.99999994]]), "spikes")


@pytest.mark.parametrize("made", [SpikingNetwork, ReluNetwork])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"architecture": None}, "architecture is None: give a string"),
        ({"architecture": ["8FC", "5FC"]}, r"architecture is \['8FC', '5FC'\]: give a string"),
        ({"input_shape": (20.0,)}, r"input_shape is \(20\.0,\): give a tuple"),
        ({"width": "0.5"}, "width is '0.5': give a positive factor"),
    ],
)
def test_what_no_network_can_be_made_of(made, wrong, said):
    with pytest.raises(SpikeflipError, match=said):
        made(**{"architecture": "8FC-5FC", "input_shape": (20,)} | wrong)


def test_constants_of_neurons_that_are_none():
    with pytest.raises(SpikeflipError, match=r"neuron is 0\.3: give the constants of all neurons, such as LIF"):
        SpikingNetwork("5FC", (20,), neuron=0.3)
    with pytest.raises(SpikeflipError, match="surrogate width is '1': give a positive number"):
        Rectangular("1")


def test_what_a_network_cannot_be_called_with():
    network, twin = SpikingNetwork("8FC-5FC", (20,)), ReluNetwork("8FC-5FC", (20,))
    images = torch.rand(4, 20)
    for call in (network, lambda x: measure_firing(network, x)):
        with pytest.raises(SpikeflipError, match=r"spikes have shape \(4, 20\).*code images first"):
            call(images)
    for call in (network, lambda x: measure_firing(network, x), twin.scores, twin.probe):
        with pytest.raises(SpikeflipError, match="inputs are a ndarray: give a tensor"):
            call(images.numpy())
    with pytest.raises(SpikeflipError, match=r"spikes have shape \(0, 5, 20\): give at least one sample"):
        measure_firing(network, torch.zeros(0, 5, 20))
    with pytest.raises(SpikeflipError, match="a Linear has no ReLU twin: give a SpikingNetwork"):
        ReluNetwork.twin_of(torch.nn.Linear(20, 5))
