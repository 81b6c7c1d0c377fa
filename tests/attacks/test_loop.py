"""The loop by itself, under rules made by hand: who is active, what is counted, recorded, kept and judged."""

import pytest
import torch
from hand_rules import T, lit, move, reader, run

from spikeflip import LIF, Budget, Rectangular, ReluNetwork, SpikeflipError, SpikingNetwork
from spikeflip.attacks.result import AttackResult, Trace, Vanishing
from spikeflip.snn.coding import encode
from spikeflip.snn.gradients import GradientRequest, InputGradient
from spikeflip.snn.losses import ce


def after(k):
    """A rule that makes inputs say class 1 in their ``k[id]``-th update, and leaves them as they are before."""

    def rule(step):
        won = torch.tensor([int(i) + 1 == k[int(s)] for i, s in zip(step.iterations, step.samples, strict=True)])
        return move(step, torch.where(won[:, None, None], lit((1, T)), step.inputs))

    return rule


def test_who_is_active_in_which_batch():
    """Six inputs at two at a time: a place that is free is taken at once, and every input has its own iterations."""
    seen, done = [], []
    rule = after([2, 1, 3, 9, 9, 1])

    def watched(step):
        seen.append(list(zip(step.samples.tolist(), step.iterations.tolist(), strict=True)))
        return rule(step)

    inputs = lit(*[(0, T)] * 4, (1, T), (0, T))  # the fifth is wrong from the start
    result = run(watched, inputs, [0] * 6, micro_batch=2, progress=lambda *at: done.append(at))
    assert seen == [
        [(0, 0), (1, 0)],
        [(0, 1)],
        [(2, 0)],
        [(2, 1), (3, 0)],
        [(2, 2), (3, 1)],
        [(3, 2)],
        [(3, 3)],
        [(5, 0)],
    ]
    assert done == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]
    assert result.steps.tolist() == [2, 1, 3, 4, 0, 1]
    assert result.forwards.tolist() == [3, 2, 4, 5, 1, 2]
    assert result.success.tolist() == [True, True, True, False, False, True]
    assert result.already_wrong.tolist() == [False] * 4 + [True, False]
    assert result.prediction.tolist() == [1, 1, 1, 0, 1, 1]
    assert torch.equal(result.adversarials, lit(*[(1, T)] * 3, (0, T), (1, T), (1, T)))
    assert not result.over_budget.any()
    assert not result.backwards.any()
    assert result.trace is None


@pytest.mark.parametrize(
    ("label", "target", "says", "won"),
    [(0, None, 1, True), (0, None, 2, True), (1, None, 0, True), (0, 1, 1, True), (0, 1, 2, False), (1, 0, 0, True)],
)
def test_success_is_any_other_class_or_the_target(label, target, says, won):
    inputs, after = lit((label, T), classes=3), lit((says, T), classes=3)
    result = run(lambda step: move(step, after), inputs, [label], None if target is None else [target], steps=2)
    assert result.success.tolist() == [won]
    assert result.steps.tolist() == [1 if won else 2]
    assert result.prediction.tolist() == [says]


def test_a_tie_is_no_success_and_goes_on():
    tie = torch.ones(1, T, 2)
    result = run(lambda step: move(step, tie), lit((0, T)), [0], steps=3)
    assert (result.success.tolist(), result.prediction.tolist(), result.steps.tolist()) == ([False], [-1], [3])
    assert torch.equal(result.adversarials, tie)
    # An original that ties is not classified as its label: it is left alone.
    assert run(None, tie, [0]).already_wrong.tolist() == [True]


def test_an_original_that_fools_by_itself_is_no_success():
    result = run(None, lit((1, T)), [0], [1])
    assert (result.success.tolist(), result.already_wrong.tolist()) == ([False], [True])


def test_an_update_over_the_budget_is_undone_and_not_counted():
    """The first changes one cell of four, the second two: within 0.4 is the first alone, though the second fools."""

    def rule(step):
        return move(step, lit((0, 1)) if step.iterations[0] == 0 else torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))

    free = run(rule, lit((0, T)), [0])
    assert (free.success.tolist(), free.steps.tolist()) == ([True], [2])
    bound = run(rule, lit((0, T)), [0], budget=Budget(0.4))
    assert bound.over_budget.tolist() == [True]
    assert (bound.success.tolist(), bound.prediction.tolist()) == ([False], [0])
    assert torch.equal(bound.adversarials, lit((0, 1)))
    assert bound.steps.tolist() == [1]
    assert bound.forwards.tolist() == [2]
    at_once = run(rule, lit((0, T)), [0], budget=Budget(0.2))
    assert torch.equal(at_once.adversarials, lit((0, T)))
    assert (at_once.steps.tolist(), at_once.forwards.tolist()) == ([0], [1])


@pytest.mark.parametrize(("limit", "over"), [(0.25, True), (0.2501, False)])
def test_a_budget_that_is_reached_exactly_has_failed(limit, over):
    result = run(lambda step: move(step, lit((0, 1))), lit((0, T)), [0], steps=1, budget=Budget(limit))
    assert result.over_budget.tolist() == [over]
    assert result.steps.tolist() == [0 if over else 1]
    assert torch.equal(result.adversarials, lit((0, T) if over else (0, 1)))


def test_inputs_of_a_batch_have_their_own_budgets():
    inputs = lit((0, T), (0, T), (0, 1))
    moved = lit((0, 1), (1, T), (0, T))
    result = run(lambda step: move(step, moved), inputs, [0, 0, 0], steps=1, budget=Budget(0.3))
    assert result.over_budget.tolist() == [False, True, False]
    assert result.steps.tolist() == [1, 0, 1]
    assert torch.equal(result.adversarials, lit((0, 1), (0, T), (0, T)))


def test_a_budget_in_linf_pulls_back_every_update():
    image = torch.tensor([[0.9, 0.0]])

    def rule(step):
        assert torch.equal(step.originals, image)
        return move(step, 1 - step.inputs)

    result = run(rule, image, [0], network=reader(seed=0), budget=Budget(0.25, "linf"), steps=1)
    torch.testing.assert_close(result.adversarials, torch.tensor([[0.65, 0.25]]))
    assert (result.steps.tolist(), result.over_budget.tolist()) == ([1], [False])


def test_passes_of_the_rule_are_counted_and_those_of_the_gradient():
    def rule(step):
        found = step.gradient("ce")
        return move(step, step.inputs, gradient=found, forwards=3, backwards=torch.tensor([0, 2])[-len(step.inputs) :])

    result = run(rule, lit((0, T), (0, 1)), [0, 0], steps=2)
    assert result.forwards.tolist() == [1 + 2 * 4] * 2
    assert result.backwards.tolist() == [2 * 1, 2 * 3]
    one = run(lambda step: move(step, step.inputs, backwards=5), lit((0, T)), [0], steps=2)
    assert one.backwards.tolist() == [10]


def test_a_trace_has_the_rule_of_every_iteration():
    def rule(step):
        return move(step, step.inputs, Trace.CONVERTER + int(step.iterations[0]) % 2, gradient=step.gradient("ce"))

    result = run(rule, lit((0, T), (1, T)), [0, 0], steps=3, trace=True)
    assert result.trace.mover.tolist() == [[Trace.CONVERTER, Trace.FLIPPER, Trace.CONVERTER], [Trace.NOT_RUN] * 3]
    assert result.trace.penultimate_spikes.tolist() == [[0] * 3, [-1] * 3]


def test_what_cannot_be_attacked_is_refused_before_a_pass():
    network, spikes, image = reader(), lit((0, T)), torch.tensor([[1.0, 0.0]])
    network.probe = None
    for inputs, options, said in (
        (spikes, {"only": "images"}, "are spikes, but this attack is defined on images only"),
        (image, {"only": "spikes"}, "are images, but this attack is defined on spikes only"),
        (spikes, {"steps": 0}, "steps is 0"),
        (spikes, {"micro_batch": 0}, "micro_batch is 0"),
        (spikes, {"targets": [0]}, "the target of sample 0 is its label"),
        (spikes, {"seed": -1}, "seed is -1"),
        (spikes, {"samples": torch.tensor([1, 2])}, "samples are"),
        (spikes, {"budget": Budget(0.1, "linf")}, "a linf budget bounds nothing on spikes"),
        (spikes * 2, {}, "spikes hold the value 2"),
    ):
        with pytest.raises(SpikeflipError, match=said):
            run(None, inputs, [0], network=network, **options)


def still(stuck):
    return lambda step: move(step, step.inputs, stuck=torch.full((len(step.inputs),), stuck))


@pytest.mark.parametrize("stuck", [True, False])
def test_what_is_stuck_is_given_up_where_the_next_pass_would_be_the_same(stuck):
    spikes, image = lit((0, T)), torch.tensor([[1.0, 0.0]])
    twin = ReluNetwork("2FC", (2,))
    with torch.no_grad():
        twin.weights[0].copy_(torch.eye(2))
    for inputs, network, ends in (
        (spikes, reader(), True),
        (image, reader(coding="latency"), True),
        (image, twin, True),
        (image, reader(), False),  # a fresh encoding may have a gradient
    ):
        result = run(still(stuck), inputs, [0], network=network, steps=4)
        assert result.steps.tolist() == [1 if ends and stuck else 4]


def test_one_input_that_stands_still_does_not_end_another():
    def rule(step):
        moved = torch.where((step.samples == 8)[:, None, None], 1 - step.inputs, step.inputs)
        return move(step, moved, stuck=torch.ones(len(moved), dtype=torch.bool))

    result = run(rule, torch.ones(2, T, 3) * torch.tensor([1.0, 0, 0]), [0, 0], samples=torch.tensor([7, 8]), steps=3)
    assert result.steps.tolist() == [1, 3]


def test_what_a_rule_sees():
    network, images = reader(3, seed=0), torch.tensor([[1.0, 0.1, 0.2], [0.1, 0.2, 1.0]])
    network.time_steps = 9
    samples, seen = torch.tensor([40, 3]), []

    def rule(step):
        seen.append(step)
        now = encode(step.inputs, (3,), 9, seed=11, samples=step.samples, step=step.iterations)
        assert torch.equal(step.spikes, now)
        assert torch.equal(step.judged, network.scores(now))
        # Other images under the same numbers: those of each input's own stream, at its own iteration.
        rows, other = torch.tensor([1, 0, 1]), torch.full((3, 3), 0.4)
        drawn = encode(other, (3,), 9, seed=11, samples=step.samples[rows], step=step.iterations[rows])
        assert torch.equal(step.scores(other, rows), network.scores(drawn))
        return move(step, step.inputs * 0.9)

    run(rule, images, [0, 2], network=network, seed=11, samples=samples, micro_batch=5, steps=2)
    for iteration, step in enumerate(seen):
        assert step.iterations.tolist() == [iteration] * 2
        assert step.samples.tolist() == [40, 3]
        assert step.classes.tolist() == [0, 2]
        assert (step.targeted, step.micro_batch) == (False, 5)
        assert torch.equal(step.originals, images)
        torch.testing.assert_close(step.inputs, images * 0.9**iteration)
    assert len(seen) == 2


def test_direction_of_the_loss():
    """Up that of the label when untargeted, down that of the target: here the same classes, told apart by the sign."""
    seen = {}

    def look(name):
        def rule(step):
            seen[name] = step.classes.tolist(), step.targeted, step.gradient("ce").values.clone(), step.towards_goal(2)
            return move(step, step.inputs)

        return rule

    run(look("untargeted"), lit((0, T)), [0], steps=1)
    run(look("targeted"), lit((0, T)), [0], [1], steps=1)
    leaf = lit((0, T)).requires_grad_()
    scores = reader()(leaf)
    up, down = (torch.autograd.grad(ce(scores, torch.tensor([k])).sum(), leaf, retain_graph=True)[0] for k in (0, 1))
    assert seen["untargeted"][:2] == ([0], False)
    assert seen["targeted"][:2] == ([1], True)
    torch.testing.assert_close(seen["untargeted"][2], up)
    torch.testing.assert_close(seen["targeted"][2], -down)
    assert (seen["untargeted"][3], seen["targeted"][3]) == (2, -2)


def test_a_gradient_of_some_rows_is_theirs():
    inputs, found = lit((0, T), (0, 1), (0, T)), {}
    inputs[2, 1, 1] = 1

    def rule(step):
        found["all"] = step.gradient("mse").values.clone()
        found["some"] = step.gradient("mse", GradientRequest(rows=torch.tensor([2, 0]))).values.clone()
        return move(step, step.inputs)

    run(rule, inputs, [0, 0, 0], steps=1)
    assert torch.equal(found["some"], found["all"][[2, 0]])
    assert not torch.equal(found["all"][2], found["all"][0])


def broken_for(sample, value=float("nan")):
    """A victim whose gradient has one bad cell, in one input."""

    class Broken(SpikingNetwork):
        def probe(self, spikes, request=None):
            probe = super().probe(spikes, request)
            own = probe.input_gradient

            def bad(towards, request):
                found = own(towards, request)
                found.values[(request.rows == sample).nonzero().flatten(), -1, -1] = value
                return found

            probe.input_gradient = bad
            return probe

    network = Broken("2FC", (2,), time_steps=T, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0)))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(2))
    return network


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("sample", [0, 2])
def test_one_cell_of_a_gradient_that_is_not_finite_is_found_and_its_input_named(sample, value):
    def rule(step):
        step.gradient("ce", GradientRequest(rows=torch.tensor([2, 0])))

    with pytest.raises(SpikeflipError, match=f"not finite for sample {(50, 60, 70)[sample]}: check"):
        run(
            rule,
            lit((0, T), (0, 1), (0, T)),
            [0, 0, 0],
            network=broken_for(sample, value),
            samples=torch.tensor([50, 60, 70]),
        )


def test_what_is_recorded_of_an_iteration():
    """Causes and first iterations: of three inputs, one vanishes by its loss, one at the output, one deeper."""
    yes, no = torch.tensor([True]), torch.tensor([False])
    causes = {
        Vanishing.NONE: (no, no, no),
        Vanishing.LOSS: (yes, yes, yes),
        Vanishing.OUTPUT: (yes, no, yes),
        Vanishing.DEEPER: (yes, no, no),
    }
    for cause, (vanished, loss_zero, output_zero) in causes.items():
        result = AttackResult.blank(torch.zeros(2, 3), traced_steps=3)
        gradient = InputGradient(torch.zeros(1, 3), loss_zero, output_zero, torch.tensor([6.0]))
        at, rule, iteration = torch.tensor([1]), torch.tensor([Trace.SIGN], dtype=torch.int8), torch.tensor([0])
        result.record(at, iteration, gradient, vanished, rule, no)
        result.record(at, iteration + 1, gradient, ~vanished, rule + 1, yes)
        assert result.first_vanishing.tolist() == [Vanishing.NONE, cause]
        assert result.vanished.tolist() == [0, 1]
        assert result.backwards.tolist() == [0, 0 if output_zero else 2]
        assert result.over_budget.tolist() == [False, True]
        assert result.trace.mover.tolist() == [[-1, -1, -1], [Trace.SIGN, Trace.SEARCH, -1]]
        assert result.trace.penultimate_spikes.tolist() == [[-1, -1, -1], [6, 6, -1]]
    without = AttackResult.blank(torch.zeros(1, 3), traced_steps=None)
    without.record(torch.tensor([0]), torch.tensor([0]), None, yes, rule, no)
    assert (without.first_vanishing.tolist(), without.backwards.tolist()) == ([Vanishing.DEEPER], [0])
    assert without.trace is None


def test_a_blank_result_says_that_nothing_happened():
    inputs = torch.rand(3, 2, 4)
    blank = AttackResult.blank(inputs, 5)
    assert torch.equal(blank.adversarials, inputs)
    assert blank.adversarials is not inputs
    assert blank.prediction.tolist() == [-1] * 3
    for name, dtype in (
        ("success", torch.bool),
        ("already_wrong", torch.bool),
        ("over_budget", torch.bool),
        ("steps", torch.int64),
        ("vanished", torch.int64),
        ("forwards", torch.int64),
        ("backwards", torch.int64),
        ("first_vanishing", torch.int8),
    ):
        values = getattr(blank, name)
        assert (values.dtype, values.tolist()) == (dtype, [0] * 3)
    assert (blank.trace.mover.dtype, blank.trace.mover.shape) == (torch.int8, (3, 5))
    assert (blank.trace.penultimate_spikes.dtype, blank.trace.penultimate_spikes.shape) == (torch.int32, (3, 5))


def test_numbers_of_rules_and_causes_stay_those_of_files():
    """Tables of finished runs hold them."""
    rules = (Trace.NOT_RUN, Trace.UNMOVED, Trace.CONVERTER, Trace.FLIPPER, Trace.SIGN, Trace.SEARCH, Trace.NOISE)
    assert rules == (-1, 0, 1, 2, 3, 4, 5)
    assert [cause.value for cause in Vanishing] == [0, 1, 2, 3]
    assert [cause.name for cause in Vanishing] == ["NONE", "LOSS", "OUTPUT", "DEEPER"]
