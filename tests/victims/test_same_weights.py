"""The same weights as a SpikingNetwork and as models of the frameworks: the same scores, the same adversarials.

The frameworks' neurons are set so that they are the paper's: decay 1/2, reset to zero with a gradient, one
surrogate. Weights are multiples of 1/64, potentials after 6 steps of 1/2048, and thresholds lie between those: no
rounding and no potential at the threshold (SpikingJelly fires there, snnTorch and Norse do not) can make a difference.
"""

import pytest
import torch
from asking import ask, gradient
from equations import spikes
from norse_styles import norse_parameters
from spikingjelly_styles import sj
from torch import nn

from spikeflip import LIF, Rectangular, SpikeflipError, SpikingNetwork, scg
from spikeflip.attacks import pgd
from spikeflip.snn.memory import Memory
from spikeflip.victims import wrap

THRESHOLD, HIGHER = 1233 / 4096, 2255 / 4096
SURROGATE = Rectangular(1.0)


@pytest.fixture(scope="module")
def network():
    own = SpikingNetwork("16FC-5FC", (20,), time_steps=6, neuron=LIF(THRESHOLD, 0.5, "hard", SURROGATE), seed=2)
    with torch.no_grad():
        for weight in own.weights:
            weight.copy_((weight * 2 * 64).round() / 64)
    return own


def spikingjelly(first, second):
    pytest.importorskip("spikingjelly")
    functional, _, neuron = sj()

    def lif():
        return neuron.LIFNode(tau=2.0, decay_input=False, v_threshold=THRESHOLD)

    model = nn.Sequential(first, lif(), second, lif())
    functional.set_step_mode(model, "m")
    return model, {}


def snntorch(first, second):
    snn = pytest.importorskip("snntorch")

    def leaky():  # without the delay, the reset has a gradient
        return snn.Leaky(0.5, threshold=THRESHOLD, reset_mechanism="zero", reset_delay=False, init_hidden=True)

    return nn.Sequential(first, leaky(), second, leaky()), {"layout": "steps"}


def norse(first, second):
    module = pytest.importorskip("norse.torch")
    # A synapse without memory, and a step of half the membrane's time constant, which also halves the input.
    p = norse_parameters(THRESHOLD)._replace(
        tau_syn_inv=torch.tensor(1.0), tau_mem_inv=torch.tensor(0.5), v_leak=torch.tensor(0.0)
    )
    with torch.no_grad():
        first.weight *= 2
        second.weight *= 2
    return module.SequentialState(first, module.LIF(p, dt=1.0), second, module.LIF(p, dt=1.0)), {"output": 0}


@pytest.fixture(params=[spikingjelly, snntorch, norse], ids=lambda build: build.__name__)
def victim(request, network):
    first, second = nn.Linear(20, 16, bias=False), nn.Linear(16, 5, bias=False)
    first.weight.data.copy_(network.weights[0].detach())
    second.weight.data.copy_(network.weights[1].detach())
    model, options = request.param(first, second)
    return wrap(model, spikes(4, 6, 20), surrogate=SURROGATE, **options)


@pytest.mark.frameworks
def test_same_scores(network, victim):
    inputs = spikes(50, 6, 20, seed=3)
    assert torch.equal(victim.scores(inputs), network.scores(inputs))
    assert victim.scores(inputs).unique().numel() > 3
    assert victim.penultimate_threshold == network.penultimate_threshold
    assert (victim.classes, victim.input_shape, victim.time_steps, victim.coding) == (5, (20,), 6, "rate")


@pytest.mark.frameworks
@pytest.mark.parametrize("options", [{"threshold": None}, {"threshold": HIGHER}, {"output_window": 2.0}])
def test_same_gradients(network, victim, options):
    inputs, rows = spikes(50, 6, 20, seed=3), torch.arange(50)
    options = {"penultimate_threshold" if key == "threshold" else key: value for key, value in options.items()}
    found, wanted = (
        v.probe(inputs).input_gradient(lambda s, r: s - 0.5 * (r % 5 == 0)[:, None], ask(rows, **options))
        for v in (victim, network)
    )
    torch.testing.assert_close(found.values, wanted.values, atol=1e-7, rtol=1e-5)
    assert torch.equal(found.loss_zero, wanted.loss_zero)
    assert torch.equal(found.output_zero, wanted.output_zero)
    assert torch.equal(found.penultimate_spikes, wanted.penultimate_spikes)
    assert wanted.values.any()


@pytest.mark.frameworks
@pytest.mark.parametrize("how", ["straight-through", "pdsg", "assg", "windowed", "rga", "hart"])
def test_same_estimates(network, victim, how):
    """Over several steps, with what is kept from one to the next; or refused."""
    by_steps = victim.calling.layout == "steps"
    if how in ("rga", "hart") or (how == "windowed" and not by_steps):
        with pytest.raises(SpikeflipError, match="choose bptt, straight-through, pdsg or assg"):
            gradient(victim, spikes(4, 6, 20), how)
        return
    memories = Memory(50), Memory(50)
    for seed, threshold in ((3, None), (4, HIGHER), (5, None)):
        inputs = spikes(50, 6, 20, seed=seed)
        found, wanted = (
            gradient(v, inputs, how, memory=memory, threshold=threshold)
            for v, memory in zip((victim, network), memories, strict=True)
        )
        assert wanted.values.any()
        assert (found.values - wanted.values).abs().max() < 2e-6 * wanted.values.abs().max()
        assert torch.equal(found.output_zero, wanted.output_zero)
        assert torch.equal(found.penultimate_spikes, wanted.penultimate_spikes)
        assert torch.equal(victim.scores(inputs), network.scores(inputs))


@pytest.mark.frameworks
@pytest.mark.parametrize(("attack", "how"), [(pgd, "assg"), (scg, "pdsg"), (scg, "assg")])
def test_attacks_by_estimators(network, victim, attack, how):
    inputs, options = spikes(12, 6, 20, seed=4), {"threshold": HIGHER}
    labels = network.scores(inputs).argmax(1)
    if attack is pgd:
        inputs, options = torch.rand(12, 20, generator=torch.Generator().manual_seed(2)), {}
    one, two = (attack(v, inputs, labels, steps=6, seed=1, gradient=how, **options) for v in (network, victim))
    assert torch.equal(one.adversarials, two.adversarials)
    assert torch.equal(one.success, two.success)
    assert one.success.any()
    assert one.steps.max() > 2


@pytest.mark.frameworks
@pytest.mark.parametrize("threshold", [None, HIGHER])
@pytest.mark.parametrize("goal", ["untargeted", "targeted"])
def test_same_adversarials(network, victim, threshold, goal):
    inputs = spikes(12, 6, 20, seed=4)
    labels = network.scores(inputs).argmax(1)
    targets = (labels + 1) % 5 if goal == "targeted" else None
    one, two = (
        scg(v, inputs, labels, targets, steps=6, threshold=threshold, seed=1, micro_batch=5) for v in (network, victim)
    )
    assert torch.equal(one.adversarials, two.adversarials)
    for name in ("success", "steps", "vanished", "first_vanishing", "prediction", "backwards"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert one.success.any()


@pytest.mark.frameworks
def test_images_are_rate_coded_for_it(network, victim):
    images = torch.rand(6, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(6, dtype=torch.int64)
    one, two = (scg(v, images, labels, steps=3, seed=1) for v in (network, victim))
    assert torch.equal(one.adversarials, two.adversarials)
