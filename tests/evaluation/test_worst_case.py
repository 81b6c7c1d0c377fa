"""The worst case over a suite: where it is known, on what still stands, and the same however it is run."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from weighing_victim import LinearVictim, fewest_flips, scg_and_spikefool

import spikeflip
from spikeflip import SpikeflipError, load_victim
from spikeflip.attacks import ATTACKS, AttackInfo, Verified
from spikeflip.attacks.bim import FGSM
from spikeflip.attacks.random_flips import RandomFlips
from spikeflip.evaluation import SUITES, THREATS, Member, Suite, Verdict, evaluate, members, worst_case
from spikeflip.evaluation.outcome import table_lines
from spikeflip.evaluation.suites import Fit
from spikeflip.snn.coding import encode_for, winner


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """The attacks that take longest take fewer steps."""
    steps = {"sparse-rs": 4, "flip-search": 30, "sigma-zero": 40, "gumbel-flips": 40}
    suite = tuple(
        replace(one, settings=one.settings | {"steps": steps[one.name]}) if one.name in steps else one
        for one in SUITES["binary-l0/1"].members
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, "binary-l0/1", Suite("binary-l0/1", suite))
        yield


@pytest.fixture(scope="module")
def whole(inputs, few_steps):
    """The whole suite, every attack on every sample."""
    return evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.2, every=True)


def test_the_worst_case_is_the_fewest_flips(inputs, whole):
    known = fewest_flips(inputs[0])
    assert whole.rows["distance"].tolist() == known.tolist()
    limits = (0.2 * inputs[0].flatten(1).sum(1)).floor()
    assert whole.rows["limit"].tolist() == limits.tolist()
    assert whole.rows["broken"].tolist() == (known <= limits).tolist()
    assert 0 < whole.robust_accuracy < 1
    assert whole.robust_accuracy == pytest.approx(float((known > limits).float().mean()))
    assert whole.clean_accuracy == 1


def test_adversarials_are_the_worst_case_within_the_budget(inputs, whole):
    spikes, labels = inputs
    flips = (whole.adversarials != spikes).flatten(1).sum(1)
    broken = whole.rows["broken"]
    assert torch.equal(flips, torch.where(broken, whole.rows["distance"], 0).long())
    assert torch.equal(winner(LinearVictim().scores(whole.adversarials)) != labels, broken)


def test_a_table_does_without_columns_where_lines_are_short(whole):
    members = whole.summary()["members"]
    for width, heading in (
        (80, ["member", "looks", "at", "tried", "broken", "alone", "passes", "s"]),
        (60, ["member", "looks", "at", "tried", "broken", "passes", "s"]),
        (40, ["member", "tried", "broken", "passes"]),
        (20, ["member", "broken", "passes"]),
    ):
        lines = table_lines(members, width)
        assert lines[0].split() == heading
        assert max(map(len, lines)) <= max(width, 28)
        assert [line.split()[0] for line in lines[1:]] == [member["name"] for member in members]


def test_inputs_of_another_type(inputs, few):
    scg_and_spikefool(few)
    spikes, labels = inputs
    asked = {"threat": "binary-l0", "budget": 0.2}
    whole = evaluate(LinearVictim(), spikes, labels, **asked)
    for dtype in (torch.bool, torch.uint8, torch.float64):
        found = evaluate(LinearVictim(), spikes.to(dtype), labels, **asked)
        assert figures(found) == figures(whole)
        assert found.adversarials.dtype == dtype
        assert torch.equal(found.adversarials.float(), whole.adversarials)


def test_the_curve_is_that_of_the_distances(inputs, whole):
    known, events = fewest_flips(inputs[0]), inputs[0].flatten(1).sum(1).double()
    assert [budget for budget, _ in whole.curve] == pytest.approx([0.02 * step for step in range(11)])
    for budget, robust in whole.curve:
        assert robust == pytest.approx(float((known > (budget * events + 1e-9).floor()).double().mean()))
    assert whole.curve[0] == (0, whole.clean_accuracy)
    assert whole.curve[-1] == (0.2, whole.robust_accuracy)


def test_members_say_what_they_broke(whole):
    """In ``every``, what an attack breaks alone no other attack broke."""
    control, *attacks = whole.members
    assert control.view == "control"
    assert control.alone is None
    assert {member.attempted for member in whole.members} == {10}
    assert max(member.broken for member in attacks) <= int(whole.rows["broken"].sum())
    assert all(0 <= member.alone <= member.broken for member in attacks)
    assert all(member.forwards > 0 and member.left_out is None for member in whole.members)
    names = {member.name for member in whole.members}
    assert all(
        (name in names) == bool(broken) for name, broken in zip(whole.broken_by, whole.rows["broken"], strict=True)
    )


def test_later_attacks_see_what_still_stands(inputs, whole):
    found = evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.2)
    control, *attacks = found.members
    assert control.attempted == 10
    standing = 10
    for member in attacks:
        assert member.attempted == standing
        assert member.alone is None
        standing -= member.broken
    assert standing == 10 - int(found.rows["by_attack"].sum())
    assert torch.equal(found.rows["broken"], whole.rows["broken"])


def test_of_equal_distances_the_first_stays(inputs, few):
    control, scg, *_ = SUITES["binary-l0/1"].members
    few("binary-l0/1", control, scg, replace(scg, name="again"))
    found = evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.2, every=True)
    assert "scg" in found.broken_by
    assert "again" not in found.broken_by
    assert [member.alone for member in found.members] == [None, 0, 0]


def test_a_control_takes_nothing_from_the_attacks(inputs, few):
    """Random flips of half of the spikes break some; attacks are run on them all the same."""
    suite = SUITES["binary-l0/1"].members
    few("binary-l0/1", suite[0], Member("pgd", "pgd", "white box"))
    with pytest.raises(SpikeflipError, match="no attack of binary-l0/1 can attack this victim; the first says: inputs"):
        evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.5)
    few("binary-l0/1", suite[0], replace(suite[1], settings={"steps": 1, "top_k": 1}))
    found = evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.5)
    assert found.members[0].broken > 0
    assert found.members[1].attempted == 10
    alone = int((found.rows["broken"] & ~found.rows["by_attack"]).sum())
    assert found.summary()["broken_by_controls_alone"] == alone > 0
    assert found.robust_accuracy == pytest.approx(1 - float(found.rows["broken"].float().mean()))
    order = torch.tensor([7, 2, 9, 0])  # random flips are those of a sample's id
    given = inputs[0][order], inputs[1][order]
    some = evaluate(LinearVictim(), *given, threat="binary-l0", budget=0.5, samples=order)
    assert torch.equal(some.adversarials, found.adversarials[order])


def test_the_control_has_the_budget_of_each_sample(inputs, monkeypatch, few):
    """Its share of spikes is rounded to a number of flips; that must be the limit, which is rounded down."""
    flips = []

    class Watched(RandomFlips):
        def __call__(self, victim, spikes, labels, targets=None, **options):
            found = super().__call__(victim, spikes, labels, targets, **options)
            flips.append(int((found.adversarials != spikes).sum()))
            return found

    scg_and_spikefool(few)
    monkeypatch.setitem(ATTACKS, "random-flips", AttackInfo(Watched))
    found = evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.23)
    assert flips == found.rows["limit"].int().tolist()


def test_a_budget_of_zero_is_clean_accuracy(inputs, digit_victim, digits):
    spikes, labels = inputs
    labels = labels.clone()
    labels[:3] = 1 - labels[:3]
    victim = LinearVictim()
    found = evaluate(victim, spikes, labels, threat="binary-l0", budget=0)
    assert (found.robust_accuracy, found.clean_accuracy) == (0.7, 0.7)
    assert found.curve == ((0.0, 0.7),)
    assert {member.attempted for member in found.members} == {0}
    assert torch.equal(found.adversarials, spikes)
    found = evaluate(digit_victim, digits.images[:40], digits.labels[:40], threat="image-linf", budget=0)
    assert found.robust_accuracy == found.clean_accuracy < 1


def test_a_verdict_is_of_the_inputs_that_are_right(inputs, few, monkeypatch):
    spikes, labels = inputs
    labels = labels.clone()
    labels[:2] = 1 - labels[:2]
    scg_and_spikefool(few)
    asked = []
    said = Verdict((), {}, 5, 2)
    monkeypatch.setattr(worst_case, "masking_verdict", lambda *given, **named: asked.append((given, named)) or said)
    given = {"threat": "binary-l0", "budget": 0.2, "seed": 4, "micro_batch": 3}
    attacked = LinearVictim()
    found = evaluate(LinearVictim(), spikes, labels, verdict=True, attacked=attacked, **given)
    (_, seen, classes, targets), named = asked.pop()
    assert torch.equal(seen, spikes[2:])
    assert named.pop("samples").tolist() == list(range(2, len(spikes)))
    assert (classes.tolist(), targets, named) == (labels[2:].tolist(), None, given | {"attacked": attacked})
    assert found.verdict is said
    assert found.summary()["verdict"]["word"] == "trustworthy"
    assert evaluate(LinearVictim(), spikes, labels, **given).verdict is None
    assert evaluate(LinearVictim(), spikes, labels, verdict=True, **given | {"budget": 0}).verdict is None
    assert not asked


def test_without_enough_to_attack_there_is_no_verdict(inputs, few):
    """Fewer than 8 inputs that are right, or a budget of no flip."""
    spikes, labels = inputs
    scg_and_spikefool(few)
    given = {"threat": "binary-l0", "verdict": True}
    assert evaluate(LinearVictim(), spikes[:7], labels[:7], budget=0.2, **given).verdict is None
    assert evaluate(LinearVictim(), spikes, labels, budget=1e-6, **given).verdict is None


def test_a_suite_of_controls_alone_is_refused(inputs, few):
    few("binary-l0/1", SUITES["binary-l0/1"].members[0])
    with pytest.raises(SpikeflipError, match="suite binary-l0/1 has controls alone, which are no worst case"):
        evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.2)


def test_the_twins_adversarials_do_not_depend_on_batch_mates(digits, monkeypatch):
    member = next(member for member in SUITES["image-linf/1"].members if member.on == "twin")
    fgsm = next(member for member in SUITES["image-linf/1"].members if member.name == "fgsm")
    monkeypatch.setitem(SUITES, "image-linf/1", Suite("image-linf/1", (member, fgsm)))
    victim, images, labels = load_victim("demo-digits"), digits.images, digits.labels
    found = evaluate(victim, images[:6], labels[:6], threat="image-linf", budget=0.08)
    for at in range(6):
        one = evaluate(
            victim, images[at : at + 1], labels[at : at + 1], threat="image-linf", budget=0.08,
            samples=torch.tensor([at]),
        )  # fmt: skip
        assert torch.equal(one.adversarials[0], found.adversarials[at])


def test_an_input_that_most_encodings_get_wrong_is_not_right(digit_victim, digits, monkeypatch):
    rows = {"verified": torch.tensor([0.9, 0.2, 0.0]), "already_wrong": torch.tensor([False, False, True])}
    monkeypatch.setattr(members, "judge", lambda *given, **options: SimpleNamespace(rows=rows))
    found = evaluate(digit_victim, digits.images[:3], digits.labels[:3], threat="image-linf", budget=0)
    assert found.rows["right"].tolist() == [False, True, False]


def test_images_that_go_too_far_are_drawn_back():
    images = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
    moved = torch.tensor([[0.9, 0.4], [0.52, 0.5], [0.0, 1.0]])
    limits = torch.full((3,), 0.05, dtype=torch.float64)
    kept = THREATS["image-linf"].keep(images, moved, limits)
    torch.testing.assert_close(kept, torch.tensor([[0.55, 0.45], [0.52, 0.5], [0.05, 0.95]]))
    assert THREATS["image-linf"].within(THREATS["image-linf"].distances(images, kept), limits).all()
    limits = torch.full((3,), 0.01, dtype=torch.float64)
    kept = THREATS["image-mse"].keep(images, moved, limits)
    assert THREATS["image-mse"].distances(images, kept).tolist() == pytest.approx([0.01, 0.0002, 0.01], abs=1e-6)
    torch.testing.assert_close((kept - images)[0] * 0.4, (kept - images)[0, 0] * (moved - images)[0])


@pytest.mark.parametrize("coding", ["rate", "latency"])
def test_attacks_go_on_until_most_encodings_fool(digits, few, monkeypatch, coding):
    stops = []

    class Watched(FGSM):
        def __call__(self, *given, **options):
            stops.append((options.get("stop"), options["samples"].tolist()))
            return super().__call__(*given, **options)

    monkeypatch.setitem(ATTACKS, "fgsm", AttackInfo(Watched))
    few("image-linf/1", next(one for one in SUITES["image-linf/1"].members if one.attack == "fgsm"))
    network = spikeflip.SpikingNetwork("4C3-10FC", (1, 8, 8), time_steps=4, seed=1, coding=coding)
    ids = 11 * torch.arange(8)
    labels = winner(network.scores(encode_for(network, digits.images[:8], seed=0, samples=ids))).clamp(min=0)
    found = evaluate(network, digits.images[:8], labels, threat="image-linf", budget=0.1, samples=ids)
    assert found.rows["right"].any()
    assert stops == [(Verified(0.5) if coding == "rate" else None, ids[found.rows["right"]].tolist())]


def test_a_wrong_input_is_not_robust_and_not_attacked(inputs, few):
    scg_and_spikefool(few)
    spikes, labels = inputs
    labels = labels.clone()
    labels[2] = 1 - labels[2]
    found = evaluate(LinearVictim(), spikes, labels, threat="binary-l0", budget=0.2)
    assert not found.rows["right"][2]
    assert not found.rows["broken"][2]
    assert math.isinf(found.rows["distance"][2])
    assert found.members[0].attempted == 9
    assert found.clean_accuracy == 0.9


def test_towards_targets(inputs, few):
    scg_and_spikefool(few)
    spikes, labels = inputs
    found = evaluate(LinearVictim(), spikes, labels, 1 - labels, threat="binary-l0", budget=1.0)
    assert found.summary()["goal"] == "targeted"
    assert torch.equal(winner(LinearVictim().scores(found.adversarials)) == 1 - labels, found.rows["broken"])
    assert found.rows["broken"].any()


def figures(found):
    summary = found.summary()
    for member in summary["members"]:
        del member["seconds"]
    return json.dumps(summary, allow_nan=False), {name: column.tolist() for name, column in found.rows.items()}


def test_the_same_whatever_the_batches_and_companions(inputs, few):
    spikes, labels = inputs
    suite = SUITES["binary-l0/1"].members
    few("binary-l0/1", *(replace(member, settings={**member.settings, "steps": 3}) for member in suite))
    found = evaluate(LinearVictim(), spikes, labels, threat="binary-l0", budget=0.2, micro_batch=3)
    again = evaluate(LinearVictim(), spikes, labels, threat="binary-l0", budget=0.2, micro_batch=16)
    assert figures(found) == figures(again)
    assert torch.equal(found.adversarials, again.adversarials)
    order = torch.tensor([7, 2, 9])
    some = evaluate(LinearVictim(), spikes[order], labels[order], threat="binary-l0", budget=0.2, samples=order)
    assert torch.equal(some.adversarials, found.adversarials[order])
    assert torch.equal(some.rows["distance"], found.rows["distance"][order])
    other = evaluate(LinearVictim(), spikes, labels, threat="binary-l0", budget=0.2, seed=1)
    assert not torch.equal(other.adversarials, found.adversarials)


class TestImages:
    @pytest.fixture
    def suite(self, few):
        """Those of the suite that are done soon."""
        for name, kept in (
            ("image-linf/1", ("random", "fgsm", "pgd bptt", "apgd margin hart", "sa-pgd assg")),
            ("image-mse/1", ("random", "fgsm", "bim", "scg", "scg margin", "scg rescued", "apgd margin hart")),
        ):
            few(name, *(member for member in SUITES[name].members if member.name in kept))

    @pytest.mark.parametrize(("threat", "budget", "power"), [("image-linf", 0.15, 1), ("image-mse", 0.02, 2)])
    def test_at_least_as_strong_as_each_member_alone(self, digit_victim, digits, suite, few, threat, budget, power):
        given = digits.images[:10], digits.labels[:10]
        found = evaluate(digit_victim, *given, threat=threat, budget=budget)
        assert found.rows["broken"].any()
        change = (found.adversarials - given[0]).flatten(1)
        size = change.abs().amax(1) if power == 1 else change.square().mean(1).sqrt()
        assert (size <= budget ** (1 / power) + 1e-6).all()
        assert found.adversarials.min() >= 0
        assert found.adversarials.max() <= 1
        assert torch.equal(size > 0, found.rows["broken"])
        for member in SUITES[f"{threat}/1"].members[1:]:
            few(f"{threat}/1", member)
            alone = evaluate(digit_victim, *given, threat=threat, budget=budget)
            assert not (alone.rows["broken"] & ~found.rows["broken"]).any(), member.name

    def test_broken_is_fooled_in_most_fresh_encodings(self, digit_victim, digits, suite):
        given = digits.images[:10], digits.labels[:10]
        found = evaluate(digit_victim, *given, threat="image-linf", budget=0.15, draws=30)
        assert found.draws == 30
        judged = spikeflip.judge(digit_victim, given[0], found.adversarials, given[1], draws=30)
        assert torch.equal(judged.rows["verified"] > 0.5, found.rows["broken"])

    @pytest.mark.parametrize(("threat", "budget"), [("image-linf", 0.2), ("image-mse", 0.02)])
    def test_the_control_is_as_large_as_the_budget(self, digit_victim, digits, threat, budget):
        """Uniform noise fills the ball of L-infinity, and is near the mean squared change."""
        control = SUITES[f"{threat}/1"].members[0]
        images = digits.images[:30] / 2 + 0.25  # so that nothing is clipped
        seen = encode_for(digit_victim, images, seed=0, samples=torch.arange(30))
        labels = winner(digit_victim.scores(seen)).clamp(min=0)
        tried = control.made(Fit(budget, 64, budget))(digit_victim, images, labels)
        changed = (tried.adversarials - images).flatten(1)[tried.steps > 0]
        assert len(changed) > 10
        if threat == "image-linf":
            assert 0.95 * budget < changed.abs().max() <= budget + 1e-6
        else:
            assert changed.square().mean(1).tolist() == pytest.approx([budget] * len(changed), rel=0.4)

    def test_a_twin_is_attacked_with_what_it_takes(self, digits, suite):
        """A ReLU network sees images as they are: one encoding decides, and scg says that it turns none into spikes."""
        twin = spikeflip.ReluNetwork("4C3-10FC", (1, 8, 8), seed=1)
        labels = winner(twin.scores(digits.images[:4].unsqueeze(1)))
        found = evaluate(twin, digits.images[:4], labels, threat="image-mse", budget=0.02, every=True)
        left_out = {member.name: member.left_out for member in found.members if member.left_out}
        assert {"scg", "scg margin", "scg rescued"} <= set(left_out)
        assert "takes images as they are" in left_out["scg"]
        assert found.draws == 1
        assert found.rows["broken"].any()


def test_a_summary_and_a_table(whole):
    summary = json.loads(json.dumps(whole.summary(), allow_nan=False))
    low, high = summary["robust_accuracy_interval"]
    assert low < summary["robust_accuracy"] < high
    assert (low, high) == spikeflip.judging.wilson(summary["robust_accuracy"], 10)
    assert summary["suite"] == "binary-l0/1"
    assert summary["verdict"] is None
    assert [member["name"] for member in summary["members"]] == [one.name for one in SUITES["binary-l0/1"].members]
    first, head, *lines = repr(whole).splitlines()
    assert first.startswith("binary-l0/1, budget 0.2: robust accuracy ")
    assert head.split() == ["member", "looks", "at", "tried", "broken", "alone", "passes", "s"]
    assert len(lines) == 8
    assert max(map(len, lines)) < 80
    html = whole._repr_html_()
    assert html.startswith(f"<table><caption>{first}</caption><tr><th>member</th>")
    assert html.count("<tr>") == 9


def test_progress_names_the_members(inputs, few):
    scg_and_spikefool(few)
    seen = []
    evaluate(LinearVictim(), *inputs, threat="binary-l0", budget=0.2, progress=lambda *told: seen.append(told))
    assert [*dict.fromkeys(name for name, *_ in seen)] == ["random-flips", "scg", "spikefool"]
    assert [told for told in seen if told[0] == "random-flips"][-1] == ("random-flips", 10, 10)
