import math

import pytest
import torch

from spikeflip import LIF, Rectangular, SpikeflipError
from spikeflip.snn.neuron import fire, integrate


class PlainFire(torch.autograd.Function):
    """One time step's firing function, written as the paper defines it."""

    @staticmethod
    def forward(ctx, u, threshold, centre, width):
        ctx.save_for_backward(u)
        ctx.window = (centre, width)
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (u,) = ctx.saved_tensors
        centre, width = ctx.window
        return gradient * ((u - centre).abs() <= width / 2).to(u.dtype) / width, None, None, None


def plain_loop(current: torch.Tensor, neuron: LIF) -> torch.Tensor:
    """Eq. 6 step by step, differentiated by autograd through every step."""
    u = torch.zeros_like(current[:, 0])
    o = torch.zeros_like(u)
    spikes = []
    for t in range(current.shape[1]):
        match neuron.reset:
            case "hard":
                u = neuron.decay * u * (1 - o)
            case "soft":
                u = neuron.decay * (u - neuron.threshold * o)
            case "none":
                u = neuron.decay * u
        u = u + current[:, t]
        centre = neuron.threshold if neuron.centre is None else neuron.centre
        o = PlainFire.apply(u, neuron.threshold, centre, neuron.surrogate.width)
        spikes.append(o)
    return torch.stack(spikes, 1)


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("tuned", [False, True])
def test_gradient_equals_plain_loop_for_every_length(reset, width, tuned):
    neuron = LIF(0.3, 0.4, reset, Rectangular(width))
    neuron = neuron.fire_at(0.8) if tuned else neuron
    for time_steps in range(1, 21):
        generator = torch.Generator().manual_seed(time_steps)
        current = torch.randn(3, time_steps, 4, 2, generator=generator, dtype=torch.float64) * 0.6
        weight = torch.randn(current.shape, generator=generator, dtype=torch.float64)
        ours, theirs = current.clone().requires_grad_(), current.clone().requires_grad_()
        out, expected = fire(ours, neuron), plain_loop(theirs, neuron)
        assert torch.equal(out, expected)
        (out * weight).sum().backward()
        (expected * weight).sum().backward()
        assert theirs.grad.abs().max() > 0
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)


def test_potentials_worked_out_by_hand():
    neuron = LIF(threshold=1.0, decay=0.5)
    potential, spikes = integrate(torch.tensor([[0.8, 0.6, 0.5, 0.5]]), neuron)
    # 0.8; 0.4 + 0.6 = 1.0 fires at equality; reset, 0.5; 0.25 + 0.5
    torch.testing.assert_close(potential, torch.tensor([[0.8, 1.0, 0.5, 0.75]]))
    assert spikes.tolist() == [[0, 1, 0, 0]]


def test_soft_reset_keeps_what_exceeds_the_threshold():
    potential, _ = integrate(torch.tensor([[1.6, 0.0]]), LIF(1.0, 0.5, "soft"))
    torch.testing.assert_close(potential, torch.tensor([[1.6, 0.3]]))


def test_integrate_in_place_gives_the_same():
    current = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = integrate(current, LIF())
    inside = current.clone()
    potential, spikes = integrate(inside, LIF(), potential=inside)
    assert potential is inside
    assert torch.equal(potential, expected[0])
    assert torch.equal(spikes, expected[1])


def test_window_is_inclusive_and_has_area_one():
    window = Rectangular(0.5)
    assert window.derivative(torch.tensor([-0.25, 0.25, 0.2501])).tolist() == [2, 2, 0]
    grid = torch.linspace(-1, 1, 20001, dtype=torch.float64)
    assert math.isclose(float(window.derivative(grid).mean() * 2), 1, rel_tol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(threshold=0), "firing threshold is 0"),
        (lambda: LIF(threshold=float("nan")), "firing threshold is nan"),
        (lambda: LIF(decay=1.5), "decay is 1.5"),
        (lambda: LIF("0.3"), "firing threshold is '0.3': give a positive number"),
        (lambda: LIF(decay="slow"), "decay is 'slow'"),
        (lambda: LIF(surrogate="atan"), "surrogate is 'atan': give a derivative"),
        (lambda: LIF(reset="zero"), "reset is 'zero': choose from hard, soft, none"),
        (lambda: Rectangular(-1), "surrogate width is -1"),
    ],
)
def test_constants_out_of_range(make, message):
    with pytest.raises(SpikeflipError, match=message):
        make()
