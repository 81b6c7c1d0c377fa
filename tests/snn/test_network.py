import copy

import pytest
import torch
from asking import ask

from spikeflip import LIF, Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork
from spikeflip.snn.neuron import fire
from spikeflip.snn.presets import PRESETS
from spikeflip.snn.synapses import apply


def autograd_input_gradient(network, spikes, weight, *, threshold=None, window=None):
    """The generating pass with autograd: another penultimate threshold, another output window."""
    leaf = spikes.clone().requires_grad_()
    x = leaf
    for i, (layer, values) in enumerate(zip(network.layers, network.weights_by_layer(), strict=True)):
        neuron = network.neuron
        if threshold is not None and i == len(network.layers) - 2:
            neuron = neuron.fire_at(threshold)
        if window is not None and i == len(network.layers) - 1:
            neuron = LIF(neuron.threshold, neuron.decay, neuron.reset, Rectangular(window))
        x = fire(apply(layer, x, values), neuron)
    (x.mean(1) * weight).sum().backward()
    return leaf.grad


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("settings", [{}, {"threshold": 0.6}, {"window": 3.0}, {"threshold": 0.5, "window": 2.0}])
def test_engine_gradient_equals_autograd(deep_network, some_spikes, reset, settings):
    deep_network.neuron = LIF(0.3, 0.3, reset)
    spikes = some_spikes(5, 6, 2, 9, 9)
    weight = torch.randn(5, 10, generator=torch.Generator().manual_seed(1))
    expected = autograd_input_gradient(deep_network, spikes, weight, **settings)
    probe = deep_network.probe(spikes)
    assert torch.equal(probe.scores, deep_network(spikes))
    rows = torch.tensor([4, 0, 2])
    found = probe.input_gradient(
        lambda scores, rows: weight[rows],
        ask(rows, penultimate_threshold=settings.get("threshold"), output_window=settings.get("window")),
    )
    torch.testing.assert_close(found.values, expected[rows], rtol=1e-5, atol=1e-9)
    assert expected.abs().max() > 0


def test_engine_chunks_do_not_change_the_result(deep_network, some_spikes, monkeypatch):
    spikes = some_spikes(6, 6, 2, 9, 9)
    whole = deep_network.scores(spikes).clone()
    monkeypatch.setattr("spikeflip.snn.engines.dense._CHUNK_BYTES", 1)
    assert torch.equal(deep_network.scores(spikes), whole)


@pytest.mark.parametrize("engine", ["torch", "event"])
def test_equal_neighbours_run_once_and_get_their_own_gradients(deep_network, some_spikes, engine, monkeypatch):
    network = deep_network.on(engine)
    spikes = some_spikes(3, 6, 2, 9, 9)
    batch = spikes[[0, 0, 0, 1, 2, 2, 0]]
    ran = []
    forward = network.engine.forward
    monkeypatch.setattr(
        network.engine, "forward", lambda values, **options: (ran.append(len(values)), forward(values, **options))[1]
    )

    def towards(scores, rows):  # of each row, its own class
        return torch.eye(10)[rows]

    rows = torch.tensor([1, 2, 4, 5, 6])
    probe = network.probe(batch)
    found = probe.input_gradient(towards, ask(rows, penultimate_threshold=0.4)).values.clone()
    assert ran == [4]
    for k, row in enumerate(rows.tolist()):
        alone = network.probe(batch[row : row + 1])
        assert torch.allclose(probe.scores[row], alone.scores[0], atol=1e-6)
        own = alone.input_gradient(
            lambda scores, _, row=row: torch.eye(10)[[row]], ask(torch.tensor([0]), penultimate_threshold=0.4)
        )
        torch.testing.assert_close(found[k : k + 1], own.values, rtol=1e-4, atol=1e-8)
    assert not torch.equal(found[0], found[1])


def test_victim_is_stateless_and_untouched(deep_network, some_spikes):
    spikes = some_spikes(4, 6, 2, 9, 9)
    before = {name: value.clone() for name, value in deep_network.state_dict().items()}
    first = deep_network.scores(spikes).clone()
    deep_network.probe(some_spikes(4, 6, 2, 9, 9, seed=9)).input_gradient(
        lambda scores, rows: torch.ones_like(scores), ask(torch.arange(4), penultimate_threshold=2.0)
    )
    assert torch.equal(deep_network.scores(spikes), first)
    assert torch.equal(deep_network.scores(spikes[[2, 1]]), first[[2, 1]])
    assert all(parameter.grad is None for parameter in deep_network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in deep_network.state_dict().items())
    assert deep_network.penultimate_threshold == 0.3


def test_new_weights_are_seen(deep_network, some_spikes):
    spikes = some_spikes(2, 6, 2, 9, 9)
    before = deep_network.scores(spikes).clone()
    with torch.no_grad():
        deep_network.weights[-1].mul_(-1)
    assert not torch.equal(deep_network.scores(spikes), before)
    assert torch.equal(deep_network.scores(spikes), deep_network(spikes))


def test_output_vanishing_skips_the_rest(deep_network, some_spikes):
    probe = deep_network.probe(some_spikes(3, 6, 2, 9, 9))
    gradient = torch.tensor([[0.0] * 10, [1.0] * 10, [1.0] * 10])
    found = probe.input_gradient(lambda scores, rows: gradient[rows], ask(torch.arange(3), output_window=1e-6))
    assert found.loss_zero.tolist() == [True, False, False]
    assert found.output_zero.all()
    assert not found.values.any()


def test_one_layer_network_has_no_penultimate_threshold():
    network = SpikingNetwork("3FC", (4,))
    assert network.penultimate_threshold is None
    probe = network.probe(torch.ones(1, 2, 4))
    with pytest.raises(SpikeflipError, match=r"penultimate threshold is 1\.0, but the network has no layer"):
        probe.input_gradient(lambda s, r: s, ask(torch.arange(1), penultimate_threshold=1.0))


def test_same_seed_same_weights_and_no_global_random_state():
    state = torch.random.get_rng_state()
    one, two = (SpikingNetwork("8C3-10FC", (1, 8, 8), seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.weights, two.weights, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_relu_twin_computes_what_torch_layers_compute():
    spiking = SpikingNetwork("4C3-AP2-6FC-3FC", (2, 6, 6), seed=1)
    twin = ReluNetwork.twin_of(spiking)
    conv, hidden, last = (weight.detach() for weight in spiking.weights)
    images = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.avg_pool2d(torch.conv2d(images, conv, padding=1).relu(), 2)
    expected = (x.flatten(1) @ hidden.T).relu() @ last.T
    torch.testing.assert_close(twin(images), expected)


def test_presets_build_at_quarter_width(some_spikes):
    for preset in PRESETS.values():
        network = SpikingNetwork(preset.architecture, preset.input_shape, width=0.25, neuron=preset.neuron)
        assert network.scores(some_spikes(1, 2, *preset.input_shape)).shape == (1, network.classes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"time_steps": 0}, "time_steps is 0: give at least 1"),
        ({"time_steps": 2.5}, "time_steps is 2.5: give a whole number"),
        ({"time_steps": "4"}, "time_steps is '4': give a whole number"),
        ({"seed": -1}, "seed is -1: give a whole number from 0 to 2"),
        ({"input_shape": 4}, r"input_shape is 4: give a tuple, such as \(1, 28, 28\) or \(20,\)"),
    ],
)
def test_what_no_network_can_be_made_of(given, said):
    with pytest.raises(SpikeflipError, match=said):
        SpikingNetwork("3FC", **{"input_shape": (4,)} | given)


def test_spikes_that_are_no_tensor():
    with pytest.raises(SpikeflipError, match="inputs are a ndarray: give a tensor"):
        SpikingNetwork("3FC", (4,)).scores(torch.ones(1, 2, 4).numpy())


@pytest.mark.parametrize("engine", ["torch", "event"])
@pytest.mark.parametrize("shape", [(2, 5, 1, 64, 64), (2, 5, 3, 8, 8), (2, 5, 1, 4, 4), (2, 1, 8, 8), (2, 0, 1, 8, 8)])
def test_spikes_of_another_shape(engine, shape):
    victim = SpikingNetwork("8C3-AP2-10FC", (1, 8, 8)).on(engine)
    for run in (victim.scores, victim.probe):
        with pytest.raises(SpikeflipError, match=r"spikes have shape \(2, .*takes \(N, T, 1, 8, 8\)"):
            run(torch.ones(shape))


@pytest.mark.parametrize("engine", ["torch", "event"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8, torch.bool])
def test_spikes_of_any_type(deep_network, some_spikes, engine, dtype):
    victim, spikes = deep_network.on(engine), some_spikes(3, 6, 2, 9, 9)
    assert torch.equal(victim.scores(spikes.to(dtype)), victim.scores(spikes))


@pytest.mark.parametrize("engine", ["torch", "event"])
def test_a_network_that_ran_can_be_copied(deep_network, some_spikes, engine):
    victim, spikes = deep_network.on(engine), some_spikes(3, 6, 2, 9, 9)
    scores = victim.scores(spikes)
    other = copy.deepcopy(victim)
    with torch.no_grad():
        victim.weights[0].zero_()
    assert torch.equal(other.scores(spikes), scores)
    assert not torch.equal(victim.scores(spikes), scores)


def test_a_relu_network_of_double_precision_takes_images_of_single():
    twin = ReluNetwork("4C3-AP2-6FC-3FC", (2, 6, 6), seed=1).double()
    images = torch.rand(3, 1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(twin.scores(images), twin.scores(images.double()))
    assert torch.equal(twin.probe(images).scores, twin.scores(images))
