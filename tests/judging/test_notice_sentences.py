"""Every notice as a reader gets it: its code, its figure and the whole sentence, with counts that need their commas."""

import pytest
import torch

from spikeflip import Budget
from spikeflip.judging import notices
from spikeflip.judging.notices import Circumstances

N = 20_000
SURROGATE = "a surrogate that is nowhere zero, such as ATan"


def rows(n=N, **changed):
    """Rows of n inputs that are right, attacked in 25 steps, moved by 1 and not fooled, but for what is changed."""
    no, zero = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.int64)
    base = {"label": zero, "already_wrong": no, "silent": no, "success": no, "over_budget": no, "vanished": zero}
    return base | {"steps": zero + 25, "first_vanishing": zero, "l0": zero + 1.0, "mse": zero + 1.0} | changed


def first(n, of=N):
    return torch.arange(of) < n


def blind(cause):
    """Of 20,000 attacked inputs 12,000 were not fooled, and 9,000 of these have lost their gradient for one cause."""
    lost = first(9_000)
    return rows(success=~first(12_000), vanished=25 * lost.long(), first_vanishing=cause * lost.long())


def recordings():
    counts = {"events": 4244, "events_outside": 2854, "events_added": 300, "events_removed": 382}
    return rows(1, success=torch.ones(1, dtype=torch.bool), **{name: torch.tensor([n]) for name, n in counts.items()})


def vanished(where, help):
    return (
        "most gradients vanished while the attack failed: 12,000 of 20,000 attacked inputs were not fooled, 9,000 of "
        f"these for want of a gradient ({where}), so robust accuracy says nothing of the victim; {help}"
    )


EVERY = {
    "did not learn": (
        lambda: notices.did_not_learn(Circumstances(learned=False)),
        "victim-did-not-learn",
        None,
        "the victim did not learn: its training ended no better than guessing, so attacks on it say nothing of "
        "networks that work; train it again, its training says what helps",
    ),
    "mostly silent": (
        lambda: notices.silent_victim(rows(silent=first(15_000))),
        "silent-victim",
        0.75,
        "the victim is silent on most inputs: 15,000 of 20,000 originals make no output neuron fire, so they count as "
        "wrong and are not attacked; train it again",
    ),
    "silent": (
        lambda: notices.silent_victim(rows(silent=first(N))),
        "silent-victim",
        1.0,
        "the victim is silent: none of 20,000 originals makes an output neuron fire, so nothing was attacked and no "
        "rate says anything; train it again",
    ),
    "nothing right": (
        lambda: notices.nothing_right(rows(already_wrong=first(N))),
        "nothing-correct",
        20_000.0,
        "nothing was attacked: the victim classifies none of 20,000 originals correctly, so there is no success rate; "
        "train it further, or give it data and labels like those that it was trained on",
    ),
    "nothing to judge": (
        lambda: notices.nothing_right(rows(0)),
        "nothing-correct",
        0.0,
        "no input is left to judge: an attack leaves out inputs whose class is its target, and a transfer those that "
        "did not fool their own victim; give others",
    ),
    "at chance": (
        lambda: notices.victim_at_chance(rows(already_wrong=~first(2_000)), Circumstances(classes=10)),
        "victim-at-chance",
        0.1,
        "the victim cannot be told from guessing: 10.0 % (9.6–10.4) of 20,000 originals are right, and 10.0 % of "
        "guesses; attacks on it say nothing of networks that work, so train it further, or give more "
        "inputs if these are few",
    ),
    "some own labels": (
        lambda: notices.own_labels(N, Circumstances(own_labels=5_000)),
        "own-labels",
        0.25,
        "5,000 of 20,000 labels are the victim's own answers: clean accuracy then says how often one class wins alone, "
        "not how often the victim is right; give --label, or a sub-folder for each class",
    ),
    "chosen for being right": (
        lambda: notices.chosen_right(Circumstances(chosen_right=True)),
        "chosen-correct",
        None,
        "only correctly classified inputs were taken: clean accuracy is 100 % or close to it by construction, and "
        "robust accuracy is of these inputs alone; attack with --samples to measure both",
    ),
    "vanished at the loss": (
        lambda: notices.gradients_vanished(blind(1), Circumstances()),
        "gradients-vanished",
        0.45,
        vanished("the loss is at its minimum", "another loss, such as ce or the spike flipper"),
    ),
    "vanished at the output": (
        lambda: notices.gradients_vanished(blind(2), Circumstances()),
        "gradients-vanished",
        0.45,
        vanished(
            "no output neuron is near its threshold",
            f"the spike flipper, a lower penultimate threshold or {SURROGATE}",
        ),
    ),
    "vanished deeper": (
        lambda: notices.gradients_vanished(blind(3), Circumstances()),
        "gradients-vanished",
        0.45,
        vanished(
            "it dies in a layer below the output", f"the spike flipper, a lower penultimate threshold or {SURROGATE}"
        ),
    ),
    "vanished with one remedy": (
        lambda: notices.gradients_vanished(blind(3), Circumstances(remedies={3: ("give --rescue-window",)})),
        "gradients-vanished",
        0.45,
        vanished("it dies in a layer below the output", "give --rescue-window"),
    ),
    "nothing moved": (
        lambda: notices.nothing_moved(rows(l0=torch.zeros(N)), Circumstances()),
        "nothing-moved",
        20_000,
        "the attack moved nothing: all 20,000 attacked inputs are as they were, and robust accuracy is the accuracy "
        "without an attack",
    ),
    "nothing moved and some fooled": (
        lambda: notices.nothing_moved(rows(l0=torch.zeros(N), success=first(1_500)), Circumstances()),
        "nothing-moved",
        20_000,
        "the attack moved nothing: all 20,000 attacked inputs are as they were, and the 1,500 that count as fooled "
        "are the chance of another encoding",
    ),
    "budget not reached": (
        lambda: notices.budget_not_reached(rows(mse=first(1) / 3.0), Circumstances(budget=Budget(2 / 3, "mse"))),
        "budget-not-reached",
        0.5,
        "no input came near the budget: the largest change is 0.333 of 0.667 in mse, so the rates are those of an "
        "attack without a budget; a smaller one would say more",
    ),
    "events unseen": (
        lambda: notices.events_unseen(recordings()),
        "events-unseen",
        2854 / 4244,
        "the victim did not see 67.2 % of the successes' events: a change of 16.1 % of all events is one of 49.1 % of "
        "those that it saw; train with more or longer time bins to show it more",
    ),
    "one draw": (
        lambda: notices.one_draw("images", 1_500, (0.9, 0.85, 0.95), (0.8, 0.7, 0.84)),
        "one-draw-overstates",
        0.1,
        "one draw overstates this attack: its success of 90.0 % (85.0–95.0) rests on a single random encoding of each "
        "image, and over 1,500 fresh encodings it is 80.0 % (70.0–84.0); quote the verified rate",
    ),
    "one draw of unknown many": (
        lambda: notices.one_draw("images", None, (0.9, 0.85, 0.95), (0.8, 0.7, 0.84)),
        "one-draw-overstates",
        0.1,
        "one draw overstates this attack: its success of 90.0 % (85.0–95.0) rests on a single random encoding of each "
        "image, and over fresh encodings it is 80.0 % (70.0–84.0); quote the verified rate",
    ),
    "saved recordings": (
        lambda: notices.one_draw("spikes", 1, (0.9, 0.85, 0.95), (0.5, 0.4, 0.6)),
        "one-draw-overstates",
        0.4,
        "the saved recordings do worse than the attack claims: its success of 90.0 % (85.0–95.0) was judged during the "
        "attack, and read back from the saved file it is 50.0 % (40.0–60.0); quote the verified rate",
    ),
}


@pytest.mark.parametrize(("make", "code", "figure", "text"), EVERY.values(), ids=list(EVERY))
def test_the_whole_sentence(make, code, figure, text):
    notice = make()
    assert notice.text == text
    assert notice.code == code
    assert notice.figure == (None if figure is None else pytest.approx(figure))
