"""Graphs of the Neuromorphic Intermediate Representation as victims, against loops, frameworks and our own networks."""

import json
import subprocess
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mutations import mutate
from torch import nn

import spikeflip
from spikeflip import LIF, Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork, scg
from spikeflip.snn.surrogate import Sigmoid
from spikeflip.victims import load_nir, save_nir

nir = pytest.importorskip("nir", reason="the package nir is not installed")
h5py = pytest.importorskip("h5py", reason="the package h5py is not installed")

SURROGATE = Rectangular(1.0)
DT = 1e-4


def spikes(*shape, seed=0, density=0.5):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density).float()


def numbers(*shape, seed=0, low=-0.4, high=0.6):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def full(n, value):
    return np.full(n, value, np.float32)


def graph(nodes, edges, inside=False):
    checked = {"type_check": False} if hasattr(nir.NIRGraph, "validate_structure") else {}  # nir 1.0.6 and later
    return nir.NIRGraph(nodes, edges, **checked)


def chain(*nodes, shape=(6,), out=(3,)):
    named = {"input": nir.Input(np.array(shape))} | {f"n{i}": node for i, node in enumerate(nodes)}
    named["output"] = nir.Output(np.array(out))
    names = list(named)
    return graph(named, list(pairwise(names)))


def write(tmp_path, what):
    nir.write(tmp_path / "graph.nir", what)
    return tmp_path / "graph.nir"


def load(tmp_path, what, **options):
    return load_nir(write(tmp_path, what), **{"time_steps": 7, "surrogate": SURROGATE, **options})


def make(kind, **values):
    """A node of any version of nir; those without v_reset reset to zero."""
    if "v_reset" in values and "v_reset" not in kind.__dataclass_fields__:
        pytest.skip(f"nir {nir.__version__} has no v_reset")
    return kind(**values)


# Our own networks, there and back.


def network(architecture="6C3-AP2-4C3-AP3-12FC-5FC", shape=(2, 15, 17), gain=2.5, **neuron):
    own = SpikingNetwork(
        architecture, shape, time_steps=6, neuron=LIF(**{"threshold": 0.3, "decay": 0.3, **neuron}), seed=1
    )
    with torch.no_grad():
        for weight in own.weights:
            weight.mul_(gain)
    return own


@pytest.mark.parametrize(
    ("architecture", "shape", "neuron"),
    [
        ("6C3-AP2-4C3-AP3-12FC-5FC", (2, 15, 17), {}),  # pools 15 x 17 by 2 and 7 x 8 by 3: remainders are dropped
        ("16FC-12FC-5FC", (20,), {"decay": 0.77, "threshold": 0.41}),
        ("16FC-5FC", (20,), {"decay": 0.0}),
        ("16FC-5FC", (20,), {"decay": 1.0, "threshold": 1.3, "surrogate": Sigmoid(0.7)}),
        ("AP2-5C1-5FC", (1, 9, 9), {"threshold": 0.25}),  # potentials at the threshold
    ],
)
def test_there_and_back(tmp_path, architecture, shape, neuron):
    own = network(architecture, shape, **neuron)
    save_nir(own, tmp_path / "own.nir")
    victim = load_nir(tmp_path / "own.nir")
    assert (victim.time_steps, victim.coding, victim.classes, victim.input_shape) == (6, "rate", 5, shape)
    assert victim.penultimate_threshold == own.neuron.threshold
    inputs, rows = spikes(40, 6, *shape, density=0.4), torch.arange(40)
    assert torch.equal(victim.scores(inputs), own.scores(inputs))
    assert own.scores(inputs).unique().numel() > 3
    for options in ({}, {"penultimate_threshold": 1.0}, {"output_window": 2.0}):
        found, wanted = (
            v.probe(inputs).input_gradient(lambda s, r: s - 0.5 * (r % 5 == 0)[:, None], rows, **options)
            for v in (victim, own)
        )
        assert wanted.values.any()
        torch.testing.assert_close(found.values, wanted.values, atol=1e-7, rtol=1e-5)
        assert torch.equal(found.output_zero, wanted.output_zero)
        assert torch.equal(found.penultimate_spikes, wanted.penultimate_spikes)


@pytest.mark.parametrize("options", [{}, {"threshold": 1.0}, {"threshold": None, "output_window": 2.0}])
def test_the_same_adversarials(tmp_path, options):
    own = network("16FC-12FC-5FC", (20,), decay=0.5)
    save_nir(own, tmp_path / "own.nir")
    victim = load_nir(tmp_path / "own.nir")
    inputs = spikes(12, 6, 20, seed=4)
    targets = (own.scores(inputs).argmax(1) + 1) % 5
    one, two = (
        scg(v, inputs, own.scores(inputs).argmax(1), targets, steps=8, seed=1, **options) for v in (own, victim)
    )
    assert torch.equal(one.adversarials, two.adversarials)
    assert torch.equal(one.success, two.success)
    assert one.success.any()


def test_what_a_file_says_can_be_said_otherwise(tmp_path):
    own = SpikingNetwork("16FC-5FC", (20,), time_steps=6, coding="latency", seed=1)
    save_nir(own, tmp_path / "own.nir", dt=1e-3)
    victim = load_nir(tmp_path / "own.nir", time_steps=9, surrogate=Sigmoid(0.2))
    assert (victim.time_steps, victim.coding) == (9, "latency")
    slower = load_nir(tmp_path / "own.nir", dt=5e-4)  # half a step: another decay
    assert not torch.equal(slower.scores(spikes(9, 6, 20)), own.scores(spikes(9, 6, 20)))


def test_the_file_is_one_that_nir_reads(tmp_path):
    own = network()
    spikeflip.save_nir(own, tmp_path / "own.nir")
    read = nir.read(tmp_path / "own.nir")
    assert [type(read.nodes[name]).__name__ for name in ("conv1", "lif1", "pool2", "flatten5", "linear6", "lif6")] == [
        "Conv2d", "LIF", "AvgPool2d", "Flatten", "Linear", "LIF"
    ]  # fmt: skip
    lif = read.nodes["lif5"]
    np.testing.assert_allclose(1 - DT / lif.tau, 0.3, rtol=1e-5)
    np.testing.assert_allclose(lif.r * DT / lif.tau, 1.0, rtol=1e-5)
    assert lif.tau.shape == (12,)
    assert list(tmp_path.iterdir()) == [tmp_path / "own.nir"]


def test_edited_neurons_count(tmp_path):
    """The exact constants in the metadata hold only for nodes that still have them."""
    own = network("16FC-5FC", (20,))
    save_nir(own, tmp_path / "own.nir")
    with h5py.File(tmp_path / "own.nir", "r+") as file:
        file["node/nodes/lif1/v_threshold"][...] = 0.9
    higher = network("16FC-5FC", (20,))
    victim = load_nir(tmp_path / "own.nir")
    assert victim.penultimate_threshold == pytest.approx(0.9)
    assert victim.scores(spikes(9, 6, 20)).sum() < higher.scores(spikes(9, 6, 20)).sum()


@pytest.mark.parametrize(
    ("make_network", "message"),
    [
        (lambda: ReluNetwork("5FC", (20,)), "only a SpikingNetwork can be saved as NIR"),
        (lambda: SpikingNetwork("5FC", (20,), neuron=LIF(reset="soft")), "reset is 'soft', which NIR has not"),
    ],
)
def test_networks_that_cannot_be_saved(tmp_path, make_network, message):
    with pytest.raises(SpikeflipError, match=message):
        save_nir(make_network(), tmp_path / "own.nir")
    with pytest.raises(SpikeflipError, match="dt is 0"):
        save_nir(SpikingNetwork("5FC", (20,)), tmp_path / "own.nir", dt=0)
    with pytest.raises(SpikeflipError, match=r"cannot be written .*: give another place"):
        save_nir(SpikingNetwork("5FC", (20,)), tmp_path / "nowhere" / "own.nir")
    assert list(tmp_path.iterdir()) == []


# Neurons against hand-written loops. Weights and parameters differ from neuron to neuron.

W, B = numbers(3, 6), numbers(3, seed=1)
TAU, R = full(3, DT) / numbers(3, seed=2, low=0.3, high=0.9), numbers(3, seed=3, low=1.0, high=3.0)
LEAK, THRESHOLD = numbers(3, seed=4, low=-0.1, high=0.1), numbers(3, seed=5, low=0.2, high=0.6)
SYN, GAIN = full(3, DT) / numbers(3, seed=6, low=0.3, high=0.9), numbers(3, seed=7, low=0.5, high=2.0)
V_RESET = numbers(3, seed=8, low=-0.3, high=0.1)


def t(array):
    return torch.from_numpy(np.asarray(array, np.float64)).float()


def share(tau, method):
    return t(DT / tau if method == "euler" else 1 - np.exp(-DT / tau.astype(np.float64)))


def loop(step, start, inputs):
    """Mean over time of what ``step(current, state)`` gives."""
    state, outputs = start, []
    for x in inputs.unbind(1):
        out, state = step(x @ t(W).T + t(B), state)
        outputs.append(out)
    return torch.stack(outputs).mean(0)


def fire(v, reset="hard", to=0.0):
    z = (v > t(THRESHOLD)).float()
    return z, v * (1 - z) + z * to if reset == "hard" else v - z * t(THRESHOLD)


def lif(method="euler", reset="hard", to=0.0):
    def step(x, v):
        v = v + share(TAU, method) * (t(LEAK) - v + t(R) * x)
        return fire(v, reset, to)

    return step


def cuba(method="euler", spiking=True):
    def step(x, state):
        i, v = state
        i = i + share(SYN, method) * (t(GAIN) * x - i)
        v = v + share(TAU, method) * (t(LEAK) - v + t(R) * i)
        z, after = fire(v) if spiking else (v, v)
        return z, (i, after)

    return step


LIF_NODE = {"tau": TAU, "r": R, "v_leak": LEAK, "v_threshold": THRESHOLD}
CUBA_NODE = {"tau_syn": SYN, "tau_mem": TAU, "r": R, "v_leak": LEAK, "w_in": GAIN}


def integrator(gain, spiking):
    def step(x, v):
        v = v + gain * x
        return fire(v) if spiking else (v, v)

    return step


@pytest.mark.parametrize(
    ("node", "step", "start", "options"),
    [
        (lambda: nir.LIF(**LIF_NODE), lif(), t(LEAK), {}),
        (lambda: nir.LIF(**LIF_NODE), lif("exponential"), t(LEAK), {"method": "exponential"}),
        (lambda: nir.LIF(**LIF_NODE), lif(reset="soft"), t(LEAK), {"reset": "soft"}),
        (lambda: make(nir.LIF, **LIF_NODE, v_reset=V_RESET), lif(to=t(V_RESET)), t(LEAK), {}),
        (lambda: nir.CubaLIF(**CUBA_NODE, v_threshold=THRESHOLD), cuba(), (0.0, t(LEAK)), {}),
        (
            lambda: nir.CubaLIF(**CUBA_NODE, v_threshold=THRESHOLD),
            cuba("exponential"),
            (0.0, t(LEAK)),
            {"method": "exponential"},
        ),
        (lambda: nir.IF(r=R / full(3, DT), v_threshold=THRESHOLD), integrator(t(R), True), 0.0, {}),
        (lambda: nir.IF(r=full(3, 1), v_threshold=THRESHOLD), integrator(1.0, True), 0.0, {}),
        (lambda: nir.I(r=full(3, 1)), integrator(1.0, False), 0.0, {}),
        (
            lambda: nir.LI(tau=TAU, r=R, v_leak=LEAK),
            lambda x, v: [v + share(TAU, "euler") * (t(LEAK) - v + t(R) * x)] * 2,
            t(LEAK),
            {},
        ),
        (
            lambda: nir.CubaLI(**CUBA_NODE) if hasattr(nir, "CubaLI") else pytest.skip("this nir has no CubaLI"),
            cuba(spiking=False),
            (0.0, t(LEAK)),
            {},
        ),
        (lambda: nir.Threshold(threshold=THRESHOLD), lambda x, v: (fire(x)[0], v), 0.0, {}),
    ],
)  # fmt: skip
def test_neurons_are_their_equations(tmp_path, node, step, start, options):
    victim = load(tmp_path, chain(nir.Affine(W, B), node()), **options)
    inputs = spikes(40, 7, 6)
    wanted = loop(step, start, inputs)
    torch.testing.assert_close(victim.scores(inputs), wanted, atol=1e-6, rtol=1e-5)
    assert wanted.unique().numel() > 5


def test_gradients_run_through_reset_and_synapse(tmp_path):
    victim = load(tmp_path, chain(nir.Affine(W, B), nir.CubaLIF(**CUBA_NODE, v_threshold=THRESHOLD)))
    inputs = spikes(30, 7, 6).requires_grad_()

    def step(x, state):
        i, v = state
        i = i + share(SYN, "euler") * (t(GAIN) * x - i)
        v = v + share(TAU, "euler") * (t(LEAK) - v + t(R) * i)
        u = v - t(THRESHOLD)
        z = (u > 0).float() + (u - u.detach()) * (u.detach().abs() <= 0.5).float()
        return z, (i, v * (1 - z))

    weights = torch.tensor([1.0, -2.0, 0.5])
    (wanted,) = torch.autograd.grad((loop(step, (0.0, t(LEAK)), inputs) * weights).sum(), inputs)
    found = victim.probe(inputs.detach()).input_gradient(lambda s, r: weights.expand_as(s), torch.arange(30))
    assert wanted.any()
    torch.testing.assert_close(found.values, wanted, atol=1e-6, rtol=1e-4)


# Layers.


def lif_of(*shape):
    return nir.LIF(tau=full(shape, 2 * DT), r=full(shape, 2), v_leak=full(shape, 0), v_threshold=full(shape, 0.3))


def test_layers_are_those_of_pytorch(tmp_path):
    conv, bias, out = numbers(6, 2, 3, 2), numbers(6, seed=1), numbers(3, 24, seed=2)
    what = chain(
        nir.Scale(numbers(4, 9, 11, seed=3)),
        nir.Conv2d((9, 11), conv, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, bias=bias),
        nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 1])),
        nir.Flatten({"input": np.array([6, 2, 3])}, 0, -1),
        nir.Linear(numbers(3, 36, seed=2)),
        nir.LI(tau=full(3, DT), r=full(3, 1), v_leak=full(3, 0)),
        shape=(4, 9, 11),
    )
    victim = load(tmp_path, what)
    inputs = spikes(5, 7, 4, 9, 11)
    x = inputs.flatten(0, 1) * t(numbers(4, 9, 11, seed=3))
    x = F.conv2d(x, t(conv), t(bias), (2, 1), (1, 0), (1, 2), 2)
    x = F.avg_pool2d(F.avg_pool2d(x, 2) * 4, 2, 2, 1)
    wanted = (x.flatten(1) @ t(numbers(3, 36, seed=2)).T).unflatten(0, (5, 7)).mean(1)
    torch.testing.assert_close(victim.scores(inputs), wanted, atol=1e-5, rtol=1e-5)
    assert out.any()


@pytest.mark.parametrize("padding", ["same", "valid", 2])
def test_convolutions_in_one_dimension(tmp_path, padding):
    weight, bias = numbers(3, 2, 4), numbers(3, seed=1)
    length = {"same": 10, "valid": 7, 2: 11}[padding]
    conv = nir.Conv1d(10, weight, 1, 0, 1, 1, bias)
    conv.padding = padding
    what = chain(
        conv,
        lif_of(3, length),
        nir.Flatten({"input": np.array([3, length])}, 0, -1),
        nir.Linear(numbers(3, 3 * length, seed=3)),
        nir.LI(tau=full(3, DT), r=full(3, 1), v_leak=full(3, 0)),
        shape=(2, 10),
    )
    victim = load(tmp_path, what)
    inputs, v, total = spikes(9, 7, 2, 10), 0.0, 0.0
    for x in inputs.unbind(1):
        v = 0.5 * v + F.conv1d(x, t(weight), t(bias), padding=padding)
        z = (v > t(0.3)).float()
        v = v * (1 - z)
        total = total + z.flatten(1) @ t(numbers(3, 3 * length, seed=3)).T
    torch.testing.assert_close(victim.scores(inputs), total / 7, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [[2, 2, 2, 2, 2, 2], [0, 1, 2, 3, 1, 9], [0] * 6])
def test_delays(tmp_path, steps):
    out = numbers(3, 6)
    what = chain(nir.Delay(np.array(steps) * DT), nir.Linear(out), nir.LI(full(3, DT), full(3, 1), full(3, 0)))
    victim = load(tmp_path, what)
    inputs = spikes(5, 7, 6)
    late = torch.zeros_like(inputs)
    for i, d in enumerate(steps):
        late[:, min(d, 7) :, i] = inputs[:, : max(0, 7 - d), i]
    torch.testing.assert_close(victim.scores(inputs), (late @ t(out).T).mean(1))
    with pytest.raises(SpikeflipError, match="no whole number of steps"):
        load(tmp_path, chain(nir.Delay(full(6, 1.5 * DT)), nir.Linear(out), lif_of(3)))


# Cycles.


def recurrent_nodes():
    return {
        "input": nir.Input(np.array([6])),
        "in": nir.Linear(numbers(4, 6)),
        "lif": lif_of(4),
        "back": nir.Affine(numbers(4, 4, seed=1), numbers(4, seed=2)),
        "out": nir.Linear(numbers(3, 4, seed=3)),
        "last": lif_of(3),
        "output": nir.Output(np.array([3])),
    }


RECURRENT = [
    ("input", "in"), ("in", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "out"), ("out", "last"),
    ("last", "output"),
]  # fmt: skip


def recurrent_loop(inputs, late=0):
    """Neurons whose own spikes of the step before, or ``late`` steps before, come back through weights and a bias."""
    v = last = torch.zeros(len(inputs), 4)
    u, total = 0.0, 0.0
    spikes_before = [last] * max(1, late)
    for x in inputs.unbind(1):
        back = spikes_before[-max(1, late)] @ t(numbers(4, 4, seed=1)).T + t(numbers(4, seed=2))
        v = 0.5 * v + x @ t(numbers(4, 6)).T + back
        z = (v > t(0.3)).float()
        v = v * (1 - z)
        spikes_before.append(z)
        u = 0.5 * u + z @ t(numbers(3, 4, seed=3)).T
        y = (u > t(0.3)).float()
        u = u * (1 - y)
        total = total + y
    return total / inputs.shape[1]


def test_recurrent_graphs_take_the_spikes_of_the_last_step(tmp_path):
    victim = load(tmp_path, graph(recurrent_nodes(), RECURRENT))
    inputs = spikes(40, 7, 6)
    assert torch.equal(victim.scores(inputs), recurrent_loop(inputs))
    assert (victim.spiking_layers, victim.penultimate_layer) == (("lif", "last"), "lif")
    assert victim.probe(inputs).input_gradient(lambda s, r: s, torch.arange(40)).values.any()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_delay_in_a_cycle_is_the_only_one(tmp_path, steps):
    nodes = recurrent_nodes() | {"delay": nir.Delay(full(4, steps * DT))}
    edges = [edge for edge in RECURRENT if edge != ("lif", "back")] + [("lif", "delay"), ("delay", "back")]
    victim = load(tmp_path, graph(nodes, edges))
    inputs = spikes(40, 7, 6)
    assert torch.equal(victim.scores(inputs), recurrent_loop(inputs, late=steps))


def test_nested_graphs(tmp_path):
    nodes = recurrent_nodes()
    inner = {name: nodes.pop(name) for name in ("lif", "back")}
    inner |= {"input": nir.Input(np.array([4])), "output": nir.Output(np.array([4]))}
    nodes["block"] = graph(inner, [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")])
    edges = [("input", "in"), ("in", "block"), ("block", "out"), ("out", "last"), ("last", "output")]
    victim = load(tmp_path, graph(nodes, edges))
    inputs = spikes(40, 7, 6)
    assert torch.equal(victim.scores(inputs), recurrent_loop(inputs))
    assert victim.spiking_layers == ("block/lif", "last")


def test_feedback_over_two_layers_and_a_skip(tmp_path):
    nodes = {
        "input": nir.Input(np.array([4])),
        "a": lif_of(4),
        "ab": nir.Linear(numbers(4, 4)),
        "b": lif_of(4),
        "ba": nir.Linear(numbers(4, 4, seed=1)),
        "out": nir.Linear(numbers(3, 4, seed=2)),
        "c": lif_of(3),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "a"), ("a", "ab"), ("ab", "b"), ("b", "ba"), ("ba", "a"), ("a", "out"), ("b", "out")]
    victim = load(tmp_path, graph(nodes, [*edges, ("out", "c"), ("c", "output")]), input_shape=(4,))
    inputs = spikes(40, 7, 4)
    va = vb = vc = total = 0.0
    zb = torch.zeros(40, 4)
    for x in inputs.unbind(1):
        va = 0.5 * va + x + zb @ t(numbers(4, 4, seed=1)).T
        za = (va > t(0.3)).float()
        vb = 0.5 * vb + za @ t(numbers(4, 4)).T
        zb = (vb > t(0.3)).float()
        vc = 0.5 * vc + (za + zb) @ t(numbers(3, 4, seed=2)).T
        zc = (vc > t(0.3)).float()
        va, vb, vc = va * (1 - za), vb * (1 - zb), vc * (1 - zc)
        total = total + zc
    assert torch.equal(victim.scores(inputs), total / 7)


# Graphs that frameworks export.


@pytest.fixture
def lenient(monkeypatch):
    """Exporters that say v_reset, with a nir that does not know it yet."""
    for name in ("LIF", "CubaLIF"):
        kind = getattr(nir, name)
        if "v_reset" not in kind.__dataclass_fields__:
            monkeypatch.setattr(nir, name, lambda kind=kind, v_reset=None, **values: kind(**values))


@pytest.mark.frameworks
def test_norse(tmp_path):
    pytest.importorskip("norse")
    import norse.torch as module
    from norse.torch.utils.export_nir import to_nir

    torch.manual_seed(0)

    def neurons(n, threshold):
        return module.LIFBoxCell(
            module.LIFBoxParameters(
                tau_mem_inv=torch.full((n,), 300.0),
                v_th=torch.full((n,), threshold),
                v_leak=torch.full((n,), 0.02),
                v_reset=torch.zeros(n),
            )
        )

    model = module.SequentialState(nn.Linear(20, 16), neurons(16, 0.1), nn.Linear(16, 5), neurons(5, 0.06))
    # Norse 1.1 writes dt / tau_mem_inv as time constant: the true one times its dt of 1e-3.
    victim = load(tmp_path, to_nir(model, torch.randn(1, 20)), dt=1e-6, input_shape=(20,))
    inputs, state, out = spikes(30, 7, 20), None, []
    for x in inputs.unbind(1):
        z, state = model(x, state)
        out.append(z)
    assert torch.equal(victim.scores(inputs), torch.stack(out).mean(0))
    assert victim.scores(inputs).unique().numel() > 3


@pytest.mark.frameworks
@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky"])
def test_snntorch(tmp_path, lenient, kind):
    snn = pytest.importorskip("snntorch")
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    options = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    n, threshold = torch.ones(16), 0.4 * torch.ones(16)
    hidden = {
        "Leaky": lambda: snn.Leaky(0.7 * n, threshold=threshold, **options),
        "Synaptic": lambda: snn.Synaptic(0.5 * n, 0.7 * n, threshold=threshold, **options),
        "RLeaky": lambda: snn.RLeaky(0.7, threshold=0.4, linear_features=16, **options),
    }[kind]()
    last = snn.Leaky(torch.linspace(0.5, 0.9, 5), threshold=torch.full((5,), 0.3), **options)
    model = nn.Sequential(nn.Linear(20, 16), hidden, nn.Linear(16, 5), last)
    victim = load(tmp_path, export_to_nir(model, torch.randn(1, 20), ignore_dims=[0]))
    for layer in (hidden, last):
        (getattr(layer, "reset_mem", None) or layer.reset_hidden)()
    inputs = spikes(30, 7, 20)
    out = torch.stack([model(x) for x in inputs.unbind(1)]).mean(0)
    torch.testing.assert_close(victim.scores(inputs), out)
    assert victim.scores(inputs).unique().numel() > 3


@pytest.mark.frameworks
def test_sinabs(tmp_path):
    layers = pytest.importorskip("sinabs.layers")
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.nir import to_nir

    for reset, function in (("hard", MembraneReset()), ("soft", None)):
        torch.manual_seed(0)
        options = {"batch_size": 10, "min_v_mem": None, "spike_fn": SingleSpike}
        options |= {} if function is None else {"reset_fn": function}
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            layers.IAFSqueeze(**options),
            layers.SumPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 5),
            layers.IAFSqueeze(**options),
        )
        inputs = spikes(10, 7, 2, 8, 8)
        with torch.no_grad():
            out = model(inputs.flatten(0, 1)).unflatten(0, (10, 7)).mean(1)
        exported = to_nir(model, inputs.flatten(0, 1))
        exported.infer_types()
        victim = load(tmp_path, exported, reset=reset)
        torch.testing.assert_close(victim.scores(inputs), out)
        assert out.unique().numel() > 2


@pytest.mark.frameworks
def test_sinabs_with_a_leak(tmp_path):
    """Time constants are in steps, and decays exponential."""
    layers = pytest.importorskip("sinabs.layers")
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.nir import to_nir

    torch.manual_seed(0)

    def neurons(n):
        return layers.LIFSqueeze(
            tau_mem=torch.linspace(2.0, 9.0, n),
            spike_threshold=torch.full((n,), 0.06),
            batch_size=10,
            norm_input=True,
            spike_fn=SingleSpike,
            reset_fn=MembraneReset(),
        )

    model = nn.Sequential(nn.Linear(20, 16), neurons(16), nn.Linear(16, 5), neurons(5))
    inputs = spikes(10, 7, 20)
    with torch.no_grad():
        out = model(inputs.flatten(0, 1)).unflatten(0, (10, 7)).mean(1)
    victim = load(tmp_path, to_nir(model, inputs.flatten(0, 1)), dt=1.0, method="exponential")
    torch.testing.assert_close(victim.scores(inputs), out)
    assert out.unique().numel() > 3


@pytest.mark.frameworks
@pytest.mark.parametrize("kind", ["LIBoxCell", "IAFCell"])
def test_other_cells_of_norse(tmp_path, kind):
    module = pytest.importorskip("norse.torch")
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.utils.export_nir import to_nir

    torch.manual_seed(0)
    p = {
        "LIBoxCell": lambda: module.LIBoxParameters(torch.full((5,), 300.0), torch.full((5,), 0.1)),
        "IAFCell": lambda: IAFParameters(v_th=torch.full((5,), 0.4)),
    }[kind]()
    model = module.SequentialState(nn.Linear(20, 5), getattr(module, kind)(p))
    victim = load(tmp_path, to_nir(model, torch.randn(1, 20)), dt=1e-6, input_shape=(20,))
    inputs, state, out = spikes(30, 7, 20), None, []
    for x in inputs.unbind(1):
        z, state = model(x, state)
        out.append(z)
    torch.testing.assert_close(victim.scores(inputs), torch.stack(out).mean(0))
    assert victim.scores(inputs).unique().numel() > 3


@pytest.mark.frameworks
def test_spikingjelly(tmp_path):
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    torch.manual_seed(0)
    model = nn.Sequential(
        layer.Conv2d(2, 4, 3), neuron.LIFNode(v_threshold=0.1), layer.AvgPool2d(2), layer.Flatten(),
        layer.Linear(36, 5), neuron.IFNode(v_threshold=0.2),
    )  # fmt: skip
    try:
        exported = exchange.export_to_nir(model, torch.rand(1, 2, 8, 8))
    except TypeError as error:
        pytest.skip(f"SpikingJelly exports with a newer nirtorch: {error}")
    victim = load(tmp_path, exported)
    functional.reset_net(model)
    inputs = spikes(20, 7, 2, 8, 8)
    out = torch.stack([model(x) for x in inputs.unbind(1)]).mean(0)
    torch.testing.assert_close(victim.scores(inputs), out)
    assert out.unique().numel() > 3


# What is missing, does not fit or is hostile: one sentence.


def refused(tmp_path, what, match, **options):
    file = what if not isinstance(what, nir.NIRGraph) else write(tmp_path, what)
    with pytest.raises(SpikeflipError, match=match) as error:
        load_nir(file, **{"time_steps": 7, "surrogate": SURROGATE, **options})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 900
    return str(error.value)


def small():
    return chain(nir.Linear(numbers(3, 6)), lif_of(3))


def test_what_the_file_does_not_say_must_be_said(tmp_path):
    file = write(tmp_path, small())
    with pytest.raises(SpikeflipError, match="does not say time_steps: pass time_steps="):
        load_nir(file, surrogate=SURROGATE)
    with pytest.raises(SpikeflipError, match="does not say surrogate: pass surrogate="):
        load_nir(file, time_steps=5)
    assert load_nir(file, surrogate=SURROGATE, example=spikes(4, 5, 6)).time_steps == 5


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dt": 0.0}, "dt is 0.0"),
        ({"dt": float("nan")}, "dt is nan"),
        ({"dt": 1.0}, r"node 'n1' \(LIF\) has a tau of 0.0002 s, shorter than a step of dt = 1 s: pass the dt="),
        ({"time_steps": 0}, "time_steps is 0"),
        ({"time_steps": 10**9}, "time_steps is 1000000000"),
        ({"input_shape": (7,)}, r"node 'n0' \(Linear\) is given \(7,\) and takes"),
        ({"input_shape": ()}, "pass input_shape="),
        ({"method": "rk4"}, "method is 'rk4': choose from euler, exponential"),
        ({"reset": "none"}, "reset is 'none': choose from hard, soft"),
        ({"readout": "median"}, "readout is 'median'"),
        ({"penultimate": "n7"}, "penultimate is 'n7'"),
        ({"example": spikes(4, 7, 5)}, r"is given \(5,\) and takes"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, match):
    refused(tmp_path, small(), match, **options)


def without(nodes, *names):
    return {name: node for name, node in nodes.items() if name not in names}


LINEAR = [("input", "in"), ("in", "lif"), ("lif", "out"), ("out", "last"), ("last", "output")]


@pytest.mark.parametrize(
    ("nodes", "edges", "match"),
    [
        (lambda n: without(n, "output"), LINEAR[:-1], "the graph has 0 Output nodes: give it exactly one"),
        (lambda n: without(n, "input"), LINEAR[1:], "the graph has 0 Input nodes"),
        (lambda n: n | {"more": nir.Input(np.array([6]))}, [*RECURRENT, ("more", "in")], "has 2 Input nodes"),
        (lambda n: n | {"more": nir.Output(np.array([4]))}, [*RECURRENT, ("lif", "more")], "has 2 Output nodes"),
        (lambda n: n, [*RECURRENT, ("lif", "ghost")], "edge with 'ghost', which is no node"),
        (lambda n: n, RECURRENT[:-1], "no path leads from node 'input'"),
        (
            lambda n: n | {"lost": nir.Linear(numbers(4, 4))},
            [*RECURRENT, ("lost", "lif")],
            "node 'lost' .* is not reached from the input",
        ),
        (
            lambda n: n | {"one": nir.Linear(numbers(4, 4)), "two": nir.Linear(numbers(4, 4))},
            [*LINEAR, ("lif", "one"), ("one", "two"), ("two", "one"), ("two", "out")],
            "form a cycle without a neuron or a delay",
        ),
        (
            lambda n: n | {"self": nir.Scale(full(4, 0.5))},
            [*LINEAR, ("lif", "self"), ("self", "self"), ("self", "out")],
            "the nodes 'self' form a cycle",
        ),
        (lambda n: n | {"in": nir.Linear(numbers(4, 5))}, LINEAR, r"node 'in' .* is given \(6,\) and takes \(..., 5\)"),
        (lambda n: n, [*LINEAR, ("input", "lif")], r"node 'lif' .* is given shapes"),
        (lambda n: n | {"lif": lif_of(5)}, LINEAR, r"node 'lif' .* of shape \(5,\) for values of shape \(4,\)"),
        (lambda n: n | {"in": nir.Affine(numbers(4, 6), numbers(3))}, LINEAR, r"bias of shape \(3,\) for 4 outputs"),
        (lambda n: n | {"in": nir.Linear(full((4, 6), np.nan))}, LINEAR, "node 'in' .* not finite"),
        (lambda n: n | {"output": nir.Output(np.array([9]))}, LINEAR, r"says \(9,\) and is given \(3,\)"),
        (lambda n: n, [*LINEAR[:2], ("lif", "output")], r"says \(3,\) and is given \(4,\)"),
        (
            lambda n: n | {"in": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))},
            LINEAR,
            r"takes \(channels, height, width\)",
        ),
        (
            lambda n: n | {"in": nir.Conv1d(6, numbers(4, 1, 3), 1, 0, 1, 1, numbers(4))},
            LINEAR,
            r"is given \(6,\) and takes \(1, size\)",
        ),
        (lambda n: n | {"in": nir.Flatten({"input": np.array([6])}, 0, 3)}, LINEAR, "flattens axes 0 to 3"),
        (
            lambda n: n | {"lif": nir.LIF(full(4, -1), full(4, 1), full(4, 0), full(4, 1))},
            LINEAR,
            "time constants are positive",
        ),
    ],
)  # fmt: skip
def test_graphs_that_do_not_fit(tmp_path, nodes, edges, match):
    try:
        what = graph(nodes(recurrent_nodes()), edges)
    except Exception as error:  # newer versions of nir do not let it be made
        pytest.skip(f"nir refuses it: {error}")
    refused(tmp_path, what, match)


def test_a_window_larger_than_its_input_and_an_output_of_maps(tmp_path):
    pool = nir.AvgPool2d(np.array([9, 9]), np.array([9, 9]), np.array([0, 0]))
    refused(tmp_path, chain(pool, shape=(1, 4, 4)), r"window of \(9, 9\), larger than its input \(1, 4, 4\)")
    refused(tmp_path, chain(lif_of(3, 2), shape=(3, 2), out=(3, 2)), r"scores are \(K,\) of at least 2 classes")


@pytest.fixture
def edited(tmp_path):
    """A good file, opened to be spoilt."""
    write(tmp_path, chain(nir.Linear(numbers(3, 6)), lif_of(3)))

    def edit(change):
        with h5py.File(tmp_path / "graph.nir", "r+") as file:
            change(file)
        return tmp_path / "graph.nir"

    return edit


def put(group, name, *args, **options):
    if name in group:
        del group[name]
    return group.create_dataset(name, *args, **options)


def deep(file):
    inner = file["node"]
    for _ in range(60):
        group = inner["nodes"].create_group("inner")
        group["type"] = "NIRGraph"
        group["edges"] = [("input", "output")]
        group.create_group("nodes")
        inner = group


def in_itself(file):
    for i in range(8):
        file["node/nodes"][f"again{i}"] = file["node"]


def many(file):
    for i in range(2100):
        file["node/nodes"].create_group(f"x{i}")["type"] = "Input"
        file["node/nodes"][f"x{i}"]["shape"] = [1]


def elsewhere(file):
    del file["node/nodes/n0/weight"]
    file["node/nodes/n0/weight"] = h5py.ExternalLink("/etc/hostname", "/weight")


def soft_link(file):
    del file["node/nodes/n0/weight"]
    file["node/nodes/n0/weight"] = h5py.SoftLink("/node/nodes/n0/weight")


def raw_elsewhere(file):
    put(file["node/nodes/n0"], "weight", (3, 6), "f4", external=[("/etc/passwd", 0, 72)])


def virtual(file):
    del file["node/nodes/n0/weight"]
    layout = h5py.VirtualLayout(shape=(3, 6), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "weight", shape=(3, 6))
    file["node/nodes/n0"].create_virtual_dataset("weight", layout)


def pickled(file):
    import pickle

    class Harm:
        def __reduce__(self):
            return exec, ("raise SystemExit('it ran')",)

    data = np.frombuffer(pickle.dumps(Harm()), np.uint8)
    put(file["node/nodes/n0"], "weight", data=np.void(data.tobytes()))


NODE = "node/nodes/n0"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: put(f[NODE], "type", data="Recurrent"), "'n0' is of type 'Recurrent', which .* use Input, Output"),
        (lambda f: put(f[NODE], "type", data=3), "'type' of node 'n0' hold 'i' data and no text"),
        (lambda f: put(f[NODE], "type", data="L" * 10**6), "longer than"),
        (lambda f: put(f[NODE], "type", data=b"\xff\xfe"), "cannot be read as HDF5"),
        (lambda f: f[NODE].__delitem__("type"), "node 'n0' has no type"),
        (lambda f: f[NODE].__delitem__("weight"), r"node 'n0' \(Linear\) has no weight: export it again"),
        (lambda f: f.__delitem__("node"), "without a NIR graph"),
        (lambda f: f["node"].__delitem__("edges"), "the graph has no edges"),
        (lambda f: put(f["node"], "type", data="Linear"), "node|graph"),
        (lambda f: put(f["node"], "edges", data=[("a", "b", "c")]), r"edges of shape \(1, 3\)"),
        (lambda f: put(f["node"], "edges", data=np.zeros((2, 2))), "hold 'f' data and no text"),
        (lambda f: put(f["node"], "edges", data=[("x" * 5000, "b")]), "longer than 1,000"),
        (lambda f: put(f["node"], "edges", (10**9, 2), h5py.string_dtype()), "give at most 5,000 pairs"),
        (lambda f: put(f[NODE], "weight", data="text"), "has the text 'text' as weight: give numbers"),
        (lambda f: put(f[NODE], "weight", data=np.zeros((3, 6), complex)), "is of type complex128: store numbers"),
        (lambda f: put(f[NODE], "weight", data=np.zeros(3, [("a", "f4"), ("b", "f4")])), "store numbers"),
        (lambda f: put(f[NODE], "weight", (3,), h5py.ref_dtype), "store numbers"),
        (lambda f: put(f[NODE], "weight", (3,), h5py.vlen_dtype("f4")), "store numbers"),
        (pickled, "store numbers"),
        (lambda f: put(f[NODE], "weight", data=h5py.Empty("f4")), "has no weight"),
        (lambda f: put(f[NODE], "weight", (10**6, 10**6), "f4"), "claims .* bytes in a file of"),
        (lambda f: put(f[NODE], "weight", (10**6, 10**6), "f4", chunks=(1000, 1000)), "claims more than it can hold"),
        (lambda f: put(f[NODE], "weight", (2000, 2000), "f4", chunks=(1000, 1000)), "claims more|0 pieces"),
        (lambda f: put(f[NODE], "weight", (3, 6), "f4", chunks=(3, 6)), "in 0 pieces"),
        (lambda f: put(f[NODE], "weight", (3, 6), "f4", chunks=(30000, 30000), maxshape=(None, None)), "it is damaged"),
        (lambda f: put(f[NODE], "weight", data=np.zeros((3, 6)), compression="lzf"), "packed by HDF5 filters"),
        (lambda f: put(f[NODE], "weight", data=np.zeros((0, 6), "f4")), r"weight of shape \(0, 6\)"),
        (lambda f: put(f["node/nodes/input"], "shape", data=np.array([10**9, 10**9, 6])), "gives more than"),
        (lambda f: put(f["node/nodes/input"], "shape", data=np.array([1e30])), "whole numbers"),
        (lambda f: put(f["node/nodes/input"], "shape", data=np.array([-6])), "whole numbers"),
        (lambda f: put(f["node/nodes/input"], "shape", data=np.ones((2, 2))), "whole numbers"),
        (lambda f: f["node"].create_group("metadata").create_dataset("spikeflip", data="{"), "'spikeflip' cannot be"),
        (lambda f: f["node"].create_group("metadata").create_dataset("spikeflip", data="[" * 60000), "cannot be used"),
        (lambda f: f["node"].create_group("metadata").create_dataset("spikeflip", data="[]"), "cannot be used"),
        (deep, "graph|Input"),
        (in_itself, "nest at most|more than 2,000 nodes"),
        (many, "more than 2,000 nodes"),
        (elsewhere, "'weight' that is a link to elsewhere"),
        (soft_link, "'weight' that is a link to elsewhere"),
        (raw_elsewhere, "data are in another file"),
        (virtual, "data are in another file"),
    ],
)  # fmt: skip
def test_hostile_files(tmp_path, edited, change, match):
    refused(tmp_path, edited(change), match)


@pytest.mark.parametrize("threshold", ["0", "1e999", '"x"', "null", "-1"])
def test_hostile_metadata(tmp_path, threshold):
    save_nir(network("16FC-5FC", (20,)), tmp_path / "own.nir")
    with h5py.File(tmp_path / "own.nir", "r+") as file:
        text = json.loads(file["node/metadata/spikeflip"][()])
        text["neuron"]["threshold"] = "HERE"
        put(file["node/metadata"], "spikeflip", data=json.dumps(text).replace('"HERE"', threshold))
    refused(tmp_path, tmp_path / "own.nir", "metadata 'spikeflip' cannot be used .*: save the network again")


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2", "i2"])
def test_packed_arrays_are_what_h5py_reads(tmp_path, edited, dtype, shuffle):
    values = (numbers(3, 6) * 100).astype(dtype)
    file = edited(lambda f: put(f[NODE], "weight", data=values, chunks=(2, 4), compression="gzip", shuffle=shuffle))
    victim = load_nir(file, time_steps=7, surrogate=SURROGATE)
    np.testing.assert_array_equal(victim.model.n0.weight, values.astype("f4"))


def test_a_packed_piece_is_unpacked_no_further_than_its_size(tmp_path, edited):
    import zlib

    def bomb(file):
        dataset = put(file[NODE], "weight", (512, 512), "f4", chunks=(512, 512), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**29), 9))

    file = edited(bomb)
    tracemalloc.start()
    refused(tmp_path, file, "takes|fit|damaged|claims")
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_hostile_bytes(tmp_path):
    save_nir(network("8FC-5FC", (20,)), tmp_path / "own.nir")
    base, random = (tmp_path / "own.nir").read_bytes(), np.random.default_rng(0)
    bad, refusals, accepted = tmp_path / "bad.nir", 0, 0
    for _ in range(60):
        bad.write_bytes(mutate(base, random))
        try:
            load_nir(bad)
        except SpikeflipError as error:
            refusals += "\n" not in str(error)
        else:
            accepted += 1
    assert refusals + accepted == 60
    assert refusals > 30
    bad.write_bytes(b"")
    refused(tmp_path, bad, "cannot be read as HDF5")
    refused(tmp_path, tmp_path, "there is no such file")
    refused(tmp_path, tmp_path / "nowhere.nir", "there is no such file")


@pytest.mark.parametrize("size", [0, 2**63, 2**64 - 8])
def test_damaged_heaps_of_text_end(tmp_path, size):
    """The HDF5 library goes round for ever where an object of a heap says that it has no size."""
    file = write(tmp_path, small())
    data = bytearray(file.read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 24 : heap + 32] = size.to_bytes(8, "little")
    file.write_bytes(data)
    refused(tmp_path, file, "damaged|lies beyond")


def test_memory_is_bounded(tmp_path, edited):
    """Claims of terabytes cost nothing; measured in a process of its own."""

    def claims(file):
        put(file[NODE], "weight", (10**6, 10**6), "f8", chunks=(1000, 1000), compression="gzip")
        put(file["node/nodes/n1"], "tau", (10**5, 10**5), "f8")

    program = f"""
import resource
import spikeflip
from spikeflip.victims import load_nir
import h5py
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_nir({str(edited(claims))!r}, time_steps=10_000, surrogate=spikeflip.Rectangular(1.0))
except spikeflip.SpikeflipError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 50 * 1024


def test_work_is_bounded_before_anything_runs(tmp_path):
    wide = chain(
        nir.Conv2d((4000, 4000), np.zeros((1, 1, 999, 999), np.float32), 1, 0, 1, 1, full(1, 0)), shape=(1, 4000, 4000)
    )
    refused(tmp_path, wide, "needs more than .* multiplications")
    refused(
        tmp_path, chain(nir.Delay(full(6, 1e6)), nir.Linear(numbers(3, 6)), lif_of(3)), "waits for 10000000000 steps"
    )
    padded = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([10**8, 10**8]))
    refused(tmp_path, chain(padded, shape=(1, 4, 4)), "padded by more than half its kernel")


@pytest.mark.parametrize(("name", "call"), [("h5py", load_nir), ("nir", lambda file: save_nir(network(), file))])
def test_without_the_packages(tmp_path, monkeypatch, name, call):
    file = write(tmp_path, small())
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SpikeflipError, match=r"pip install 'spikeflip\[nir\]'"):
        call(file)


def test_public_names():
    assert spikeflip.load_nir is load_nir
    assert spikeflip.save_nir is save_nir
