"""Threats on events and on their times, controls of another model, and figures of parts put together."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from weighing_victim import HEIGHT, WEIGHT, LinearVictim, some_inputs

from spikeflip import LIF, ReluNetwork, SpikeflipError, SpikingNetwork, judge
from spikeflip.attacks import METRICS, MIFGSM, Budget, Change, Last, Recorded, Smallest
from spikeflip.attacks.stop import Judged
from spikeflip.evaluation import SUITES, THREATS, MemberResult, Suite, evaluate
from spikeflip.evaluation.masking import masking_verdict
from spikeflip.evaluation.members import Conditions, Samples
from spikeflip.evaluation.outcome import together
from spikeflip.evaluation.suites import suite_of
from spikeflip.snn.estimators import estimator
from spikeflip.snn.memory import Memory

SPIKES, LABELS = some_inputs()


def recorded(more):
    """Of 10 recordings, by how many events (sample, cell) have more than one."""
    places = torch.tensor([[*place, count] for place, count in more.items()])
    return Recorded(torch.arange(5).expand(10, 5), *places.T)


MORE = {(0, int(SPIKES[0].flatten().nonzero()[0])): 4, (3, int(SPIKES[3].flatten().nonzero()[2])): 1}


def test_a_budget_of_events_is_a_share_of_the_recordings_own():
    threat, known = THREATS["events"], recorded(MORE)
    spikes = SPIKES.flatten(1).sum(1).double()
    own = threat.own(SPIKES, known)
    assert (own - spikes).tolist() == [4, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert threat.limits(own, 0.3).tolist() == (0.3 * own + 1e-9).floor().tolist()
    assert THREATS["timing"].own(SPIKES, known).tolist() == spikes.tolist()
    flat = SPIKES.flatten(1).clone()
    for (sample, cell), _ in MORE.items():
        flat[sample, cell] = 0
    emptied = flat.view_as(SPIKES)
    assert threat.distances(SPIKES, emptied, known).tolist() == [5, 0, 0, 2, 0, 0, 0, 0, 0, 0]
    few = torch.tensor([3, 0])
    assert threat.distances(SPIKES[few], emptied[few], known.rows(few)).tolist() == [2, 5]


def test_what_is_added_or_removed_is_no_move():
    threat = THREATS["timing"]
    moved, flipped = SPIKES[:1].clone(), SPIKES[:1].clone()
    line = next(line for line in range(6) if 0 < SPIKES[0, :, line].sum() < 4)
    full, free = (int((SPIKES[0, :, line] == value).nonzero()[0]) for value in (1, 0))
    moved[0, full, line], moved[0, free, line] = 0, 1
    flipped[0, full, line] = 0
    assert threat.distances(SPIKES[:1], moved).tolist() == [1]
    assert threat.distances(SPIKES[:1], flipped).tolist() == [math.inf]
    other = next(at for at in range(6) if at != line and SPIKES[0, full, at] == 0)
    flipped[0, full, other] = 1  # as many spikes in all, not in each line
    assert threat.distances(SPIKES[:1], flipped).tolist() == [math.inf]


def fewest_moves():
    """By trying all rearrangements of each line, and all ways to share moves among lines."""
    found = []
    for spikes in SPIKES:
        sign = -1 if float((spikes * WEIGHT).sum()) > HEIGHT else 1
        best = {0: 0.0}
        for line in range(6):
            before, gains = spikes[:, line], {}
            for bits in product((0.0, 1.0), repeat=4):
                after = torch.tensor(bits)
                if after.sum() == before.sum():
                    moves = int(((before == 1) & (after == 0)).sum())
                    gain = sign * float(((after - before) * WEIGHT[:, line]).sum())
                    gains[moves] = max(gain, gains.get(moves, -math.inf))
            best = {
                total: max(best[total - moves] + gain for moves, gain in gains.items() if total - moves in best)
                for total in range(max(best) + max(gains) + 1)
                if any(total - moves in best for moves in gains)
            }
        missing = abs(float((spikes * WEIGHT).sum()) - HEIGHT)
        found.append(min((total for total, gain in best.items() if gain > missing), default=math.inf))
    return found


def test_the_worst_case_in_time_is_near_the_fewest_moves():
    found = evaluate(LinearVictim(), SPIKES, LABELS, threat="timing", budget=0.5, every=True)
    known = fewest_moves()
    distances = found.rows["distance"].tolist()
    assert all(distance >= fewest for distance, fewest in zip(distances, known, strict=True))
    equal = [distance == fewest for distance, fewest in zip(distances, known, strict=True)]
    assert sum(equal) >= 9
    assert 0 < int(found.rows["broken"].sum()) < 10
    assert torch.equal(found.adversarials.sum(1), SPIKES.sum(1))
    assert found.rows["limit"].tolist() == (0.5 * SPIKES.flatten(1).sum(1)).floor().tolist()
    moved = METRICS["moved"](Change(SPIKES, found.adversarials))
    assert torch.equal(moved, torch.where(found.rows["broken"], found.rows["distance"], 0.0))


def test_the_random_control_moves_as_many_as_the_budget_allows(monkeypatch):
    """Of what can move: a line that is full or empty has no free bin."""
    control, attack, *_ = suite_of("timing").members
    monkeypatch.setitem(SUITES, "timing/2", Suite("timing/2", (control, attack)))
    seen = []
    made = type(control).made
    monkeypatch.setattr(type(control), "made", lambda member, fit: seen.append((member, fit)) or made(member, fit))
    evaluate(LinearVictim(), SPIKES, LABELS, threat="timing", budget=0.27)
    spikes = SPIKES.flatten(1).sum(1)
    fits = [fit for member, fit in seen if member is control]
    assert [fit.limit for fit in fits] == (0.27 * spikes + 1e-9).floor().tolist()
    assert [round(fit.budget * n) for fit, n in zip(fits, spikes.tolist(), strict=True)] == [fit.limit for fit in fits]


def test_the_moving_control_keeps_to_the_events_that_it_may_change(monkeypatch):
    """A move takes out all events of a cell and puts one in."""
    more = {(0, int(cell)): 3 for cell in SPIKES[0].flatten().nonzero().flatten()}
    control, attack = (next(m for m in SUITES["events/1"].members if m.name == n) for n in ("random-retiming", "scg"))
    monkeypatch.setitem(SUITES, "events/1", Suite("events/1", (control, attack)))
    seen = []
    made = type(control).made
    monkeypatch.setattr(type(control), "made", lambda member, fit: seen.append((member, fit)) or made(member, fit))
    evaluate(LinearVictim(), SPIKES, LABELS, threat="events", budget=0.2, recorded=recorded(more))
    first, second = [fit for member, fit in seen if member is control][:2]
    spikes = SPIKES.flatten(1).sum(1)
    assert (first.events_a_spike, second.events_a_spike) == (4, 1)
    for fit, n in ((first, spikes[0]), (second, spikes[1])):
        moves = round(control.fitted(fit)["share"] * float(n))
        assert moves == fit.limit // (1 + fit.events_a_spike)


def test_no_member_of_the_newest_suite_in_time_is_blind_to_it():
    for member in suite_of("timing").members:
        assert not estimator(member.settings.get("gradient", "bptt")).averaged


def test_events_of_frames_alone_are_refused():
    with pytest.raises(SpikeflipError, match="threat events counts the events of recordings, and the inputs are fram"):
        evaluate(LinearVictim(), SPIKES, LABELS, threat="events", budget=0.1)


def test_attacks_that_go_on_look_for_the_smallest_in_the_threats_metric():
    samples = Samples(SPIKES, LABELS, None, torch.arange(10), torch.ones(10).double(), recorded(MORE))
    for name in ("events", "binary-l0"):
        how = Conditions(LinearVictim(), LinearVictim(), THREATS[name], 0.1, 1, 0, 16)
        for member in SUITES[f"{name}/1"].members:
            if member.attack in ("sigma-zero", "gumbel-flips", "flip-search"):
                attack = replace(member, fitted=lambda fit: {}).made(None)
                assert how.options(member, attack, samples)["stop"] == Smallest(THREATS[name].metric)


def test_a_verdict_on_events_is_that_on_flips():
    """What spikes may do is no matter of gradients."""
    network = SpikingNetwork("16FC-3FC", (20,), time_steps=6, seed=1, neuron=LIF(0.1, 0.3))
    spikes = (torch.rand(32, 6, 20, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    labels = network.scores(spikes).argmax(1)
    flips = masking_verdict(network, spikes, labels, threat="binary-l0", budget=0.3)
    assert THREATS["events"].gradients_in == THREATS["timing"].gradients_in == "binary-l0"
    found = evaluate(network, spikes, labels, threat="timing", budget=0.3, verdict=True)
    assert found.verdict.rates == flips.rates
    few = evaluate(network, spikes[:6], labels[:6], threat="timing", budget=0.3, verdict=True)
    assert few.verdict is None


def test_the_last_success_is_kept():
    """Of five passes, those that reach the goal cost less and less; the loop keeps what costs least."""
    stop, memory = Last(), Memory(2)
    change, costs = Change(torch.zeros(2, 3), torch.ones(2, 3)), []
    for success in ([False, True], [True, False], [True, True], [False, False], [True, False]):
        verdict = stop(Judged(change, torch.tensor(success), memory, lambda rows, draws: rows))
        costs.append(verdict.cost.tolist())
        assert not verdict.done.any()
    first, second = zip(*costs, strict=True)
    assert [cost for cost in first if cost < math.inf] == [-1, -2, -3]
    assert [cost for cost in second if cost < math.inf] == [-1, -2]


class TestTwin:
    @pytest.fixture
    def few(self, monkeypatch):
        for threat in ("image-linf", "image-mse"):
            members = SUITES[f"{threat}/1"].members
            kept = tuple(one for one in members if one.name in ("twin's adversarials", "fgsm"))
            monkeypatch.setitem(SUITES, f"{threat}/1", Suite(f"{threat}/1", kept))

    @pytest.mark.parametrize("budget", [0.15, 0.3])
    def test_its_adversarials_are_judged_on_the_victim(self, digit_victim, digits, few, budget):
        images, labels = digits.images[:16], digits.labels[:16]
        found = evaluate(digit_victim, images, labels, threat="image-linf", budget=budget, draws=10)
        twin = ReluNetwork.twin_of(digit_victim)
        attack = MIFGSM(loss="margin", budget=Budget(budget, "linf"))
        rows = found.rows["right"].nonzero().squeeze(1)
        made = attack(twin, images[rows], labels[rows], stop=Last(), samples=rows).adversarials
        judged = judge(digit_victim, images[rows], made, labels[rows], draws=10, samples=rows)
        control = found.members[0]
        assert (control.view, control.attempted) == ("control", len(rows))
        assert control.broken == int((judged.rows["verified"] > 0.5).sum()) > 0
        assert found.members[1].attempted == len(rows)  # it takes nothing from the attacks
        assert control.backwards > 0

    def test_another_twin_can_be_given(self, digit_victim, digits, few):
        given = digits.images[:8], digits.labels[:8]
        blank = ReluNetwork.twin_of(digit_victim)
        for weight in blank.weights:
            weight.data.zero_()
        found = evaluate(digit_victim, *given, threat="image-linf", budget=0.3, draws=5, twin=blank)
        assert found.members[0].broken == 0  # it has no gradient

    def test_where_there_is_none_it_is_left_out(self, digit_victim, digits, few):
        twin = ReluNetwork.twin_of(digit_victim)
        labels = twin(digits.images[:4]).argmax(1)
        found = evaluate(twin, digits.images[:4], labels, threat="image-mse", budget=0.02)
        assert found.members[0].left_out == "the victim has no ReLU twin"
        assert found.members[1].left_out is None


def test_parts_are_put_together():
    def member(**of):
        return MemberResult(**({"name": "scg", "attack": "scg", "view": "white box", "alone": 1} | of))

    one = member(attempted=3, broken=2, forwards=5, backwards=4, seconds=1.5)
    other = member(attempted=1, broken=0, forwards=2, backwards=1, seconds=0.5)
    (found,) = together([[one], [other]])
    assert found == member(attempted=4, broken=2, alone=2, forwards=7, backwards=5, seconds=2.0)
    (found,) = together([[replace(one, alone=None)], [replace(other, alone=None)]])
    assert found.alone is None
    none = member(attempted=0, broken=0, alone=None, forwards=0, backwards=0, seconds=0.0)
    (found,) = together([[none], [replace(none, left_out="not for it")]])
    assert (found.left_out, found.alone) == ("not for it", None)


def test_a_victim_of_one_time_step_is_not_robust_in_time():
    """Nothing could move in any attack, and all that is right would count as robust."""
    network, spikes = SpikingNetwork("4FC-2FC", (3,), time_steps=1, neuron=LIF(0.1, 0.3)), torch.ones(2, 1, 3)
    with pytest.raises(SpikeflipError, match=r"moves spikes between time steps, and the victim has one: .* binary-l0"):
        evaluate(network, spikes, torch.tensor([0, 1]), threat="timing", budget=0.5)
