"""NIR graphs that frameworks export give the frameworks' own outputs."""

import pytest
import torch
from nir_graphs import (
    load,
    nir,
    spikes,
)
from torch import nn

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
