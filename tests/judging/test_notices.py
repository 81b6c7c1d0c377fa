"""Each notice on both sides of its boundary, with rows written by hand, and in the Python result of judging."""

import json

import pytest
import torch

from spikeflip import LIF, Budget, Rectangular, SpikingNetwork, judge
from spikeflip.attacks.result import AttackResult, Vanishing
from spikeflip.judging import notices
from spikeflip.judging.notices import Circumstances
from spikeflip.notices import Notice


def rows(n, **changed):
    """Rows of n inputs that are right, attacked in 25 steps, moved by 1 and not fooled, but for what is changed."""
    no, zero = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.int64)
    base = {"label": zero, "already_wrong": no, "silent": no, "success": no, "over_budget": no, "vanished": zero}
    base |= {"steps": zero + 25, "first_vanishing": zero, "l0": zero + 1.0, "mse": zero + 1.0}
    return base | {name: torch.as_tensor(values) for name, values in changed.items()}


def first(n, of):
    """True for the first n of so many."""
    return [at < n for at in range(of)]


def code(notice):
    return None if notice is None else notice.code


# ---------------------------------------------------------------- the victim


def test_a_victim_whose_training_failed():
    assert notices.did_not_learn(Circumstances()) is None
    assert code(notices.did_not_learn(Circumstances(learned=False))) == "victim-did-not-learn"


@pytest.mark.parametrize(
    ("silent", "said"),
    [
        (4, None),
        (5, "5 of 10 originals make no output neuron fire"),
        (10, "none of 10 originals makes an output neuron"),
    ],
)
def test_silence_is_said_from_half_of_the_originals_on(silent, said):
    found = notices.silent_victim(rows(10, silent=first(silent, 10)))
    assert (found is None) == (said is None)
    if said:
        assert said in found.text
        assert found.figure == silent / 10


def test_rows_of_an_earlier_version_do_not_say_who_was_silent():
    old = rows(10, already_wrong=[True] * 10)
    del old["silent"]
    assert notices.silent_victim(old) is None
    assert notices.silent_victim(rows(0)) is None


@pytest.mark.parametrize(("wrong", "said"), [(11, None), (12, "the victim classifies none of 12 originals correctly")])
def test_nothing_to_fool_is_said_only_of_no_correct_input(wrong, said):
    found = notices.nothing_right(rows(12, already_wrong=first(wrong, 12)))
    assert found is None if said is None else said in found.text


def test_no_input_at_all_is_not_a_matter_of_the_victim():
    assert "leaves out inputs whose class is its target" in notices.nothing_right(rows(0)).text


@pytest.mark.parametrize(
    ("right", "n", "classes", "said"),
    [
        # A rate of guesses p and n trials: 0.1 + 1.96 (0.1 * 0.9 / 100)^(1/2) = 0.1588.
        (15, 100, 10, True),
        (16, 100, 10, False),
        (1, 100, 10, True),
        # 0.5 + 1.96 (0.25 / 100)^(1/2) = 0.598.
        (59, 100, 2, True),
        (60, 100, 2, False),
        # Three of three by guessing two classes are within the interval too, four of four are not.
        (2, 3, 2, False),
        (3, 4, 2, True),
        (4, 4, 2, False),
        (0, 0, 2, False),
    ],
)
def test_chance_is_where_the_interval_reaches_down_to_it(right, n, classes, said):
    judged = rows(n, already_wrong=first(n - right, n))
    found = notices.victim_at_chance(judged, Circumstances(classes=classes))
    assert (found is not None) == said
    if said:
        assert found.figure == pytest.approx(right / n)
    for known in (
        Circumstances(),
        Circumstances(classes=classes, own_labels=1),
        Circumstances(classes=classes, chosen_right=True),
    ):
        assert notices.victim_at_chance(judged, known) is None


def test_an_input_with_nine_targets_is_one_trial():
    # 9 of 36 rows would be told from a tenth, one of four inputs is not.
    judged = rows(36, already_wrong=first(27, 36))
    assert notices.victim_at_chance(judged, Circumstances(classes=10)) is None
    judged["input"] = torch.arange(36) // 9
    assert "of 4 originals are right" in notices.victim_at_chance(judged, Circumstances(classes=10)).text


# ---------------------------------------------------------------- labels and inputs


def test_labels_that_are_the_victims_own():
    assert notices.own_labels(12, Circumstances()) is None
    assert notices.own_labels(12, Circumstances(own_labels=1)).text.startswith("1 of 12 labels are the victim's own")
    every = notices.own_labels(12, Circumstances(own_labels=12))
    assert every.text.startswith("all labels are the victim's own answers: clean accuracy")
    assert every.figure == 1


def test_inputs_that_were_chosen_for_being_right():
    assert notices.chosen_right(Circumstances()) is None
    assert "100 % or close to it by construction" in notices.chosen_right(Circumstances(chosen_right=True)).text


# ---------------------------------------------------------------- the attack


def lost(failed, blind, n=20):
    """So many of n attacked inputs failed, and the first of these had no gradient in any step."""
    return rows(n, success=[at >= failed for at in range(n)], vanished=[25 * (at < blind) for at in range(n)])


@pytest.mark.parametrize(
    ("failed", "blind", "said"),
    [(0, 0, False), (1, 1, False), (2, 2, True), (2, 1, True), (3, 1, False), (10, 4, False), (10, 5, True)],
)
def test_vanished_gradients_are_said_of_most_failures_and_of_a_tenth(failed, blind, said):
    found = notices.gradients_vanished(lost(failed, blind), Circumstances())
    assert (found is not None) == said
    if said:
        assert f"{failed} of 20 attacked inputs were not fooled, {blind} of these for want of a gradient" in found.text
        assert "robust accuracy says nothing" in found.text
        assert found.figure == blind / 20


@pytest.mark.parametrize(
    ("steps", "vanished", "over", "longest", "said"),
    [
        (24, 12, False, 24, True),
        (25, 12, False, 25, False),
        (24, 11, False, 25, True),  # given up early: nothing moved it any more
        (24, 11, True, 25, False),  # ended by its budget
        (24, 0, False, 25, False),
        (0, 0, True, 25, False),  # its first step was over the budget
    ],
)
def test_a_failure_lacks_a_gradient_in_half_of_its_steps_or_is_given_up(steps, vanished, over, longest, said):
    judged = rows(2, success=[False, True], steps=[steps, longest], vanished=[vanished, 0], over_budget=[over, False])
    assert (notices.gradients_vanished(judged, Circumstances()) is not None) == said


def test_inputs_that_were_wrong_from_the_start_are_no_failures():
    judged = rows(4, already_wrong=[True, True, False, False], vanished=[25, 25, 0, 0], success=first(0, 2) * 2)
    assert notices.gradients_vanished(judged, Circumstances()) is None
    assert notices.gradients_vanished(rows(0), Circumstances()) is None


@pytest.mark.parametrize(
    ("causes", "where", "help"),
    [
        ([1, 1, 2, 0], "the loss is at its minimum", "another loss"),
        ([2, 2, 2, 1], "no output neuron is near its threshold", "a lower penultimate threshold or a surrogate"),
        ([3, 2, 3, 0], "it dies in a layer below the output", "a lower penultimate threshold or a surrogate"),
        ([0, 0, 0, 0], "it dies in a layer below the output", "the spike flipper, a lower penultimate"),
    ],
)
def test_the_advice_is_for_the_commonest_cause(causes, where, help):
    judged = rows(4, vanished=[25] * 4, first_vanishing=causes)
    text = notices.gradients_vanished(judged, Circumstances()).text
    assert f"({where})" in text
    assert help in text
    own = Circumstances(remedies={cause: (f"cure {cause}",) for cause in (1, 2, 3)})
    expected = max(set(causes) - {0}, key=causes.count, default=3)
    assert notices.gradients_vanished(judged, own).text.endswith(f"; cure {expected}")


def test_causes_are_numbered_as_the_attack_numbers_them():
    assert (notices.LOSS, notices.OUTPUT, notices.DEEPER) == (Vanishing.LOSS, Vanishing.OUTPUT, Vanishing.DEEPER)


@pytest.mark.parametrize(
    ("moved", "said"), [([0, 0, 0], True), ([0, 0, 1], False), ([5, 0, 0], True)], ids=["none", "one", "a wrong one"]
)
def test_nothing_moved_is_of_all_attacked_inputs(moved, said):
    found = notices.nothing_moved(
        rows(3, already_wrong=[True, False, False], l0=torch.tensor(moved).double()), Circumstances()
    )
    assert (found is not None) == said
    if said:
        assert "all 2 attacked inputs are as they were, and robust accuracy is the accuracy without" in found.text


def test_fooled_without_a_change_is_the_chance_of_the_encoding():
    found = notices.nothing_moved(rows(2, l0=torch.zeros(2), success=[True, False]), Circumstances())
    assert "the 1 that count as fooled are the chance of another encoding" in found.text
    assert notices.nothing_moved(rows(2, l0=torch.zeros(2), already_wrong=[True, True]), Circumstances()) is None


@pytest.mark.parametrize(("largest", "said"), [(0.0, False), (1e-9, True), (1.79, True), (1.8, False), (2.0, False)])
def test_a_budget_is_not_reached_below_nine_tenths_of_it(largest, said):
    known = Circumstances(budget=Budget(2.0, "mse"))
    judged = rows(3, mse=torch.tensor([largest, 0.0, 5.0], dtype=torch.float64), already_wrong=[False, False, True])
    found = notices.budget_not_reached(judged, known)
    assert (found is not None) == said
    if said:
        assert found.figure == pytest.approx(largest / 2)
    assert notices.budget_not_reached(judged, Circumstances()) is None


def test_a_budget_that_stopped_an_input_was_reached_and_its_own_metric_counts():
    known = Circumstances(budget=Budget(10, "l0"))
    assert "is 1 of 10 in l0" in notices.budget_not_reached(rows(2), known).text
    assert notices.budget_not_reached(rows(2, over_budget=[False, True]), known) is None
    assert notices.budget_not_reached(rows(2, l0=torch.tensor([10.0, 0])), known) is None
    assert notices.budget_not_reached(rows(2, already_wrong=[True, True]), known) is None


# ---------------------------------------------------------------- draws


@pytest.mark.parametrize(("high", "said"), [(0.85, False), (0.8499, True), (0.9, False)])
def test_one_draw_overstates_where_the_intervals_are_apart(high, said):
    found = notices.one_draw("images", 20, (0.9, 0.85, 0.95), (0.8, 0.7, high))
    assert (found is not None) == said
    if said:
        assert "90.0 % (85.0–95.0) rests on a single random encoding" in found.text
        assert "over 20 fresh encodings it is 80.0 % (70.0–85.0)" in found.text
        assert found.figure == pytest.approx(0.1)


def test_of_recordings_the_saved_file_is_named():
    text = notices.one_draw("spikes", 1, (0.9, 0.85, 0.95), (0.5, 0.4, 0.6)).text
    assert "read back from the saved file it is 50.0 % (40.0–60.0)" in text
    assert "encoding" not in text


# ---------------------------------------------------------------- all together


def coin():
    """One pixel a class, one time step: class k fires exactly when pixel k does."""
    network = SpikingNetwork("2FC", (2,), time_steps=1, neuron=LIF(0.5, 0.0, "hard", Rectangular(4.0)))
    with torch.no_grad():
        network.weights[0].copy_(torch.eye(2))
    return network


def judged(inputs, adversarials, labels, **options):
    inputs, result = torch.tensor(inputs), AttackResult.blank(torch.tensor(inputs), None)
    result.steps.fill_(1)
    return judge(coin(), inputs, torch.tensor(adversarials), torch.tensor(labels), None, result, **options)


LEFT, RIGHT, DARK = [[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]


def test_the_python_result_tells_of_a_silent_victim():
    found = judged([DARK] * 5, [LEFT] * 5, [0] * 5)
    assert found.rows["silent"].tolist() == [True] * 5
    assert [notice.code for notice in found.notices] == ["silent-victim"]
    assert found.summary()["notices"] == [notice.as_json() for notice in found.notices]
    assert json.loads(json.dumps(found.summary()["notices"])) == found.summary()["notices"]


def test_a_tie_is_not_silence():
    found = judged([[[1.0, 1.0]], DARK, LEFT], [LEFT] * 3, [0] * 3)
    assert found.rows["silent"].tolist() == [False, True, False]


def test_the_python_result_knows_the_classes_and_the_budget():
    found = judged([LEFT] * 8, [RIGHT] * 8, [0, 1] * 4, budget=Budget(2.0))
    assert [notice.code for notice in found.notices] == ["victim-at-chance", "budget-not-reached"]
    assert "2 of 8" not in found.notices[0].text
    assert "50.0 % of guesses" in found.notices[0].text
    assert "the largest change is 1 of 2 in mse" in found.notices[1].text


def test_an_attack_that_works_has_no_notices():
    found = judged([LEFT] * 8, [RIGHT] * 8, [0] * 8)
    assert found.notices == ()
    assert found.summary()["notices"] == []
    assert found.summary()["attack_success_rate"] == 1


def test_one_draw_that_overstates_is_in_the_result_of_images_alone():
    def images(value):
        return [value] * 12

    found = judged(images([1.0, 0.0]), images([0.5, 0.8]), [0] * 12, draws=50)
    lucky = found.rows | {"success": torch.ones(12, dtype=torch.bool)}
    told = notices.notices_of(found._figures() | rate_of_one(12), lucky, Circumstances())
    assert [notice.code for notice in told] == ["one-draw-overstates"]
    assert "over 50 fresh encodings" in told[0].text


def rate_of_one(n):
    from spikeflip.judging import wilson

    return {"attack_success_rate": 1.0, "attack_success_rate_interval": list(wilson(1.0, n))}


def test_of_several_reasons_why_nothing_works_the_first_is_given_and_data_come_first():
    data = (Notice("one-class", "all inputs are of class 0", 1),)
    known = Circumstances(classes=2, learned=False, data=data)
    figures = judged([LEFT], [LEFT], [0])._figures()
    told = notices.notices_of(figures, rows(9, already_wrong=[True] * 9, silent=[True] * 9), known)
    assert [notice.code for notice in told] == ["one-class", "victim-did-not-learn", "silent-victim"]
    told = notices.notices_of(figures, rows(9, already_wrong=[True] * 9), known)
    assert [notice.code for notice in told] == ["one-class", "victim-did-not-learn", "nothing-correct"]


@pytest.mark.parametrize(
    ("budget", "said"), [(Budget(1, "moved"), True), (Budget(2, "moved"), False), (Budget(0.5), False)]
)
def test_a_budget_that_allows_no_change_is_said_where_nothing_moved(budget, said):
    found = notices.nothing_moved(rows(2, l0=torch.zeros(2)), Circumstances(budget=budget))
    assert ("allows none" in found.text) is said


def test_successes_that_did_not_pass_the_test_of_a_confidence_are_said():
    known = Circumstances(confidence=0.9)
    held = rows(20, success=[True] * 10 + [False] * 10, verified=[0.95] * 9 + [0.2] * 11)
    assert notices.confidence_not_reached(held, 100, known) is None
    assert notices.confidence_not_reached(held, 100, Circumstances()) is None
    fewer = rows(20, success=[True] * 10 + [False] * 10, verified=[0.95] * 8 + [0.2] * 12)
    found = notices.confidence_not_reached(fewer, 100, known)
    assert found.text.startswith("2 of 10 successes do not fool in more than 90% of encodings")
    assert found.figure == 0.8


def test_a_few_encodings_less_than_a_confidence_are_no_failed_test():
    known = Circumstances(confidence=0.9)
    found = rows(10, success=[True] * 10, verified=[0.8] * 10)
    assert notices.confidence_not_reached(found, 10, known) is None
    assert notices.confidence_not_reached(found, 1000, known).text.startswith("10 of 10 successes do not")


def test_every_notice_fits_what_a_page_takes_and_splits_in_fact_and_consequence():
    known = Circumstances(classes=2, learned=False, own_labels=1, chosen_right=True, budget=Budget(2.0))
    every = [
        notices.did_not_learn(known),
        notices.silent_victim(rows(2, silent=[True, False])),
        notices.silent_victim(rows(2, silent=[True, True])),
        notices.nothing_right(rows(2, already_wrong=[True] * 2)),
        notices.nothing_right(rows(0)),
        notices.victim_at_chance(rows(9, already_wrong=first(5, 9)), Circumstances(classes=2)),
        notices.own_labels(2, known),
        notices.chosen_right(known),
        notices.gradients_vanished(lost(10, 10), known),
        notices.nothing_moved(rows(2, l0=torch.zeros(2)), known),
        notices.confidence_not_reached(
            rows(2, success=[True] * 2, verified=[0.95, 0.2]), 100, Circumstances(confidence=0.9)
        ),
        notices.budget_not_reached(rows(2), known),
        notices.events_unseen(
            rows(1, success=[True], events=[9], events_outside=[6], events_added=[1], events_removed=[1])
        ),
        notices.one_draw("images", None, (0.9, 0.85, 0.95), (0.8, 0.7, 0.75)),
    ]
    for notice in every:
        fact, _, rest = notice.text.partition(": ")
        assert 0 < len(fact) < 80
        assert rest
        assert len(notice.text) < 500
        assert not notice.text[0].isupper()
        assert not notice.text.endswith(".")
