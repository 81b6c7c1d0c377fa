"""The kernels of GPU and CPU against the plain loop; those of the GPU also, everywhere, in Triton's interpreter.

The interpreter runs the kernels on CPU tensors, but only in a process that asked for it before Triton was imported.
"""

import contextlib
import subprocess
import sys
from functools import partial

import pytest
import torch
from asking import ask
from triton_interpreter import INTERPRETED, check_in_the_interpreter, needs_triton

from spikeflip import LIF, Rectangular
from spikeflip.snn import fused
from spikeflip.snn.neuron import fire, integrate, reverse

RESETS = pytest.mark.parametrize("reset", ["hard", "soft", "none"])
SHAPES = [
    (3, 1, 10),  # one time step
    (2, 7, 1),  # one neuron
    (5, 4),
    (2, 3, 1100),  # several blocks, the last one not full
    (2, 5, 3, 7, 5),
    (3, 6, 1, 5, 1),
    (2, 2, 24, 5, 5),
]
LAYOUTS = {
    "contiguous": lambda values: values.clone(memory_format=torch.contiguous_format),
    "channels last": lambda values: _channels_last(values),
    "every second sample": lambda values: _channels_last(values.repeat_interleave(2, 0))[::2],
    "a part of the steps": lambda values: _channels_last(torch.cat([values, values], 1))[:, : values.shape[1]],
}


def _channels_last(values):
    if values.ndim < 5:
        return values.clone(memory_format=torch.contiguous_format)
    return values.permute(0, 1, 3, 4, 2).clone(memory_format=torch.contiguous_format).permute(0, 1, 4, 2, 3)


@pytest.fixture(params=["triton"] if INTERPRETED else ["triton", "compiled"])
def device(monkeypatch, request):
    if request.param == "compiled":
        if not fused._COMPILED:
            pytest.skip("the kernels of the CPU were not compiled")
        return "cpu"
    if INTERPRETED:
        monkeypatch.setattr(fused, "_DEVICES", frozenset({"cpu"}))
        monkeypatch.setattr(fused, "_COMPILED", frozenset())
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here; the same tests run in Triton's interpreter")
    return "cuda"


@contextlib.contextmanager
def plain_loop():
    """The loop over time steps instead of the kernels."""
    devices = fused._DEVICES, fused._COMPILED
    fused._DEVICES = fused._COMPILED = frozenset()
    try:
        yield
    finally:
        fused._DEVICES, fused._COMPILED = devices


def normal(*shape, seed=0, device="cpu", grid=None):
    """Random values; multiples of ``1 / grid`` if given, with which short sequences are computed exactly."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.6
    return (values if grid is None else (values * grid).round() / grid).to(device)


def neurons(reset, *, tuned=False, width=1.0, threshold=0.5, decay=0.5):
    neuron = LIF(threshold, decay, reset, Rectangular(width))
    return neuron.fire_at(0.75) if tuned else neuron


@pytest.mark.gpu
@RESETS
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tuned", [False, True])
def test_kernels_equal_the_plain_loop(device, reset, layout, tuned):
    neuron = neurons(reset, tuned=tuned)
    for seed, shape in enumerate(SHAPES):
        current = LAYOUTS[layout](normal(*shape, seed=seed, device=device, grid=16))
        gradient = LAYOUTS[layout](normal(*shape, seed=seed + 100, device=device))
        with plain_loop():
            potential, spikes = integrate(current, neuron)
            expected = reverse(gradient.clone(), potential, neuron)
        ours, fired = torch.full_like(current, 7), torch.full_like(current, 7)
        if layout in ("every second sample", "a part of the steps"):
            ours, fired = LAYOUTS[layout](ours), LAYOUTS[layout](fired)
        assert fused.integrate(current, ours, fired, neuron)
        assert torch.equal(ours, potential)
        assert torch.equal(fired, spikes)
        assert (potential == neuron.threshold).any() or current.numel() < 1000  # equality fires
        kept = LAYOUTS[layout](potential)
        assert fused.reverse(gradient, kept, neuron)
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)
        assert expected.any()


@pytest.mark.gpu
@RESETS
@pytest.mark.parametrize("width", [0.5, 3.0])
def test_any_constants_within_rounding(device, reset, width):
    neuron = neurons(reset, width=width, threshold=0.3, decay=0.37)
    current = normal(4, 12, 3, 5, 4, device=device)
    upper = normal(4, 12, 3, 5, 4, seed=1, device=device)
    with plain_loop():
        potential, spikes = integrate(current, neuron)
        expected = reverse(upper.clone(), potential, neuron)
    ours, fired = integrate(current.clone(), neuron)
    torch.testing.assert_close(ours, potential, rtol=1e-6, atol=1e-6)
    assert torch.equal(fired, spikes)
    torch.testing.assert_close(reverse(upper, potential, neuron), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.gpu
def test_potentials_may_overwrite_currents(device):
    current = normal(3, 5, 40, device=device, grid=16)
    with plain_loop():
        potential, spikes = integrate(current, neurons("hard"))
    ours, fired = integrate(current, neurons("hard"), potential=current)
    assert ours is current
    assert torch.equal(ours, potential)
    assert torch.equal(fired, spikes)


@pytest.mark.gpu
def test_autograd_takes_the_kernels(device, monkeypatch):
    taken = _watch(monkeypatch)
    found = []
    for seed in range(3):
        current = normal(2, 6, 5, 4, 3, seed=seed, device=device, grid=16).requires_grad_()
        for loop in (contextlib.nullcontext(), plain_loop()):
            with loop:
                (gradient,) = torch.autograd.grad(fire(current, neurons("hard")).square().sum(), current)
            found.append(gradient)
    assert taken == [True, True, False, False] * 3
    for ours, expected in zip(found[::2], found[1::2], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)
        assert expected.any()


@pytest.mark.gpu
@pytest.mark.parametrize("threshold", [None, 0.6])
def test_every_layer_of_the_engine_takes_the_kernels(device, deep_network, some_spikes, monkeypatch, threshold):
    network = deep_network.to(device)
    with torch.no_grad():
        for weight in network.weights:
            weight.mul_(2)
    spikes, rows = some_spikes(5, 6, 2, 9, 9).to(device), torch.tensor([4, 0, 2], device=device)
    taken = _watch(monkeypatch)
    found = []
    for loop in (contextlib.nullcontext(), plain_loop()):
        with loop:
            probe = network.probe(spikes)
            gradient = probe.input_gradient(
                lambda scores, _rows: torch.linspace(-1, 1, 10, device=device).expand_as(scores),
                ask(rows, penultimate_threshold=threshold),
            )
            found.append((probe.scores, gradient.values.clone()))
    half = len(taken) // 2
    assert half >= 2 * len(network.layers)
    assert taken == [True] * half + [False] * half
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
    assert found[1][1].any()


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("current", "potential"),
    [
        (lambda make: make(2, 4, 5, 3, 6)[..., ::2], torch.empty(2, 4, 5, 3, 3)),  # neurons strewn in memory
        (lambda make: _channels_last(make(2, 4, 5, 3, 3)), torch.empty(2, 4, 5, 3, 3)),  # in another order
        (lambda make: make(2, 4, 5).double(), torch.empty(2, 4, 5).double()),
        (lambda make: make(0, 4, 5), torch.empty(0, 4, 5)),
    ],
    ids=["strewn", "another order", "float64", "none"],
)
def test_what_the_kernels_do_not_take_runs_in_the_loop(device, monkeypatch, current, potential):
    current, potential = current(partial(normal, device=device)), potential.to(device)
    neuron, gradient = neurons("soft"), current.clone(memory_format=torch.preserve_format)
    taken = _watch(monkeypatch)
    integrate(current, neuron, potential=potential)
    with plain_loop():
        expected, _ = integrate(current, neuron)
        expected_gradient = reverse(gradient, expected, neuron)
    assert torch.equal(potential, expected)
    assert torch.equal(reverse(current, potential, neuron), expected_gradient)
    assert taken == [False] * 4


def _watch(monkeypatch):
    """A list to which every call for a kernel adds whether it was answered."""
    taken = []
    for name in ("integrate", "reverse"):
        kernel = getattr(fused, name)

        def watched(*arguments, kernel=kernel):
            taken.append(kernel(*arguments))
            return taken[-1]

        monkeypatch.setattr(fused, name, watched)
    return taken


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
@pytest.mark.slow
def test_in_the_interpreter():
    check_in_the_interpreter(__file__)


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="the interpreter does not compile")
@RESETS
def test_kernels_compile_for_a_gpu_that_is_not_there(reset):
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from spikeflip.snn import fused_kernels

    for kernel in (fused_kernels.integrate, fused_kernels.reverse):
        names = kernel.arg_names
        signature = dict.fromkeys(names, "i32")
        signature |= dict.fromkeys({"current", "potential", "spikes", "gradient"} & set(names), "*fp32")
        signature |= dict.fromkeys({"threshold", "decay", "centre", "half_width", "height"} & set(names), "fp32")
        signature |= {"reset": "constexpr", "block": "constexpr"}
        source = ASTSource(kernel, signature, {(names.index("reset"),): reset, (names.index("block"),): fused._BLOCK})
        assert "cubin" in compile(source, target=GPUTarget("cuda", 80, 32)).asm


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="the interpreter does not compile")
def test_where_triton_cannot_compile_the_loop_takes_over_and_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(fused, "_COMPILED", frozenset())
    monkeypatch.setattr(fused, "_DEVICES", frozenset({"cpu"}))  # Triton has no compiler for it
    current = normal(2, 5, 30)
    with plain_loop():
        expected, _ = integrate(current, neurons("hard"))
    fused._kernels.cache_clear()
    try:
        for _ in range(2):
            assert torch.equal(integrate(current, neurons("hard"))[0], expected)
    finally:
        fused._kernels.cache_clear()
    (record,) = caplog.records
    assert record.getMessage().startswith("neurons run step by step on cpu: Triton cannot compile their kernel (")


@pytest.mark.processes
def test_the_package_works_without_triton():
    script = """
import sys
sys.modules["triton"] = None  # as if it was not installed
import torch
import spikeflip
from spikeflip.snn import fused
from spikeflip.snn.neuron import integrate
fused._DEVICES, fused._COMPILED = frozenset({"cpu"}), frozenset()
_, spikes = integrate(torch.tensor([[0.8, 0.6, 0.5, 0.5]]), spikeflip.LIF(1.0, 0.5))
print(spikes.tolist(), "kernels were asked for", fused._kernels.cache_info().misses)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (
        0,
        "[[0.0, 1.0, 0.0, 0.0]] kernels were asked for 1\n",
        "",
    )


@pytest.mark.processes
def test_cpus_never_ask_for_triton():
    script = """
import sys
import torch, spikeflip
network = spikeflip.SpikingNetwork("4C3-10FC", (1, 6, 6))
network.probe(torch.ones(2, 3, 1, 6, 6)).input_gradient(lambda scores, rows: scores + 1)
print("spikeflip.snn.fused_kernels" in sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.stdout == "False\n"
