"""Currents on a GPU's matrix units: the arithmetic, without a GPU. On one: tests/test_gpu.py."""

import pytest
import torch

from spikeflip.snn.engines import dense
from spikeflip.snn.engines.matrix_units import halves, has_tf32, tf32


def test_halves_are_tf32_numbers_that_sum_to_the_weight():
    weight = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    high, low = halves(weight)
    assert torch.equal(high + low, weight)
    assert not (high.view(torch.int32) & 0x1FFF).any()
    assert (low.abs() <= 2**-10 * weight.abs()).all()
    assert low.any()


def test_a_cpu_has_no_tf32():
    assert not has_tf32(torch.device("cpu"))


@pytest.mark.parametrize("allowed", [True, False])
def test_settings_hold_inside_and_come_back(allowed):
    place, name = (
        (torch.backends.cudnn.conv, "fp32_precision")
        if hasattr(torch.backends.cudnn, "conv")
        else (torch.backends.cudnn, "allow_tf32")
    )
    before = getattr(place, name), torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    def fails():
        with tf32(allowed):
            assert getattr(place, name) in ({"tf32", True} if allowed else {"ieee", False})
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (getattr(place, name), torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == before


def test_what_a_gpu_computes_is_what_the_cpu_does(monkeypatch, deep_network, some_spikes):
    spikes = some_spikes(3, 6, 2, 9, 9)
    expected = deep_network.on("torch").scores(spikes)
    monkeypatch.setattr(dense, "has_tf32", lambda _device: True)
    engine = deep_network.on("torch").engine
    for i in range(len(deep_network.layers)):
        plain = engine._plain_current(i, spikes)
        torch.testing.assert_close(engine.current(i, spikes), plain, rtol=1e-6, atol=1e-6)
        spikes = (plain >= 0.2).float()
    assert set(engine._halves) == {i for i, weight in enumerate(engine.chain.weights) if i and weight is not None}
    torch.testing.assert_close(deep_network.on("torch").scores(some_spikes(3, 6, 2, 9, 9)), expected)
