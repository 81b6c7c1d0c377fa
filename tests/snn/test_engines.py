"""The event engine against the torch engine: the same numbers, from any batch and any number of threads."""

import logging

import pytest
import torch
from asking import ask
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeflip import LIF, Rectangular, SpikeflipError, SpikingNetwork, scg
from spikeflip.snn.engines import event
from spikeflip.snn.engines.dense import Dropout

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
]


@pytest.fixture(autouse=True)
def best_instructions():
    yield
    if native is not None:
        native.use("")


def network(architecture, shape, seed=0, **neuron):
    constants = {"threshold": 0.3, "decay": 0.3, "surrogate": Rectangular(1.0)} | neuron
    net = SpikingNetwork(architecture, shape, time_steps=5, neuron=LIF(**constants), seed=seed)
    with torch.no_grad():
        for weight in net.weights:
            weight.mul_(3)  # so that spikes reach the output
    return net


def spikes(n, steps, shape, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand((n, steps, *shape), generator=generator) < density).float()


def slope(scores, _rows):
    """A gradient of the scores that differs between classes."""
    return torch.linspace(-1, 1, scores.shape[1]).expand_as(scores)


def scores_and_gradient(net, values, rows=None, **options):
    probe = net.probe(values)
    rows = torch.arange(len(values)) if rows is None else rows
    found = probe.input_gradient(slope, ask(rows, **options))
    return probe.scores, found.values.clone(), found


@needs_native
@pytest.mark.parametrize("instructions", ["avx512", "avx2", "portable"])
@given(
    which=st.sampled_from(NETWORKS),
    reset=st.sampled_from(["hard", "soft", "none"]),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    steps=st.integers(1, 7),
    threshold=st.sampled_from([None, 0.7]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_equals_the_torch_engine(instructions, which, reset, density, steps, threshold, seed):
    if not native.use(instructions):
        pytest.skip(f"this processor has no {instructions}")
    net = network(*which, seed=seed, reset=reset)
    options = {} if threshold is None or len(net.layers) == 1 else {"penultimate_threshold": threshold}
    values = spikes(4, steps, which[1], density, seed)
    rows = torch.tensor([3, 0, 2])
    scores, gradient, facts = scores_and_gradient(net, values, rows, **options)
    ours, our_gradient, our_facts = scores_and_gradient(net.on("event"), values, rows, **options)
    assert torch.allclose(scores, ours, atol=1e-6)
    assert torch.equal(facts.output_zero, our_facts.output_zero)
    assert (gradient - our_gradient).abs().max() <= 1e-5 * max(float(gradient.abs().max()), 1e-6)


@needs_native
def test_results_do_not_depend_on_the_batch_or_on_threads():
    net = network(*NETWORKS[0]).on("event")
    values = spikes(9, 5, (2, 9, 9), 0.1)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(scores_and_gradient(net, values)[:2])
            alone = [scores_and_gradient(net, values[k : k + 1])[:2] for k in range(9)]
            found.append(tuple(torch.cat([one[part] for one in alone]) for part in (0, 1)))
    finally:
        torch.set_num_threads(before)
    for scores, gradient in found[1:]:
        assert torch.equal(scores, found[0][0])
        assert torch.equal(gradient, found[0][1])
    assert found[0][1].abs().max() > 0


@needs_native
def test_adversarials_are_the_same_bits_for_any_micro_batch():
    net = network(*NETWORKS[0])
    values, labels = spikes(7, 5, (2, 9, 9), 0.1), torch.arange(7)
    results = [scg(net.on("event"), values, labels, labels % 9 + 1, micro_batch=size, steps=6) for size in (1, 3, 7)]
    for result in results[1:]:
        assert torch.equal(result.adversarials, results[0].adversarials)
        assert torch.equal(result.steps, results[0].steps)


@needs_native
def test_dense_layers_fall_back_and_stay_the_same(monkeypatch):
    net = network(*NETWORKS[0])
    values = spikes(3, 5, (2, 9, 9), 0.3)
    expected = scores_and_gradient(net, values)
    for share in (0.0, 1.0):  # all layers dense, all layers by events
        monkeypatch.setattr(event, "_DENSE_SPIKES", share)
        monkeypatch.setattr(event, "_DENSE_GRADIENT", share)
        found = scores_and_gradient(net.on("event"), values)
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-7)


@needs_native
def test_an_empty_batch_and_unusual_memory_give_right_results():
    net = network(*NETWORKS[0])
    fast = net.on("event")
    assert fast.scores(spikes(0, 5, (2, 9, 9), 0.1)).shape == (0, 10)
    values = spikes(4, 5, (2, 9, 9), 0.2)
    strided = values.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)
    assert not strided.is_contiguous()
    assert torch.equal(fast.scores(strided), fast.scores(values))
    assert torch.equal(fast.scores(values.double()), fast.scores(values))


@needs_native
def test_new_weights_are_seen():
    net = network(*NETWORKS[0])
    fast = net.on("event")
    values = spikes(4, 5, (2, 9, 9), 0.2)
    fast.scores(values)
    with torch.no_grad():
        net.weights[0].mul_(-1)
    assert torch.allclose(fast.scores(values), net.scores(values), atol=1e-6)


@needs_native
def test_a_network_that_is_not_covered_runs_on_torch_and_says_so_once(caplog):
    net = network("4C9-10FC", (1, 12, 12)).on("event")
    values = spikes(2, 5, (1, 12, 12), 0.2)
    with caplog.at_level(logging.WARNING):
        net.scores(values)
        net.scores(values)
    assert [record.getMessage() for record in caplog.records] == [
        "the torch engine takes over from the event engine: 4C9 has a kernel larger than 7"
    ]


def test_without_the_compiled_kernels_torch_takes_over(monkeypatch, caplog):
    monkeypatch.setattr(event, "native", None)
    net = network(*NETWORKS[0])
    values = spikes(2, 5, (2, 9, 9), 0.2)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(net.on("event").scores(values), net.scores(values))
    assert "installed without a C++ compiler" in caplog.text


def test_an_unknown_engine_is_refused():
    with pytest.raises(SpikeflipError, match="engine is 'tpu': choose from torch, event"):
        network(*NETWORKS[0]).on("tpu").scores(spikes(1, 5, (2, 9, 9), 0.2))


def dropout_of(net, n, share):
    generator = torch.Generator().manual_seed(0)
    return [
        None
        if share == 0 or layer is net.layers[-1]
        else Dropout(torch.rand((n, 1, *shape), generator=generator).gt(share), 1 / (1 - share))
        for layer, shape in zip(net.layers, net.shapes[1:], strict=True)
    ]


def outputs_and_weight_gradients(net, values, dropout):
    engine = net.engine
    sums, outputs = engine.weight_sums(), []

    def output_gradient(out):
        outputs.append(out.clone())
        return slope(out.mean(1), None).unsqueeze(1).expand_as(out).contiguous() / 4

    with torch.no_grad():
        engine.add_weight_gradients(values, output_gradient, dropout, sums)
    return outputs[0], [total for total in engine.weight_gradients(sums) if total is not None]


@needs_native
@pytest.mark.parametrize("instructions", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize("which", NETWORKS[:5])
@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("most_dense", [0.0, 0.25, 1.0])  # all layers dense, some, none
def test_weight_gradients_equal_the_torch_engines(instructions, which, share, most_dense, monkeypatch):
    if not native.use(instructions):
        pytest.skip(f"this processor has no {instructions}")
    monkeypatch.setattr(event, "_DENSE_SPIKES", most_dense)
    monkeypatch.setattr(event, "_DENSE_GRADIENT", most_dense)
    net = network(*which, seed=2)
    values, dropout = spikes(5, 4, which[1], 0.2, 1), dropout_of(net, 5, share)
    out, ours = outputs_and_weight_gradients(net, values, dropout)
    our_out, theirs = outputs_and_weight_gradients(net.on("event"), values, dropout)
    assert torch.equal(out, our_out)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))
    assert any(one.abs().max() > 0 for one in ours)


@needs_native
def test_weight_gradients_do_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr(event, "_DENSE_SPIKES", 1.0)  # PyTorch's own weight gradients depend on them
    monkeypatch.setattr(event, "_DENSE_GRADIENT", 1.0)
    net = network(*NETWORKS[0]).on("event")
    values, dropout = spikes(5, 4, (2, 9, 9), 0.2), dropout_of(net, 5, 0.3)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(outputs_and_weight_gradients(net, values, dropout)[1])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
