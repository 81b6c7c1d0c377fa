"""The estimators of the field, each against a slow loop over samples, neurons and steps, written from its formula."""

import math
import statistics

import pytest
import torch
from plain_gradients import away, plain

from spikeflip import LIF, Rectangular, SpikeflipError, SpikingNetwork
from spikeflip.snn.estimators import ASSG, ESTIMATORS, HART, PDSG, RGA, StraightThrough, Widened, estimator
from spikeflip.snn.gradients import BPTT, GradientRequest, LayerPass
from spikeflip.snn.memory import Memory
from spikeflip.snn.neuron import current_of, integrate

THRESHOLD, DECAY = 0.4, 0.6


def network(reset="hard", steps=7):
    neuron = LIF(THRESHOLD, DECAY, reset, Rectangular(0.9))
    net = SpikingNetwork("9FC-6FC-3FC", (8,), time_steps=steps, neuron=neuron, seed=4).double()
    with torch.no_grad():
        for weight in net.weights:
            weight.mul_(2.0)
    return net


def spikes(n, steps):
    return (torch.rand(n, steps, 8, generator=torch.Generator().manual_seed(4)) < 0.5).double()


def by_element(slope):
    """A slope of all potentials ``(n, T, *layer)`` from one of a single neuron's distances over time."""

    def of(distance, _layer):
        lines = distance.flatten(2)
        made = torch.empty_like(lines)
        for n in range(lines.shape[0]):
            for i in range(lines.shape[2]):
                made[n, :, i] = torch.tensor(slope(lines[n, :, i].tolist()), dtype=lines.dtype)
        return made.view_as(distance)

    return of


def rga(distances, reset):
    """Bu et al., CVPR 2023, with potentials turned back into inputs one step after the other."""
    inputs, carried = [], 0.0
    for h in distances:
        u = h + THRESHOLD
        inputs.append(u - DECAY * carried)
        fired = u >= THRESHOLD
        carried = {"hard": 0.0 if fired else u, "soft": u - THRESHOLD * fired, "none": u}[reset]
    mean, gamma = sum(inputs) / len(inputs) / THRESHOLD, 0.2
    if 1 - DECAY <= mean <= 2:
        slope = (1 - gamma + gamma * DECAY) / (DECAY + 1)
    else:
        slope = gamma if 0 <= mean < 1 - DECAY else 0.0
    return [slope / THRESHOLD] * len(distances)


def hart(distances, width):
    return [max(0.0, width - abs(h / THRESHOLD)) / width**2 / THRESHOLD for h in distances]


def pdsg_of_line(distances):
    """Lun et al., CVPR 2025, of a layer without places: the spread of one neuron over the steps so far."""
    made = []
    for t, h in enumerate(distances):
        spread = statistics.stdev([(d / THRESHOLD) + 1 for d in distances[: t + 1]]) if t else 0.0
        spread = spread or 1.0
        z = (h / THRESHOLD - 0.5 * spread) / spread
        made.append(math.exp(-z * z / 2) / (spread * math.sqrt(2 * math.pi)) / THRESHOLD)
    return made


def assg(distance, mean, spread, a=0.42):
    """Wang et al., CVPR 2026, of one number; returns slope, M and D."""
    size = abs(distance / THRESHOLD)
    mean = 0.9 * mean + 0.1 * size
    spread = 0.9 * spread + 0.1 * abs(size - mean)
    alpha = 2 * math.tan(math.pi * a) / math.pi / (mean + 1.5 * spread + 1e-4)
    return alpha / (2 * (1 + (math.pi / 2 * alpha * distance / THRESHOLD) ** 2)) / THRESHOLD, mean, spread


def expected(name, net, x, reset):
    steps = x.shape[1]
    match name:
        case "rga":
            return plain(net, x, by_element(lambda line: rga(line, reset)), 1)
        case "hart":
            return plain(net, x, by_element(lambda line: hart(line, 1.0)), 1, averaged=True)
        case "hart:0.5":
            return plain(net, x, by_element(lambda line: hart(line, 0.5)), 1, averaged=True)
        case "pdsg":
            return plain(net, x, by_element(pdsg_of_line), steps)
        case "assg":
            return plain(net, x, by_element(lambda line: [assg(h, 1.0, 0.0)[0] for h in line]), steps)
        case "straight-through":
            return plain(net, x, lambda distance, _: torch.full_like(distance, 1 / THRESHOLD), steps)
        case "windowed":
            return plain(net, x, lambda distance, _: net.neuron.surrogate.derivative(distance), 2)
        case "windowed:3":
            return plain(net, x, lambda distance, _: net.neuron.surrogate.derivative(distance), 3)
    return plain(net, x, lambda distance, _: net.neuron.surrogate.derivative(distance), steps)


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("steps", [1, 2, 5, 12])
@pytest.mark.parametrize(
    "name", ["bptt", "rga", "hart", "hart:0.5", "pdsg", "assg", "straight-through", "windowed", "windowed:3"]
)
def test_gradients_are_those_of_a_plain_loop(name, steps, reset):
    net, x = network(reset, steps), spikes(8, steps)
    wanted = expected(name, net, x, reset)
    request = GradientRequest(estimator=estimator(name))
    whole = net.probe(x).input_gradient(away, request).values
    torch.testing.assert_close(whole, wanted, rtol=1e-10, atol=1e-12)
    assert wanted.any() or steps == 1
    order = torch.tensor([5, 0, 7, 2, 1, 4, 3, 6])
    for rows in (order, *order[:3].split(1)):  # other batch-mates, another order, none
        found = net.probe(x[rows]).input_gradient(lambda scores, at, rows=rows: away(scores, rows[at]), request).values
        torch.testing.assert_close(found, wanted[rows], rtol=1e-10, atol=1e-12)


def layer(potential, memory=None, neuron=None):
    neuron = LIF(THRESHOLD, DECAY) if neuron is None else neuron
    return LayerPass(0, potential, neuron, is_output=False, memory=Memory(len(potential)) if memory is None else memory)


def test_pdsg_pools_over_the_places_of_a_sample_and_channel():
    u = torch.randn(2, 4, 3, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = PDSG().slope(layer(u))
    for n in range(2):
        for t in range(4):
            for c in range(3):
                spread = statistics.stdev((u[n, : t + 1, c] / THRESHOLD).flatten().tolist())
                for place in ((0, 0), (1, 4)):
                    h = (u[n, t, c][place].item() - THRESHOLD) / THRESHOLD
                    z = (h - 0.5 * spread) / spread
                    wanted = math.exp(-z * z / 2) / (spread * math.sqrt(2 * math.pi)) / THRESHOLD
                    assert found[n, t, c][place].item() == pytest.approx(wanted, rel=1e-10)


def test_pdsg_is_defined_where_the_published_form_is_not():
    """One sample, no places, first step: a spread of one number; and potentials that are all the same."""
    first = PDSG().slope(layer(torch.full((1, 1, 3), THRESHOLD, dtype=torch.float64)))
    assert first.tolist() == [[[pytest.approx(math.exp(-0.125) / math.sqrt(2 * math.pi) / THRESHOLD)] * 3]]
    same = PDSG().slope(layer(torch.full((1, 5, 2, 3, 3), 7.0)))
    assert torch.isfinite(same).all()


def test_pdsg_keeps_its_digits_where_potentials_are_large():
    """Float32 potentials of 1000 that vary by 1: squares would have lost it."""
    u = 1000 + torch.randn(1, 6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    neuron = LIF(1000.0, DECAY)
    single, double = PDSG().slope(layer(u, neuron=neuron)), PDSG().slope(layer(u.double(), neuron=neuron))
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-9)


def test_assg_remembers_every_neuron_and_step_from_one_iteration_to_the_next():
    net, memory, x = network(), Memory(4), spikes(4, 7)
    request = GradientRequest(estimator=ASSG(), memory=memory)
    state = {}
    for round_ in range(3):
        x = (torch.rand(4, 7, 8, generator=torch.Generator().manual_seed(round_)) < 0.5).double()

        def slope(distance, at):
            made = torch.empty_like(distance)
            for place in torch.cartesian_prod(*map(torch.arange, distance.shape)).tolist():
                key = (at, *place)
                made[tuple(place)], *state[key] = assg(distance[tuple(place)].item(), *state.get(key, (1.0, 0.0)))
            return made

        found = net.probe(x).input_gradient(away, request).values
        torch.testing.assert_close(found, plain(net, x, slope), rtol=1e-10, atol=1e-12)


def test_assg_keeps_nothing_of_further_encodings():
    memory, u = Memory(2), torch.rand(2, 3, 4)
    kept = ASSG().slope(layer(u, memory))
    frozen = ASSG().slope(layer(u, memory.frozen()))
    torch.testing.assert_close(kept, frozen)  # the same sharpness as of the first
    ASSG().slope(layer(torch.rand(2, 3, 4), memory.frozen()))
    torch.testing.assert_close(ASSG().slope(layer(u, memory.frozen())), kept)


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
def test_currents_are_got_back_from_potentials(reset):
    current = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    neuron = LIF(THRESHOLD, DECAY, reset)
    torch.testing.assert_close(current_of(integrate(current, neuron)[0], neuron), current, rtol=1e-12, atol=1e-12)


def test_rates_at_their_borders():
    """At 1 - decay the first branch holds alone; from 0 on it is gamma, and nothing below and above 2."""
    neuron = LIF(1.0, 0.5)
    for mean, wanted in ((0.5, (0.8 + 0.1) / 1.5), (0.4999, 0.2), (0.0, 0.2), (-1e-9, 0.0), (2.0, 0.6), (2.001, 0.0)):
        potential = integrate(torch.full((1, 1, 1), mean, dtype=torch.float64), neuron)[0]
        assert RGA().slope(layer(potential, neuron=neuron)).item() == pytest.approx(wanted)


def test_the_output_layer_may_have_a_window_of_its_own():
    net, x = network(), spikes(5, 7)

    def slope(distance, at):
        wide = Rectangular(3.0).derivative(distance)
        return wide if at == 2 else by_element(pdsg_of_line)(distance, at)

    made = estimator("pdsg", 3.0)
    assert made == Widened(PDSG(), 3.0)
    assert estimator("bptt", 3.0) == BPTT(output_window=3.0)
    found = net.probe(x).input_gradient(away, GradientRequest(estimator=made)).values
    torch.testing.assert_close(found, plain(net, x, slope), rtol=1e-10, atol=1e-12)
    averaged = estimator("hart", 3.0)
    assert (averaged.reach, averaged.averaged) == (1, True)


def test_names_and_their_numbers():
    assert {name: estimator(name) for name in ESTIMATORS} == {
        "bptt": BPTT(), "rga": RGA(), "hart": HART(), "pdsg": PDSG(), "assg": ASSG(), "windowed": BPTT(window=2),
        "straight-through": StraightThrough(),
    }  # fmt: skip
    assert estimator("rga:0.1") == RGA(0.1)
    assert estimator("assg:0.45") == ASSG(0.45)
    for wrong, words in (
        ("frob", "gradient is 'frob': choose from bptt, rga"),
        ("pdsg:2", "gradient is 'pdsg:2': a positive number may follow rga:NUMBER"),
        ("hart:x", "gradient is 'hart:x': a positive number may follow"),
        ("hart:-1", "gradient is 'hart:-1': a positive number may follow"),
        ("hart:inf", "gradient is 'hart:inf': a positive number may follow"),
        ("windowed:1.5", "gradient is 'windowed:1.5': a positive number may follow"),
        ("assg:0.5", "the vanishing that assg allows is 0.5: give a number in (0, 0.5)"),
    ):
        with pytest.raises(SpikeflipError) as error:
            estimator(wrong)
        assert str(error.value).startswith(words)


@pytest.mark.parametrize("made", [PDSG(), ASSG()])
@pytest.mark.parametrize("layout", ["channels first", "channels last", "a line", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slopes_step_by_step_are_those_of_all_steps(made, layout, dtype):
    """Whatever the layout in memory, with potentials that are far from their first."""
    u = torch.randn(3, 6, 4, 5, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    u[:, 3:] += 20
    if layout == "channels last":
        u = u.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    elif layout != "channels first":
        u = u.flatten(3) if layout == "a line" else u[..., 0, 0].contiguous()
    memories = Memory(3), Memory(3)
    for round_ in range(3):
        whole = made.slope(layer(u + round_, memories[0]))
        slope_at = made.slope_at(layer(u + round_, memories[1]))
        steps = [slope_at(t).clone() for t in reversed(range(6))]
        torch.testing.assert_close(torch.stack(steps[::-1], 1), whole)
    double = made.slope(layer((u + 2).double(), Memory(3)))
    if made == PDSG():
        torch.testing.assert_close(whole.double(), double, rtol=1e-5, atol=1e-6)


def test_pdsg_pools_nothing_where_nothing_varies():
    """The spread of equal potentials is 0 exactly, also where their mean is rounded, and 1 is taken for it."""
    for value in (0.3, 0.7, 1000.1):
        same = PDSG().slope(layer(torch.full((1, 3, 2, 13, 13), value)))
        z = (value - THRESHOLD) / THRESHOLD - 0.5
        wanted = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / THRESHOLD
        assert same.flatten().tolist() == [pytest.approx(wanted, rel=1e-4, abs=1e-30)] * 3 * 2 * 169


def test_assg_remembers_samples_that_do_not_lie_together():
    u, memory, apart = torch.rand(4, 3, 5), Memory(4), Memory(4)
    rows = torch.tensor([3, 0])
    for _ in range(2):
        whole = ASSG().slope(layer(u, memory))
        found = ASSG().slope(layer(u[rows], apart.of(rows)))
    torch.testing.assert_close(found, whole[rows], rtol=0, atol=0)
    untouched = ASSG().slope(layer(u[1:3], apart.of(torch.tensor([1, 2]))))
    torch.testing.assert_close(untouched, ASSG().slope(layer(u[1:3])), rtol=0, atol=0)
