import pytest
import torch

from spikeflip import LIF, SCG, Budget, Rectangular, SpikeflipError, SpikingNetwork, every_target, scg
from spikeflip.attacks import loop
from spikeflip.attacks.result import Trace, Vanishing
from spikeflip.attacks.scg import (
    gradient_to_spike,
    largest_elements,
    overflow_aware,
    probabilistic_sampling,
    restricted_spike_flipper,
    sign_extraction,
)


@pytest.mark.parametrize(
    ("spike", "ternary", "step", "after"),
    [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 1, 1), (1, 1, 0, 1), (0, -1, 0, 0), (1, -1, -1, 0)],
)
def test_table_ii(spike, ternary, step, after):
    found = overflow_aware(torch.tensor([float(ternary)]), torch.tensor([float(spike)]))
    assert found.item() == step
    assert spike + found.item() == after


@pytest.mark.parametrize(("spike", "mask", "step", "after"), [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 1, 1), (1, 1, -1, 0)])
def test_table_iv(spike, mask, step, after):
    number = torch.tensor([0.0 if mask else 0.99])
    found = restricted_spike_flipper(torch.tensor([float(spike)]), 0.5, number)
    assert found.item() == step
    assert spike + found.item() == after


def test_sampling_keeps_in_proportion_and_always_the_largest():
    gradient = torch.tensor([[-4.0, 2.0, 1.0, 0.0]]).expand(20000, 4)
    numbers = torch.rand(gradient.shape, generator=torch.Generator().manual_seed(0))
    kept = probabilistic_sampling(gradient, numbers).mean(0)
    torch.testing.assert_close(kept, torch.tensor([1.0, 0.5, 0.25, 0.0]), rtol=0, atol=0.015)


def test_sampling_of_a_zero_gradient_keeps_nothing():
    assert not probabilistic_sampling(torch.zeros(1, 3), torch.zeros(1, 3)).any()


def test_sign_and_whole_converter():
    gradient, spikes = torch.tensor([[-2.0, 1.0, 3.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    assert sign_extraction(gradient, torch.tensor([[1.0, 0.0, 1.0, 1.0]])).tolist() == [[-1, 0, 1, 0]]
    assert gradient_to_spike(gradient, spikes, None).tolist() == [[-1, 1, 0, 0]]


def wired_by_hand():
    """Class k fires exactly when cell k does; cell 2 is wired to nothing. The window lets every gradient through."""
    network = SpikingNetwork("2FC", (3,), time_steps=1, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0)))
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    return network


@pytest.mark.parametrize("targets", [None, torch.tensor([1])])
@pytest.mark.parametrize("sampling", [False, True])
def test_finds_the_flips_known_by_hand(targets, sampling):
    # To make class 1 fire alone, cell 0 must be removed and cell 1 added: nothing less does it, nothing else helps.
    spikes = torch.tensor([[[1.0, 0.0, 0.0]]])
    result = scg(wired_by_hand(), spikes, torch.tensor([0]), targets, threshold=None, loss="ce", sampling=sampling)
    assert result.success.all()
    assert result.adversarials.tolist() == [[[0.0, 1.0, 0.0]]]
    assert result.steps.tolist() == [1]
    assert result.forwards.tolist() == [2]
    assert result.backwards.tolist() == [1]


def test_finds_the_pixels_known_by_hand():
    image = torch.tensor([[1.0, 0.0, 0.7]])
    network = wired_by_hand()
    network.time_steps = 4
    result = scg(network, image, torch.tensor([0]), threshold=None, loss="ce", sampling=False)
    assert result.success.all()
    torch.testing.assert_close(result.adversarials, torch.tensor([[0.0, 1.0, 0.7]]))


def test_cwl2_is_equation_14():
    # One step of +-1 a time step moves the two wired pixels all the way; the pull starts at the second iteration only.
    network = wired_by_hand()
    image, label = torch.tensor([[0.9, 0.6, 0.5]]), torch.tensor([0])
    network.time_steps = 16
    plain = scg(network, image, label, threshold=None, loss="ce", steps=2)
    assert plain.steps.item() == 1
    attack = SCG(threshold=None, loss="ce", c=0.25)

    class Step:
        inputs, originals = torch.tensor([[0.5, 0.6, 0.5]]), image
        spikes = torch.zeros(1, 16, 3)
        counts, success = False, torch.tensor([False])

        def uniform(self, _purpose, shape, _rows):
            return torch.zeros(1, *shape)

        def gradient(self, _loss, _request, encodings):
            values = torch.zeros(1, 16, 3)
            values[0, :4, 1] = 1
            return type("G", (), {"values": values})()

    moved = attack.update(Step()).inputs
    # pixel 0: 0.5 - 0.25 * 2 * (0.5 - 0.9) = 0.7; pixel 1: 0.6 + 4/16
    torch.testing.assert_close(moved, torch.tensor([[0.7, 0.85, 0.5]]))


def silent_network():
    """Its output neurons stay far below their window whatever the input is."""
    network = SpikingNetwork("4FC-2FC", (6,), time_steps=3, neuron=LIF(0.5, 0.0, "hard", Rectangular(0.1)))
    with torch.no_grad():
        network.weights[0].fill_(0.0)
        network.weights[1].fill_(0.0)
    return network


def class_zero_alone():
    """Class 0 fires whenever a cell does, far above its window; class 1 never."""
    network = SpikingNetwork("2FC", (6,), time_steps=3, neuron=LIF(0.5, 0.0, "hard", Rectangular(0.1)))
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[5.0] * 6, [-5.0] * 6]))
    return network


def test_the_two_causes_of_vanishing_are_told_apart():
    spikes = torch.ones(1, 3, 6)
    label = torch.tensor([0])
    mse = scg(class_zero_alone(), spikes, label, threshold=None, loss="mse", steps=1)
    ce = scg(class_zero_alone(), spikes, label, threshold=None, loss="ce", steps=1)
    wide = scg(class_zero_alone(), spikes, label, threshold=None, loss="ce", steps=1, output_window=99.0)
    assert mse.first_vanishing.tolist() == [Vanishing.LOSS]
    assert ce.first_vanishing.tolist() == [Vanishing.OUTPUT]
    assert wide.first_vanishing.tolist() == [Vanishing.NONE]
    assert (mse.backwards.item(), ce.backwards.item(), wide.backwards.item()) == (0, 0, 1)


def test_largest_elements_by_hand():
    gradient = torch.tensor([[0.5, -4.0, 2.0, 2.0, -2.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
    assert largest_elements(gradient, 1).tolist() == [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert largest_elements(gradient, 3).tolist() == [[0, 1, 1, 1, 0], [1, 1, 1, 0, 0]]
    assert largest_elements(gradient.reshape(2, 1, 5), 9).tolist() == torch.ones(2, 1, 5).tolist()
    many = largest_elements(torch.ones(1, 1000), 100)  # a fast sort keeps the order of few equal numbers by chance
    assert many[0].nonzero().squeeze(1).tolist() == list(range(100))


def test_top_k_moves_at_most_k_cells_a_step_and_nothing_is_drawn(some_spikes):
    network = SpikingNetwork("12FC-3FC", (7,), time_steps=4, neuron=LIF(0.2, 0.5, "hard", Rectangular(3.0)), seed=5)
    spikes = some_spikes(8, 4, 7)
    labels = network.scores(spikes).argmax(1)
    options = {"loss": "ce", "threshold": None, "steps": 1, "flipper": False}
    result = scg(network, spikes, labels, top_k=3, **options)
    flipped = (result.adversarials != spikes).flatten(1).sum(1)
    assert 1 <= flipped.max() <= 3
    leaf = spikes.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(network(leaf), labels, reduction="sum"), leaf)
    for n in (~result.already_wrong).nonzero().flatten().tolist():
        sizes = gradient[n].abs().flatten().tolist()
        largest = sorted(range(28), key=lambda i, sizes=sizes: (-sizes[i], i))[:3]
        expected = spikes[n].flatten().clone()
        for i in largest:
            expected[i] = (expected[i] + gradient[n].flatten()[i].sign()).clamp(0, 1)
        assert torch.equal(result.adversarials[n].flatten(), expected)
    other = scg(network, spikes, labels, top_k=3, seed=1, sampling=False, **options)
    assert torch.equal(other.adversarials, result.adversarials)


def test_rescue_asks_vanished_samples_once_more():
    spikes, label = torch.ones(1, 3, 6), torch.tensor([0])
    options = {"threshold": None, "loss": "ce", "steps": 1, "trace": True}
    wide = scg(class_zero_alone(), spikes, label, output_window=99.0, **options)
    rescued = scg(class_zero_alone(), spikes, label, rescue_window=99.0, **options)
    assert torch.equal(rescued.adversarials, wide.adversarials)
    assert rescued.vanished.tolist() == [1]
    assert rescued.first_vanishing.tolist() == [Vanishing.OUTPUT]
    assert rescued.trace.mover.tolist() == [[Trace.CONVERTER]]
    assert rescued.backwards.tolist() == [1]
    assert rescued.forwards.tolist() == wide.forwards.tolist()
    # A window that reaches no potential either leaves it to the flipper, and no pass went below the output layer.
    narrow = scg(class_zero_alone(), spikes, label, rescue_window=0.2, **options)
    assert torch.equal(narrow.adversarials, scg(class_zero_alone(), spikes, label, **options).adversarials)
    assert narrow.trace.mover.tolist() == [[Trace.FLIPPER]]
    assert narrow.backwards.tolist() == [0]


@pytest.mark.parametrize("threshold", [None, 1.0])
@pytest.mark.parametrize("engine", ["torch", "event"])
def test_rescue_changes_vanished_samples_alone(digit_victim, digits, engine, threshold):
    images, labels = digits.images[:40], digits.labels[:40]
    options = {"threshold": threshold, "steps": 1, "loss": "ce"}
    victim = digit_victim.on(engine)
    victim.neuron = LIF(0.3, 0.25, "hard", Rectangular(0.2))
    plain = scg(victim, images, labels, **options)
    rescued = scg(victim, images, labels, rescue_window=5.0, **options)
    assert torch.equal(plain.first_vanishing, rescued.first_vanishing)
    vanished = plain.vanished.bool()
    assert vanished.any()
    assert not vanished[~plain.already_wrong].all()
    assert torch.equal(plain.adversarials[~vanished], rescued.adversarials[~vanished])
    assert torch.equal(plain.backwards[~vanished], rescued.backwards[~vanished])
    assert (rescued.backwards[plain.first_vanishing == Vanishing.OUTPUT] == 1).all()
    wide = scg(victim, images, labels, output_window=5.0, **options)
    assert torch.equal(rescued.adversarials[vanished], wide.adversarials[vanished])
    # The raised threshold holds in the second pass too: without it the same samples would move otherwise.
    if threshold is not None:
        own = scg(victim, images, labels, output_window=5.0, **options | {"threshold": None})
        assert not torch.equal(rescued.adversarials[vanished], own.adversarials[vanished])


def test_flipper_turns_over_gamma_of_the_cells():
    network = class_zero_alone()
    spikes = torch.ones(200, 3, 6)
    result = scg(network, spikes, torch.zeros(200, dtype=torch.int64), threshold=None, gamma=0.25, steps=1)
    flipped = (result.adversarials != spikes).float().mean()
    assert float(flipped) == pytest.approx(0.25, abs=0.03)
    assert result.vanished.tolist() == [1] * 200


def test_without_the_flipper_vanished_spikes_stay_as_they_are():
    spikes = torch.ones(2, 3, 6)
    labels = torch.zeros(2, dtype=torch.int64)
    result = scg(class_zero_alone(), spikes, labels, threshold=None, flipper=False, trace=True)
    assert torch.equal(result.adversarials, spikes)
    assert not result.success.any()
    assert result.trace.mover[:, 0].tolist() == [Trace.UNMOVED] * 2
    assert (result.trace.mover[:, 1:] == Trace.NOT_RUN).all()  # no use in trying the same again


def test_ties_are_neither_correct_nor_success():
    result = scg(silent_network(), torch.ones(1, 3, 6), torch.tensor([0]))
    assert result.already_wrong.all()
    assert not result.success.any()
    assert result.prediction.tolist() == [-1]


def test_mse_budget_fails_the_sample_and_keeps_the_last_state_below(digit_victim, digits):
    images, labels = digits.images[:40], digits.labels[:40]
    free = scg(digit_victim, images, labels, seed=1)
    bounded = scg(digit_victim, images, labels, seed=1, budget=0.03)
    mse = (bounded.adversarials - images).square().flatten(1).mean(1)
    assert (mse < 0.03).all()
    assert bounded.over_budget.any()
    assert not (bounded.over_budget & bounded.success).any()
    same = ~bounded.over_budget
    assert torch.equal(bounded.adversarials[same], free.adversarials[same])


def test_linf_ball_on_images(digit_victim, digits):
    images, labels = digits.images[:40], digits.labels[:40]
    result = scg(digit_victim, images, labels, budget=Budget(0.1, "linf"), steps=10)
    difference = (result.adversarials - images).abs()
    assert difference.max() <= 0.1 + 1e-6
    assert result.adversarials.min() >= 0
    assert result.adversarials.max() <= 1
    larger = scg(digit_victim, images, labels, budget=Budget(0.5, "linf"), steps=10)
    assert larger.success.sum() > result.success.sum()


def test_tuning_acts_in_the_generating_pass_only(digit_victim, digits):
    images, labels = digits.images[:20], digits.labels[:20]
    own = scg(digit_victim, images, labels, threshold=None, trace=True)
    raised = scg(digit_victim, images, labels, threshold=2.0, trace=True)
    assert torch.equal(own.already_wrong, raised.already_wrong)  # judged at the victim's own threshold
    first = ~own.already_wrong
    assert (raised.trace.penultimate_spikes[first, 0] <= own.trace.penultimate_spikes[first, 0]).all()
    assert raised.trace.penultimate_spikes[first, 0].sum() < own.trace.penultimate_spikes[first, 0].sum()


def test_digits_are_fooled_both_ways(digit_victim, digits):
    images, labels = digits.images[:40], digits.labels[:40]
    untargeted = scg(digit_victim, images, labels)
    index, targets = every_target(labels[:10], 10)
    targeted = scg(digit_victim, images[index], labels[index], targets)
    for result in (untargeted, targeted):
        attacked = ~result.already_wrong
        assert result.success[attacked].float().mean() >= 0.95
    assert (targeted.prediction[targeted.success] == targets[targeted.success]).all()


def attack(spikes=None, labels=None, targets=None, network=None, **options):
    network = SpikingNetwork("4FC-3FC", (5,), time_steps=2) if network is None else network
    spikes = torch.ones(2, 2, 5) if spikes is None else spikes
    return scg(network, spikes, torch.tensor([0, 1]) if labels is None else labels, targets, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spikes": torch.full((2, 2, 5), 0.5)}, r"spikes hold the value 0.5 at \(0, 0, 0\): binarise"),
        ({"spikes": torch.full((2, 5), 1.5)}, r"images hold the value 1.5 at \(0, 0\): scale them to \[0, 1\]"),
        ({"spikes": torch.full((2, 5), -0.1)}, "images hold the value -0.1"),
        ({"spikes": torch.full((2, 5), float("nan"))}, "inputs hold the value nan"),
        ({"spikes": torch.ones(2, 2, 2, 5)}, r"inputs have shape \(2, 2, 2, 5\), but the network takes images"),
        ({"spikes": torch.ones(5)}, r"inputs have shape \(5,\)"),
        ({"spikes": torch.ones(2, 0, 5)}, r"inputs have shape \(2, 0, 5\)"),
        ({"labels": torch.tensor([0, 3])}, "label 3 is out of range: the network has classes 0 to 2"),
        ({"labels": torch.tensor([0, -1])}, "label -1 is out of range"),
        ({"labels": torch.tensor([0])}, r"labels have shape \(1,\) for 2 inputs"),
        ({"labels": torch.tensor([0.0, 1.0])}, "labels are of type torch.float32"),
        ({"targets": torch.tensor([1, 7])}, "target 7 is out of range"),
        ({"targets": torch.tensor([2, 1])}, "the target of sample 1 is its label, 1: choose another class"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5: give a whole number"),
        ({"micro_batch": 0}, "micro_batch is 0"),
        ({"seed": -1}, "seed is -1: give a whole number from 0 to 2"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"samples": torch.tensor([0, -1])}, "samples hold the id -1"),
        ({"samples": torch.tensor([0.5, 1])}, r"samples are torch.float32 \(2,\) for 2 inputs"),
        ({"samples": [0, 1]}, "samples are list for 2 inputs"),
        ({"spikes": torch.ones(2, 5, dtype=torch.uint8)}, "images are of type torch.uint8: give them as torch.float32"),
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"threshold": -1}, "threshold is -1"),
        ({"output_window": 0}, "output_window is 0"),
        ({"rescue_window": -2.0}, "rescue_window is -2.0: give a positive number, or leave it out"),
        ({"top_k": 0}, "top_k is 0: give at least 1, or leave it out"),
        ({"loss": "hinge"}, "loss is 'hinge': choose from mse, ce"),
        ({"c": 0.1}, "the CWL2 term is defined on images only"),
        ({"budget": -1.0}, "budget is -1.0 in mse"),
        ({"budget": Budget(0.1, "linf")}, "a linf budget bounds nothing on spikes"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(SpikeflipError, match=message) as error:
        attack(**options)
    assert "\n" not in str(error.value)


def test_the_ends_of_ranges():
    for allowed in ({"gamma": 0}, {"gamma": 1}, {"c": 0}):
        SCG(**allowed)
    infinite = float("inf")
    for refused in ({"gamma": -0.01}, {"gamma": 1.01}, {"threshold": 0}, {"threshold": infinite}, {"c": infinite}):
        with pytest.raises(SpikeflipError, match=f"{next(iter(refused))} is {next(iter(refused.values()))}: give"):
            SCG(**refused)


def test_unknown_metric():
    with pytest.raises(SpikeflipError, match="budget metric is 'l3': choose from mse"):
        Budget(1, "l3")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (torch.Tensor.to_sparse, "inputs are torch.sparse_coo of torch.float32: give a dense tensor"),
        (lambda spikes: spikes.to(torch.complex64), "inputs are torch.strided of torch.complex64: give a dense tensor"),
        (lambda spikes: spikes.to("meta"), "inputs are on the device meta: give a dense tensor of real numbers"),
    ],
)
def test_tensors_that_hold_no_cells_of_real_numbers(changed, said):
    with pytest.raises(SpikeflipError, match=said):
        scg(wired_by_hand(), changed(torch.ones(1, 1, 3)), torch.tensor([0]))


def test_a_gradient_that_is_not_finite_is_named():
    def broken(scores, classes):
        return scores.sum(1) * float("nan")

    network = wired_by_hand()
    with pytest.raises(SpikeflipError, match="input gradient is not finite for sample 0"):
        scg(network, torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([0]), threshold=None, loss=broken)


def test_empty_call():
    result = attack(spikes=torch.ones(0, 2, 5), labels=torch.empty(0, dtype=torch.int64))
    assert result.adversarials.shape == (0, 2, 5)


def test_the_largest_of_tiny_elements_is_kept():
    gradient = torch.tensor([[1e-41, 0.0]])
    assert probabilistic_sampling(gradient, torch.full((1, 2), 0.999)).tolist() == [[1.0, 0.0]]


def test_the_pull_towards_the_original_is_no_standstill():
    """Latency coding, where an unmoved image would be the same for ever; here c alone moves it."""
    network = SpikingNetwork("2FC", (2,), time_steps=3, coding="latency", neuron=LIF(0.5, 0.0))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(2))
    image, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.9, 0.1]])

    def rule(step):
        moved = other if step.iterations[0] == 0 else step.inputs
        return loop.Move(moved, torch.tensor([Trace.UNMOVED]), stuck=torch.tensor([True]))

    result = loop.run(network, image, torch.tensor([0]), None, rule, steps=9)
    assert result.steps.tolist() == [2]
    assert torch.equal(result.adversarials, other)
