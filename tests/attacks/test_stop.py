"""Stop policies and restarts in the loop: what is kept, and how long an attack goes on."""

import pytest
import torch
from hand_rules import T, lit, move, run

from spikeflip import Budget, SpikeflipError
from spikeflip.attacks.result import Trace
from spikeflip.attacks.stop import FirstSuccess, Last, Smallest

QUIET = lit((0, T), classes=4)[0]  # says class 0


def says(*cells):
    """Frames that say class 1, and light so many more cells of classes that stay behind."""
    wanted = torch.zeros(T, 4)
    wanted[:, 1] = 1
    for k in cells:
        wanted[0, k] = 1
    return wanted


def playing(*frames):
    """A rule that shows each sample these inputs, one an iteration."""
    return lambda step: move(step, torch.stack([frames[int(i)] for i in step.iterations]))


def test_the_smallest_success_is_kept_and_all_steps_are_used():
    rule = playing(says(2, 3), says(), says(2), QUIET)
    result = run(rule, lit((0, T), classes=4), [0], steps=4, stop=Smallest("l0"))
    assert result.adversarials[0].tolist() == says().tolist()
    assert (result.success.tolist(), result.prediction.tolist(), result.steps.tolist()) == ([True], [1], [4])
    assert result.forwards.tolist() == [5]
    first = run(rule, lit((0, T), classes=4), [0], steps=4, stop=FirstSuccess())
    assert first.adversarials[0].tolist() == says(2, 3).tolist()
    assert first.steps.tolist() == [1]


def test_of_equally_small_ones_the_first_is_kept():
    result = run(playing(says(2), says(3), QUIET), lit((0, T), classes=4), [0], steps=3, stop=Smallest("l0"))
    assert result.adversarials[0].tolist() == says(2).tolist()


def test_what_is_never_fooled_keeps_its_last_inputs():
    result = run(playing(QUIET, 0 * QUIET), lit((0, T), classes=4), [0], steps=2, stop=Smallest())
    assert (result.success.tolist(), result.prediction.tolist()) == ([False], [-1])
    assert not result.adversarials.any()


def test_a_success_is_none_the_less_one_when_the_budget_ends_the_attack():
    rule = playing(says(), says(2, 3), QUIET)
    result = run(rule, lit((0, T), classes=4), [0], steps=3, stop=Smallest("l0"), budget=Budget(2 * T + 2, "l0"))
    assert (result.success.tolist(), result.over_budget.tolist(), result.steps.tolist()) == ([True], [False], [1])
    assert result.adversarials[0].tolist() == says().tolist()


def test_what_was_wrong_before_is_left_alone_whatever_the_policy():
    result = run(playing(says()), lit((0, T), classes=4), [2], steps=2, stop=Smallest(), restarts=3)
    assert (result.already_wrong.tolist(), result.success.tolist(), result.forwards.tolist()) == ([True], [False], [1])


def test_a_rule_is_told_which_inputs_reach_the_goal():
    seen = []

    def rule(step):
        seen.append(step.success.tolist())
        return playing(says(), QUIET, QUIET)(step)

    run(rule, lit((0, T), classes=4), [0], steps=3, stop=Smallest())
    assert seen == [[False], [True], [False]]


def test_restarts_begin_from_the_original_with_other_numbers():
    started, numbers = [], []

    def rule(step):
        started.append(torch.equal(step.inputs[0], QUIET))
        numbers.append(step.uniform("noise", (1,)).item())
        assert step.memory.recall("m", step.inputs[:, 0, 0]).item() == int(step.iterations[0])
        step.memory.keep("m", step.inputs.new_tensor([step.iterations[0] + 1.0]))
        return move(step, 0 * step.inputs, Trace.SEARCH)

    result = run(rule, lit((0, T), classes=4), [0], steps=2, restarts=3, trace=True)
    assert started == [True, False] * 3
    assert len(set(numbers)) == 6
    assert (result.steps.tolist(), result.forwards.tolist()) == ([6], [9])
    assert result.trace.mover.tolist() == [[Trace.SEARCH] * 6]
    once = []

    def again(step):
        once.append(step.uniform("noise", (1,)).item())
        return move(step, 0 * step.inputs)

    run(again, lit((0, T), classes=4), [0], steps=2)
    assert once == numbers[:2]


def test_a_restart_ends_with_the_first_success_and_the_batch_does_not_matter():
    def rule(step):
        lucky = step.uniform("noise", (1,))[:, 0] < 0.1
        return move(step, torch.where(lucky[:, None, None], says(), 0 * QUIET))

    inputs, labels = lit(*[(0, T)] * 12, classes=4), [0] * 12
    whole = run(rule, inputs, labels, steps=2, restarts=4, micro_batch=12)
    assert 3 < whole.success.sum() < 12
    assert whole.steps[whole.success].max() > 2
    assert whole.steps[~whole.success].tolist() == [8] * int((~whole.success).sum())
    for size in (1, 5):
        parts = run(rule, inputs, labels, steps=2, restarts=4, micro_batch=size)
        assert torch.equal(parts.adversarials, whole.adversarials)
        assert torch.equal(parts.steps, whole.steps)


def test_memory_follows_its_sample_through_any_batch():
    def rule(step):
        count = step.memory.recall("count", step.inputs[:, 0, 0]) + 1
        step.memory.keep("count", count)
        assert count.tolist() == (step.iterations + 1).tolist()
        done = count >= 1 + step.samples % 3
        return move(step, torch.where(done[:, None, None], says(), step.inputs))

    for size in (1, 2, 7):
        result = run(rule, lit(*[(0, T)] * 7, classes=4), [0] * 7, steps=4, micro_batch=size)
        assert result.steps.tolist() == [1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize("restarts", [0, -1])
def test_there_is_at_least_one_start(restarts):
    with pytest.raises(SpikeflipError, match=f"restarts is {restarts}"):
        run(playing(says()), lit((0, T), classes=4), [0], restarts=restarts)


def test_an_unknown_metric_is_refused():
    with pytest.raises(SpikeflipError, match="metric is 'l7': choose from mse"):
        Smallest("l7")


def test_the_last_success_is_that_of_the_last_start_that_had_one():
    def rule(step):
        shown.append(says(2) if len(shown) == 3 else says())
        return move(step, shown[-1].unsqueeze(0))

    shown = []
    result = run(rule, lit((0, T), classes=4), [0], steps=2, restarts=2, stop=Last())
    assert result.adversarials[0].tolist() == says(2).tolist()
