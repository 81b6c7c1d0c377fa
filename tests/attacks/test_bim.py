import pytest
import torch

from spikeflip import LIF, Budget, Rectangular, SpikeflipError, SpikingNetwork
from spikeflip.attacks import BIM, FGSM, bim, fgsm
from spikeflip.attacks.result import Trace
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.losses import resolve


def by_hand(network, image, label, target, *, sample, steps, step_size, loss, seed):
    """Eq. 4 for one image, with autograd through the whole network, until the attack succeeds."""
    for iteration in range(steps + 1):
        ids = torch.tensor([sample])
        spikes = encode(image, network.input_shape, network.time_steps, seed=seed, samples=ids, step=iteration)
        spikes.requires_grad_()
        scores = network(spikes)
        won = int(winner(scores))
        if (iteration == 0 and won != label) or iteration == steps:
            break
        if iteration > 0 and (won == target if target is not None else won not in (label, -1)):
            break
        goal = label if target is None else target
        (gradient,) = torch.autograd.grad(resolve(loss)(scores, torch.tensor([goal])).sum(), spikes)
        direction = gradient.mean(1).sign() * (1 if target is None else -1)
        image = (image + step_size * direction).clamp(0, 1)
    return image, iteration


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_equals_a_loop_by_hand(digit_victim, digits, targeted, loss):
    images, labels = digits.images[:8], digits.labels[:8]
    targets = (labels + 3) % 10 if targeted else None
    found = bim(digit_victim, images, labels, targets, steps=5, step_size=0.07, loss=loss, seed=2, micro_batch=3)
    for n in range(8):
        expected, iterations = by_hand(
            digit_victim,
            images[n : n + 1],
            int(labels[n]),
            None if targets is None else int(targets[n]),
            sample=n,
            steps=5,
            step_size=0.07,
            loss=loss,
            seed=2,
        )
        torch.testing.assert_close(found.adversarials[n : n + 1], expected)
        assert found.steps[n] == iterations


def wired_by_hand(**options):
    """Class k fires exactly when pixel k does; pixel 2 is wired to nothing. The window lets every gradient through."""
    network = SpikingNetwork("2FC", (3,), time_steps=8, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0)), **options)
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    return network


@pytest.mark.parametrize("targets", [None, torch.tensor([1])])
def test_steps_known_by_hand(targets):
    # Down with pixel 0, up with pixel 1, nothing for pixel 2; clipped at 0 and 1.
    image = torch.tensor([[1.0, 0.0, 0.7]])
    one = fgsm(wired_by_hand(), image, torch.tensor([0]), targets, step_size=0.25, loss="ce")
    torch.testing.assert_close(one.adversarials, torch.tensor([[0.75, 0.25, 0.7]]))
    assert one.forwards.tolist() == [2]
    assert one.backwards.tolist() == [1]
    far = fgsm(wired_by_hand(), image, torch.tensor([0]), targets, step_size=3.0, loss="ce")
    assert far.success.all()
    torch.testing.assert_close(far.adversarials, torch.tensor([[0.0, 1.0, 0.7]]))
    many = bim(wired_by_hand(), image, torch.tensor([0]), targets, step_size=0.25, loss="ce", trace=True)
    assert many.success.all()
    k = int(many.steps)
    torch.testing.assert_close(many.adversarials, torch.tensor([[1 - 0.25 * k, 0.25 * k, 0.7]]))
    assert many.trace.mover[0, :k].tolist() == [Trace.SIGN] * k


def test_fgsm_is_one_step_of_bim(digit_victim, digits):
    images, labels = digits.images[:20], digits.labels[:20]
    one = fgsm(digit_victim, images, labels, step_size=0.1, seed=3)
    first = bim(digit_victim, images, labels, steps=1, step_size=0.1, seed=3)
    assert torch.equal(one.adversarials, first.adversarials)
    assert torch.equal(one.success, first.success)


def test_linf_ball(digit_victim, digits):
    images, labels = digits.images[:30], digits.labels[:30]
    result = bim(digit_victim, images, labels, steps=8, step_size=0.05, budget=Budget(0.08, "linf"))
    difference = (result.adversarials - images).abs()
    assert 0.05 < difference.max() <= 0.08 + 1e-6


def test_a_vanished_gradient_moves_nothing_and_is_counted():
    network = wired_by_hand()
    network.neuron = LIF(0.5, 0.0, "hard", Rectangular(0.1))
    result = bim(network, torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([0]), steps=4, loss="ce", trace=True)
    assert result.adversarials.tolist() == [[1.0, 0.0, 0.5]]
    assert result.vanished.tolist() == [4]
    assert result.backwards.tolist() == [0]
    assert result.trace.mover.tolist() == [[Trace.UNMOVED] * 4]


@pytest.mark.parametrize("attack", [BIM, FGSM])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0}, "step_size is 0: give a positive number, such as 0."),
        ({"step_size": float("nan")}, "step_size is nan: give a positive number"),
        ({"step_size": float("inf")}, "step_size is inf: give a positive number"),
        ({"loss": "hinge"}, "loss is 'hinge': choose from mse, ce"),
    ],
)
def test_bad_options(attack, options, message):
    with pytest.raises(SpikeflipError, match=message) as error:
        attack(**options)
    assert "\n" not in str(error.value)


def test_bad_budget_and_inputs():
    network, label = wired_by_hand(), torch.tensor([0])
    with pytest.raises(SpikeflipError, match="budget is -1 in mse"):
        bim(network, torch.ones(1, 3), label, budget=-1)
    with pytest.raises(SpikeflipError, match=r"inputs of shape \(1, 8, 3\) are spikes, but this attack"):
        bim(network, torch.ones(1, 8, 3), label)
    with pytest.raises(SpikeflipError, match=r"images hold the value 2 at \(0, 0\)"):
        fgsm(network, torch.full((1, 3), 2.0), label)
