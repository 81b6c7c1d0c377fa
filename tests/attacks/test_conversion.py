import pytest
import torch
import torch.nn.functional as F

from spikeflip import LIF, Budget, SpikeflipError, SpikingNetwork
from spikeflip.attacks import Conversion, conversion
from spikeflip.attacks.conversion import twin_gradient
from spikeflip.snn.network import ReluNetwork


def twin_sign(victim, images, classes):
    """The sign of the input gradient of the cross-entropy of a ReLU network with the victim's weights, by autograd."""
    twin = ReluNetwork(victim.architecture, victim.input_shape)
    twin.load_state_dict(victim.state_dict())
    leaf = images.clone().requires_grad_()
    F.cross_entropy(twin(leaf), classes, reduction="sum").backward()
    return leaf.grad.sign()


@pytest.mark.parametrize("targeted", [False, True])
def test_one_step_is_fgsm_on_the_twin(digit_victim, digits, targeted):
    images, labels = digits.images[:30], digits.labels[:30]
    targets = (labels + 1) % 10 if targeted else None
    result = conversion(digit_victim, images, labels, targets, steps=1, budget=Budget(0.1, "linf"))
    sign = -twin_sign(digit_victim, images, targets) if targeted else twin_sign(digit_victim, images, labels)
    expected = (images + 0.1 * sign).clamp(0, 1)
    attacked = ~result.already_wrong
    torch.testing.assert_close(result.adversarials[attacked], expected[attacked])
    assert (result.forwards[attacked] == 3).all()  # two that judge, one of the twin
    assert (result.backwards[attacked] == 1).all()
    assert not result.vanished.any()


def test_more_steps_are_pgd_on_the_twin(digit_victim, digits):
    images, labels = digits.images[:30], digits.labels[:30]
    result = conversion(digit_victim, images, labels, steps=4, budget=Budget(0.05, "linf"))
    inputs = images
    for _ in range(4):
        inputs = (inputs + 2.5 * 0.05 / 4 * twin_sign(digit_victim, inputs, labels)).clamp(0, 1)
        inputs = torch.minimum(torch.maximum(inputs, images - 0.05), images + 0.05)
    to_the_end = (result.steps == 4) & ~result.already_wrong
    assert to_the_end.any()
    torch.testing.assert_close(result.adversarials[to_the_end], inputs[to_the_end])
    assert (result.adversarials - images).abs().max() <= 0.05 + 1e-6


def test_the_victim_keeps_its_weights_and_gets_no_gradient(digit_victim, digits):
    before = [weight.clone() for weight in digit_victim.weights]
    conversion(digit_victim, digits.images[:5], digits.labels[:5], steps=2)
    assert all(torch.equal(weight, kept) for weight, kept in zip(digit_victim.weights, before, strict=True))
    assert all(weight.grad is None and weight.requires_grad for weight in digit_victim.weights)


def test_other_victims_than_spiking_networks(digit_victim, digits):
    twin = ReluNetwork.twin_of(digit_victim)
    with pytest.raises(SpikeflipError, match="the victim is a ReluNetwork, but conversion needs the weights of a") as e:
        conversion(twin, digits.images[:2], digits.labels[:2])
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": -1.0}, "step_size is -1.0: give a positive number"),
        ({"budget": None}, "step_size is not given, and cannot be taken from no budget: give it"),
        ({"budget": Budget(0.1)}, "step_size is not given, and cannot be taken from a budget in mse: give it"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(SpikeflipError, match=message) as error:
        Conversion(**options)
    assert "\n" not in str(error.value)


def test_a_step_size_of_one_s_own_needs_no_budget(digit_victim, digits):
    images, labels = digits.images[:10], digits.labels[:10]
    result = conversion(digit_victim, images, labels, steps=3, step_size=0.2, budget=None)
    assert (result.adversarials - images).abs().max() > 0.2


def test_spikes_and_steps(digit_victim, digits):
    with pytest.raises(SpikeflipError, match="are spikes, but this attack is defined on images only"):
        conversion(digit_victim, torch.ones(1, 10, 1, 8, 8), torch.tensor([0]))
    with pytest.raises(SpikeflipError, match=r"steps is 0: give a number in .1, 1e.06., such as 25"):
        conversion(digit_victim, digits.images[:1], digits.labels[:1], steps=0)


def test_a_double_victim_is_attacked_in_double():
    """What float32 cannot tell apart, the weights of both classes at pixel 1, decides which way that pixel moves."""
    victim = SpikingNetwork("2FC", (2,), time_steps=4, coding="latency", neuron=LIF(0.5, 0.0)).double()
    with torch.no_grad():
        victim.weights[0].copy_(torch.tensor([[1.0, 0.25], [0.0, 0.25 + 1e-12]], dtype=torch.float64))
    images, label = torch.tensor([[0.8, 0.2]], dtype=torch.float64), torch.tensor([0])
    result = conversion(victim, images, label, steps=1, step_size=0.1, budget=None)
    assert result.already_wrong.tolist() == [False]
    torch.testing.assert_close(result.adversarials, torch.tensor([[0.7, 0.3]], dtype=torch.float64))
    twin = ReluNetwork.twin_of(victim)
    found, leaf = twin_gradient(twin, images, label), images.clone().requires_grad_()
    F.cross_entropy(leaf @ victim.weights[0].detach().T, label).backward()
    torch.testing.assert_close(found, leaf.grad, rtol=1e-12, atol=0)
    assert twin_gradient(twin, images.float(), label).dtype == torch.float32
