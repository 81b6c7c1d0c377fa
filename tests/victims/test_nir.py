"""NIR graphs as victims: our own networks there and back, neurons, layers and cycles against hand-written loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import ask
from nir_graphs import (
    DT,
    RECURRENT,
    chain,
    full,
    graph,
    h5py,
    lif_of,
    load,
    make,
    network,
    nir,
    numbers,
    recurrent_nodes,
    spikes,
)

import spikeflip
from spikeflip import LIF, ReluNetwork, SpikeflipError, SpikingNetwork, scg
from spikeflip.snn.surrogate import Sigmoid
from spikeflip.victims import load_nir, save_nir

pytestmark = pytest.mark.frameworks

# Our own networks, there and back.


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
            v.probe(inputs).input_gradient(lambda s, r: s - 0.5 * (r % 5 == 0)[:, None], ask(rows, **options))
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
    # The example's nine steps are only looked at.
    assert load_nir(tmp_path / "own.nir", example=spikes(4, 9, 20)).time_steps == 6
    assert load_nir(tmp_path / "own.nir", example=spikes(4, 9, 20), time_steps=7).time_steps == 7
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
    found = victim.probe(inputs.detach()).input_gradient(lambda s, r: weights.expand_as(s), ask(torch.arange(30)))
    assert wanted.any()
    torch.testing.assert_close(found.values, wanted, atol=1e-6, rtol=1e-4)


# Layers.


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
    assert victim.probe(inputs).input_gradient(lambda s, r: s, ask(torch.arange(40))).values.any()


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
