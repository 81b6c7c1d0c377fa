"""Rescoring against whole passes over flipped spikes: the same bits by events, the same scores of any victim."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeflip import LIF, Defence, Rectangular, SpikeflipError, SpikingNetwork
from spikeflip.snn.engines import event, event_rescoring
from spikeflip.snn.rescoring import DenseRescoring, rescoring

native = event.native
needs_native = pytest.mark.skipif(native is None, reason="the event engine was not compiled")

NETWORKS = [
    ("8C3-AP2-12C5-AP2-16FC-10FC", (2, 9, 9)),
    ("20C3-33C1-AP2-40C7-70FC-10FC", (3, 7, 6)),
    ("130C3-16FC-10FC", (1, 5, 5)),
    ("AP2-9C3-10FC", (2, 6, 6)),
    ("24C3-10FC", (70, 5, 4)),
    ("64FC-10FC", (12,)),
    ("10FC", (2, 4, 4)),
    ("6FC-10FC", (3, 4)),
]


@pytest.fixture(autouse=True)
def by_events(monkeypatch):
    """Every layer by events, and the best instructions afterwards."""
    monkeypatch.setattr(event, "_DENSE_SPIKES", 2.0)
    yield
    if native is not None:
        native.use("")


def network(architecture, shape, steps=5, seed=0, **neuron):
    """Of weights in tenths: potentials often meet the threshold, 0.3 + 0.7 * 0.1, where their last bit decides."""
    constants = {"threshold": 0.37, "decay": 0.7, "surrogate": Rectangular(1.0)} | neuron
    net = SpikingNetwork(architecture, shape, time_steps=steps, neuron=LIF(**constants), seed=seed)
    with torch.no_grad():
        for weight in net.weights:
            weight.mul_(30).round_().div_(10)
    return net.on("event")


def drawn(seed, n, steps, shape, density=0.1):
    generator = torch.Generator().manual_seed(seed)
    spikes = (torch.rand((n, steps, *shape), generator=generator) < density).float()

    def flips(m, each, unique=False):
        rows = torch.randperm(n, generator=generator)[:m] if unique else torch.randint(n, (m,), generator=generator)
        return rows, torch.randint(-1, spikes[0].numel(), (m, each), generator=generator)

    return spikes, flips


def flipped(spikes, rows, cells):
    """One cell after the other."""
    found = spikes[rows].clone()
    for one, places in zip(found.view(len(rows), spikes[0].numel()), cells.tolist(), strict=True):
        for place in places:
            if place >= 0:
                one[place] = 1 - one[place]
    return found


# --- the same bits as whole passes ---


@needs_native
@pytest.mark.parametrize("instructions", ["avx512", "avx2", "portable"])
@given(
    which=st.sampled_from(NETWORKS),
    reset=st.sampled_from(["hard", "soft", "none"]),
    steps=st.sampled_from([1, 5, 15, 70]),
    n=st.sampled_from([1, 8]),
    each=st.sampled_from([1, 2, 10]),
    density=st.sampled_from([0.0, 0.03, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_equals_a_pass_by_events(instructions, which, reset, steps, n, each, density, seed):
    if not native.use(instructions):
        pytest.skip(f"this processor has no {instructions}")
    net = network(*which, steps, seed, reset=reset)
    spikes, flips = drawn(seed, n, steps, which[1], density)
    held = rescoring(net, spikes, 4)
    assert type(held) is event_rescoring.EventRescoring
    for _ in range(2):
        rows, cells = flips(9, each)
        assert torch.equal(held.scores(rows, cells), net.scores(flipped(spikes, rows, cells)))
        rows, cells = flips(n, each, unique=True)
        held.flip(rows, cells)
        spikes[rows] = flipped(spikes, rows, cells)


@needs_native
def test_flips_at_the_borders_reach_the_output():
    """Every cell of a small input, each of which changes some score at some time."""
    net, shape = network("8C3-AP2-12C5-16FC-10FC", (2, 4, 5), 3), (2, 4, 5)
    spikes, _ = drawn(3, 1, 3, shape, 0.2)
    cells = torch.arange(spikes.numel())[:, None]
    rows = torch.zeros(len(cells), dtype=torch.int64)
    found = rescoring(net, spikes, 4).scores(rows, cells)
    assert torch.equal(found, net.scores(flipped(spikes, rows, cells)))
    changed = (found != net.scores(spikes)).any(1).view(3, 2, 4, 5)
    assert bool(changed.any(0).any(0).all())


@needs_native
def test_no_result_depends_on_threads_or_on_what_else_is_asked():
    net = network(*NETWORKS[0])
    spikes, flips = drawn(0, 3, 5, (2, 9, 9))
    rows, cells = flips(300, 2)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            held = rescoring(net, spikes, 4)
            alone = [held.scores(rows[k : k + 1], cells[k : k + 1]) for k in range(300)]
            found += [held.scores(rows, cells), torch.cat(alone)]
            held.flip(torch.tensor([2, 0]), cells[:2])
            held.flip(torch.tensor([0, 2]), cells[:2].flip(0))
            found.append(held.scores(rows, cells))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(other, found[0])
    assert len(found[0].unique(dim=0)) > 10


@needs_native
def test_samples_beyond_the_memory_for_states_are_made_anew(monkeypatch):
    net = network(*NETWORKS[0])
    spikes, flips = drawn(0, 8, 5, (2, 9, 9))
    monkeypatch.setattr(event_rescoring, "together", lambda wanted, cells: 3)
    held = rescoring(net, spikes, 4)
    for _ in range(3):
        rows, cells = flips(40, 2)
        assert torch.equal(held.scores(rows, cells), net.scores(flipped(spikes, rows, cells)))
        rows, cells = flips(5, 3, unique=True)
        held.flip(rows, cells)
        spikes[rows] = flipped(spikes, rows, cells)


@needs_native
def test_what_is_asked_for_more_memory_than_allowed(monkeypatch):
    """Maps count with their padding, since that takes memory too: 2 channels of 81 pixels as 16."""
    asked = []
    monkeypatch.setattr(event_rescoring, "together", lambda wanted, cells: asked.append((wanted, cells)) or 1)
    rescoring(network("AP3-10FC", (2, 9, 9)), torch.zeros(4, 5, 2, 9, 9), 4)
    assert asked == [(4, 5 * (81 * 16 + 9 * 16 + 16))]


@needs_native
def test_many_flips_of_one_sample_share_the_fully_connected_layers():
    """More frames than are run at a time, from rows of which some change nothing."""
    net = network("8C3-16FC-10FC", (2, 5, 5), 70)
    spikes, flips = drawn(1, 1, 70, (2, 5, 5), 0.2)
    rows, cells = flips(40, 10)
    cells[::3] = -1
    found = rescoring(net, spikes, 4).scores(rows, cells)
    assert torch.equal(found, net.scores(flipped(spikes, rows, cells)))
    assert torch.equal(found[::3], net.scores(spikes).expand(14, 10))


@needs_native
def test_a_layer_too_dense_for_events_is_equal_up_to_rounding(monkeypatch):
    net = SpikingNetwork(*NETWORKS[0], time_steps=5).on("event")
    spikes, flips = drawn(0, 2, 5, (2, 9, 9), 0.5)
    rows, cells = flips(20, 2)
    monkeypatch.setattr(event, "_DENSE_SPIKES", 0.0)  # all in PyTorch
    expected = net.scores(flipped(spikes, rows, cells))
    assert torch.allclose(rescoring(net, spikes, 4).scores(rows, cells), expected, atol=1e-6)


# --- what is held ---


def kinds():
    return [pytest.param(True, marks=needs_native, id="event"), pytest.param(False, id="dense")]


def held_by(compiled, net, spikes):
    return rescoring(net, spikes, 3) if compiled else DenseRescoring(net, spikes, 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_spikes_of_any_type(dtype):
    net = network(*NETWORKS[0])
    spikes, _ = drawn(0, 4, 5, (2, 9, 9))
    rows, cells = torch.tensor([3, 1]), torch.tensor([[8, 17, 8], [5, 30, -1]])
    held, other = (DenseRescoring(net, given, 3) for given in (spikes, spikes.to(dtype)))
    assert torch.equal(other.scores(rows, cells), held.scores(rows, cells))


@pytest.mark.parametrize("compiled", kinds())
def test_nothing_and_padding_flip_nothing(compiled):
    net = network(*NETWORKS[0])
    spikes, _ = drawn(0, 4, 5, (2, 9, 9))
    held, whole, rows = held_by(compiled, net, spikes), net.scores(spikes), torch.tensor([3, 1, 3, 0, 2])
    for cells in (torch.full((5, 2), -1), torch.empty((5, 0), dtype=torch.int64), torch.tensor([[8, 8, -1]] * 5)):
        assert torch.equal(held.scores(rows, cells), whole[rows])
        held.flip(rows[1:], cells[1:])
    none = held.scores(rows[:0], torch.empty((0, 2), dtype=torch.int64))
    assert (none.shape, none.dtype) == ((0, 10), torch.float32)
    held.flip(rows[:0], torch.empty((0, 2), dtype=torch.int64))
    assert torch.equal(held.scores(rows, torch.full((5, 1), -1)), whole[rows])
    assert held_by(compiled, net, spikes[:0]).scores(rows[:0], cells[:0]).shape == (0, 10)


@pytest.mark.parametrize("compiled", kinds())
def test_the_spikes_given_stay_as_they_are_and_are_not_followed(compiled):
    net = network(*NETWORKS[0])
    spikes, flips = drawn(0, 4, 5, (2, 9, 9))
    before, held = spikes.clone(), held_by(compiled, net, spikes)
    rows, cells = flips(30, 3)
    found = held.scores(rows, cells)
    held.flip(torch.tensor([1]), torch.tensor([[7, 80, 800]]))
    assert torch.equal(spikes, before)
    held.flip(torch.tensor([1]), torch.tensor([[80, 800, 7]]))  # back again
    spikes.zero_()
    assert torch.equal(held.scores(rows, cells), found)


@pytest.mark.parametrize("compiled", kinds())
def test_any_memory_is_taken(compiled):
    net = network(*NETWORKS[0])
    spikes, flips = drawn(0, 4, 5, (2, 9, 9))
    rows, cells = flips(6, 3)
    strewn = spikes.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)
    cells_strewn = cells.T.contiguous().T
    assert not cells_strewn.is_contiguous()
    expected = held_by(compiled, net, spikes).scores(rows, cells)
    assert torch.equal(held_by(compiled, net, strewn).scores(rows.repeat_interleave(2)[::2], cells_strewn), expected)


@pytest.mark.parametrize("compiled", kinds())
@pytest.mark.parametrize("row", [-1, 4])
def test_a_row_out_of_range_is_refused(compiled, row):
    held = held_by(compiled, network(*NETWORKS[0]), torch.zeros(4, 5, 2, 9, 9))
    for call in (held.scores, held.flip):
        with pytest.raises(ValueError, match="a row must be one of the samples"):
            call(torch.tensor([0, row]), torch.tensor([[0], [0]]))


@pytest.mark.parametrize("compiled", kinds())
@pytest.mark.parametrize("cell", [-2, 5 * 2 * 81])
def test_a_cell_out_of_range_is_refused(compiled, cell):
    held = held_by(compiled, network(*NETWORKS[0]), torch.zeros(4, 5, 2, 9, 9))
    for call in (held.scores, held.flip):
        with pytest.raises(ValueError, match="a cell must be one of the input's, or -1"):
            call(torch.tensor([0, 1]), torch.tensor([[0, 5], [1, cell]]))


@pytest.mark.parametrize("compiled", kinds())
def test_rows_and_cells_of_other_shapes_are_refused(compiled):
    held = held_by(compiled, network(*NETWORKS[0]), torch.zeros(4, 5, 2, 9, 9))
    for rows, cells in [((2,), (3, 1)), ((2, 1), (2, 1)), ((2,), (2,))]:
        for call in (held.scores, held.flip):
            with pytest.raises(ValueError, match="must be"):
                call(torch.zeros(rows, dtype=torch.int64), torch.zeros(cells, dtype=torch.int64))


@pytest.mark.parametrize("compiled", kinds())
def test_a_sample_is_flipped_once_at_a_time(compiled):
    held = held_by(compiled, network(*NETWORKS[0]), torch.zeros(4, 5, 2, 9, 9))
    with pytest.raises(ValueError, match="no sample may be flipped twice at a time"):
        held.flip(torch.tensor([1, 2, 1]), torch.tensor([[1], [2], [3]]))


# --- which one ---


class Inverted(Defence):
    def transform(self, spikes):
        return 1 - spikes


class Derived(SpikingNetwork):
    def scores(self, spikes):
        return 1 - super().scores(spikes)


def test_other_victims_are_asked_themselves():
    spikes, flips = drawn(0, 4, 5, (2, 9, 9))
    rows, cells = flips(10, 3)
    net, other = network(*NETWORKS[0]), network(*NETWORKS[0]).double()
    for victim in (net.on("torch"), other, Inverted(net), Derived(*NETWORKS[0]).on("event")):
        held = rescoring(victim, spikes, 3)
        assert type(held) is DenseRescoring
        expected = victim.scores(flipped(spikes, rows, cells))
        torch.testing.assert_close(held.scores(rows, cells), expected, rtol=0, atol=1e-6)
        held.flip(rows[:1], cells[:1])
        assert torch.equal(held.spikes[rows[0]], flipped(spikes, rows[:1], cells[:1])[0])


def test_the_dense_one_runs_a_micro_batch_at_a_time():
    class Counted:
        classes = 2

        def scores(self, spikes):
            sizes.append(len(spikes))
            return spikes.flatten(1)[:, :2]

    sizes = []
    held = DenseRescoring(Counted(), torch.zeros(2, 1, 4), 3)
    found = held.scores(torch.tensor([0, 1, 1, 0, 0, 0, 1]), torch.tensor([[0], [1], [2], [3], [-1], [0], [1]]))
    assert sizes == [3, 3, 1]
    assert found.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0], [1, 0], [0, 1]]


@needs_native
def test_what_is_not_binary_or_never_rests_is_run_whole():
    net = network(*NETWORKS[0])
    for value in (0.5, 2.0, -1.0, float("nan")):
        spikes = torch.zeros(1, 5, 2, 9, 9)
        spikes[0, 4, 1, 8, 8] = value
        assert type(rescoring(net, spikes, 3)) is DenseRescoring
    never = network(*NETWORKS[0], threshold=1e-50)
    assert type(rescoring(never, torch.zeros(1, 5, 2, 9, 9), 3)) is DenseRescoring


def test_spikes_of_another_shape_are_refused():
    with pytest.raises(SpikeflipError, match="spikes have shape"):
        rescoring(network(*NETWORKS[0]), torch.zeros(4, 5, 9, 9), 3)


@needs_native
def test_weights_are_those_of_the_time():
    net = network(*NETWORKS[0])
    spikes, flips = drawn(0, 4, 5, (2, 9, 9))
    rows, cells = flips(10, 3)
    held, expected = rescoring(net, spikes, 3), net.scores(flipped(spikes, rows, cells))
    with torch.no_grad():
        net.weights[0].mul_(-1)
    assert torch.equal(held.scores(rows, cells), expected)
    assert not torch.equal(rescoring(net, spikes, 3).scores(rows, cells), expected)
