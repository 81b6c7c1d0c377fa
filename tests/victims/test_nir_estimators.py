"""Estimators of gradients on NIR graphs: those of our own networks that were saved as such."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from asking import away, gradient, same
from nir_graphs import DT, chain, full, graph, load, make, network, nir, numbers, spikes

from spikeflip import LIF, Rectangular, SpikeflipError
from spikeflip.attacks import pgd, scg
from spikeflip.snn.estimators import ESTIMATORS, estimator
from spikeflip.snn.gradients import BPTT, LayerPass
from spikeflip.snn.memory import Memory
from spikeflip.snn.surrogate import Triangular
from spikeflip.victims import load_nir, save_nir

pytestmark = pytest.mark.frameworks

NAMES = [name for name in ESTIMATORS if name != "bptt"]


def both(tmp_path, architecture="16FC-12FC-5FC", shape=(20,), **neuron):
    own = network(architecture, shape, **neuron)
    save_nir(own, tmp_path / "own.nir")
    victim = load_nir(tmp_path / "own.nir")
    victim.model.double()
    return victim, own.double()


@pytest.mark.parametrize("how", [*NAMES, "hart:0.3", "windowed:4"])
@pytest.mark.parametrize(
    ("architecture", "shape", "neuron"),
    [
        ("6C3-AP2-4C3-AP3-12FC-5FC", (2, 15, 17), {}),
        ("16FC-12FC-5FC", (20,), {"decay": 0.77, "threshold": 0.41, "surrogate": Triangular(0.7)}),
        ("16FC-5FC", (20,), {"decay": 1.0}),
    ],
)
def test_every_estimator_is_that_of_an_own_network(tmp_path, how, architecture, shape, neuron):
    victim, own = both(tmp_path, architecture, shape, **neuron)
    inputs = spikes(8, 6, *shape, density=0.4).double()
    scores = victim.scores(inputs)
    assert torch.equal(scores, own.scores(inputs))
    same(victim, own, inputs, how)
    same(victim, own, inputs, how, threshold=1.0)
    same(victim, own, inputs, how, rows=torch.tensor([4, 1, 1, 7]))
    same(victim, own, inputs, estimator(how, output_window=0.4))
    memories = Memory(8), Memory(8)
    for _ in range(3):
        one, two = (
            gradient(v, inputs, how, memory=memory, direction=lambda s, r: away(s, r) * (r % 3 > 0)[:, None]).values
            for v, memory in zip((victim, own), memories, strict=True)
        )
        torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-9)
    assert torch.equal(victim.scores(inputs), scores)


@pytest.mark.parametrize("how", NAMES)
def test_attacks_are_those_of_an_own_network(tmp_path, how):
    victim, own = both(tmp_path)
    inputs = spikes(8, 6, 20).double()
    labels, images = own.scores(inputs).argmax(1), torch.rand(8, 20, generator=torch.Generator().manual_seed(0))
    for attack, given in ((scg, inputs), (pgd, images)):
        one, two = (attack(v, given, labels, steps=5, gradient=how, seed=1) for v in (victim, own))
        assert torch.equal(one.adversarials, two.adversarials)
        assert torch.equal(one.success, two.success)


def test_a_surrogate_of_the_victim_is_that_of_windows(tmp_path):
    victim, _ = both(tmp_path)
    inputs, wide = spikes(8, 6, 20).double(), Rectangular(3.0)
    found = gradient(victim.with_surrogate(wide), inputs, "windowed").values
    assert torch.equal(found, gradient(victim, inputs, BPTT(surrogate=wide, window=2)).values)
    assert not torch.equal(found, gradient(victim, inputs, "windowed").values)


def neurons(kind="LIF", n=5, **values):
    known = {"tau": full(n, 2 * DT), "r": full(n, 2.0), "v_leak": full(n, 0.0), "v_threshold": full(n, 0.25)}
    return make(getattr(nir, kind), **(known | values))


def model(tmp_path, *middle, n=5, **options):
    nodes = (nir.Linear(numbers(5, 6, seed=1)), *middle, nir.Linear(numbers(3, 5, seed=2)), neurons(n=3))
    victim = load(tmp_path, chain(*nodes), **options)
    victim.model.double()
    return victim


def potentials(current, reset):
    """Of neurons that fire above 0.25, with decay 1/2."""
    mem, found = torch.zeros_like(current[:, 0]), []
    for t in range(current.shape[1]):
        found.append(mem / 2 + current[:, t])
        fired = found[-1] > 0.25
        mem = found[-1] - 0.25 * fired if reset == "soft" else found[-1] * ~fired
    return torch.stack(found, 1)


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("how", ["rga", "hart", "windowed:3", "windowed:1"])
def test_graphs_of_others(tmp_path, how, reset):
    """Layer by layer backwards; potentials that equal a threshold do not fire, and weights make many of these."""
    dt = 2.0**-13
    given, last = (nir.Linear((numbers(*shape, seed=1) * 8).round() / 8) for shape in ((5, 6), (3, 5)))
    lifs = [neurons(n=n, tau=full(n, 2 * dt), r=full(n, r)) for n, r in ((5, 2.0), (3, 4.0))]
    victim = load(tmp_path, chain(given, lifs[0], last, lifs[1]), reset=reset, dt=dt)
    victim.model.double()
    inputs = spikes(8, 7, 6).double()
    neuron = LIF(float(np.nextafter(0.25, 1)), 0.5, reset, Rectangular(1.0), centre=0.25)
    one, two = torch.from_numpy(given.weight).double(), 2 * torch.from_numpy(last.weight).double()
    u = potentials(inputs @ one.T, reset)
    v = potentials((u > 0.25).double() @ two.T, reset)
    assert (u == 0.25).any()
    scores = (v > 0.25).double().mean(1)
    assert torch.equal(victim.scores(inputs), scores)
    g = away(scores, torch.arange(8))[:, None].expand_as(v).clone() / 7
    g = estimator(how).reverse(g, LayerPass(1, v, neuron, True, Memory(8))) @ two
    g = estimator(how).reverse(g, LayerPass(0, u, neuron, False, Memory(8))) @ one
    assert g.any()
    torch.testing.assert_close(gradient(victim, inputs, how).values, g, atol=1e-12, rtol=1e-9)


def loop():
    nodes = {
        "input": nir.Input(np.array([6])),
        "in": nir.Linear(numbers(5, 6, seed=1)),
        "lif": neurons(),
        "back": nir.Linear(numbers(5, 5, seed=3)),
        "out": nir.Linear(numbers(3, 5, seed=2)),
        "last": neurons(n=3),
        "output": nir.Output(np.array([3])),
    }
    path = ["input", "in", "lif", "out", "last", "output"]
    return graph(nodes, [*pairwise(path), ("lif", "back"), ("back", "lif")])


def test_refusals(tmp_path):
    two = np.array([0.2, 0.3, 0.2, 0.3, 0.2], np.float32)
    cases = {
        "carries something from step to step as well": loop(),
        "node 'n1' of the graph": [nir.LI(full(5, 2 * DT), full(5, 2.0), full(5, 0.0)), neurons()],
        "its neurons differ in their constants": [neurons(v_threshold=two)],
        "its neurons rest or are reset elsewhere than at 0": [neurons(v_leak=full(5, 0.1))],
        "it has no potential that decays": [neurons(), nir.Linear(numbers(5, 5, seed=4)), nir.Threshold(full(5, 0.2))],
        "it has synapses that remember": [cuba()],
    }
    inputs = spikes(8, 7, 6).double()
    for said, what in cases.items():
        if isinstance(what, list):
            victim = model(tmp_path, *what)
        else:
            victim = load(tmp_path, what)
            victim.model.double()
        for how in ("rga", "hart", "windowed"):
            with pytest.raises(
                SpikeflipError, match=r"cuts or averages the gradient over time in layer '.*, but "
            ) as e:
                gradient(victim, inputs, how)
            assert said in str(e.value)
        for how in ("straight-through", "pdsg", "assg"):
            assert gradient(victim, inputs, how).values.any(), (said, how)
    soft = model(tmp_path, neurons(), reset="soft")
    with pytest.raises(SpikeflipError, match="a soft reset subtracts another amount than the threshold that is asked"):
        gradient(soft, inputs, "rga", threshold=0.4)
    assert gradient(soft, inputs, "rga").values.any()


def cuba():
    values = {"tau_syn": full(5, 3 * DT), "tau_mem": full(5, 2 * DT), "r": full(5, 2.0)}
    return make(nir.CubaLIF, **values, v_leak=full(5, 0.0), v_threshold=full(5, 0.25), w_in=full(5, 1.0))
