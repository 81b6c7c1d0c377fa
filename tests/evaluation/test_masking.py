"""The masking verdict: planted fakes are found out, honestly trained victims are not accused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import masking_victims as victims
import pytest
import torch

from spikeflip import ReluNetwork, SpikeflipError, SpikingNetwork, load_images, load_victim
from spikeflip.evaluation.battery import STRAIGHT, Others
from spikeflip.evaluation.masking import MOST, _of_defences, _of_scores, masking_verdict
from spikeflip.evaluation.walking import Subject
from spikeflip.snn.coding import encode_for, winner
from spikeflip.victims import Defence

EVENTS, LINF, MSE = "binary-l0", "image-linf", "image-mse"


@dataclass(frozen=True)
class Case:
    """A victim, and with what it is judged."""

    name: str
    make: Callable[[], Any]
    threat: str
    budget: float
    codes: tuple[str, ...] = ()
    """Of findings that must be there."""
    inputs: int = 20
    slow: bool = False


def judged(case: Case, **options: Any) -> Any:
    inputs, labels = victims.events("test") if case.threat == EVENTS else victims.digits("test")
    n = case.inputs
    return masking_verdict(case.make(), inputs[:n], labels[:n], threat=case.threat, budget=case.budget, **options)


def codes(verdict: Any, weight: str) -> set[str]:
    return {finding.code for finding in verdict.findings if finding.weight == weight}


FAKES = [
    Case("needle-narrow surrogate", lambda: victims.needle(victims.recorded()), EVENTS, 0.1, ("unavailable",)),
    Case("needle on images", lambda: victims.needle(victims.rate()), LINF, 0.2, ("unavailable",), slow=True),
    Case("Heaviside", lambda: victims.heaviside(victims.recorded()), EVENTS, 0.1, ("unavailable", "unconstrained")),
    Case("saturated output weights", lambda: victims.saturated(victims.recorded()), EVENTS, 0.05, ("other-gradient",)),
    Case("graph cut", lambda: victims.GraphCut(victims.recorded()), EVENTS, 0.1, ("unavailable", "no-way-through")),
    Case("binned with a comparison", lambda: victims.Binned(victims.recorded()), EVENTS, 0.1, ("unavailable",)),
    Case("quantised input", lambda: victims.Quantised(victims.direct()), LINF, 0.2, ("unavailable", "no-way-through")),
    Case("frozen encoder", lambda: victims.FrozenEncoder(victims.direct()), LINF, 0.2, ("unavailable",)),
    Case("state leak", lambda: victims.StateLeak(victims.recorded()), EVENTS, 0.1, ("unstable",)),
    Case("tie-maker", lambda: victims.TieMaker(victims.recorded()), EVENTS, 0.03, ("ties",), inputs=14),
    Case("tie-maker on images", lambda: victims.TieMaker(victims.direct()), LINF, 0.1, ("ties",), slow=True),
    Case(
        "saturated convolution",
        lambda: victims.saturated(victims.recorded("ce", "8C3-AP2-32FC-10FC")),
        EVENTS,
        0.05,
        ("other-gradient",),
        slow=True,
    ),
    Case(
        "another view",
        lambda: victims.OtherView(victims.recorded(), untrained()),
        EVENTS,
        0.1,
        ("disagreeing",),
        slow=True,
    ),
]
HONEST = [
    Case("events, MSE", victims.recorded, EVENTS, 0.03),
    Case("events, CE", lambda: victims.recorded("ce"), EVENTS, 0.03, slow=True),
    Case("images, MSE", victims.rate, LINF, 0.1, inputs=16, slow=True),
    Case("direct coding, CE", victims.direct, LINF, 0.1, inputs=12),
    Case("a median with its way back", lambda: victims.Median(victims.recorded()), EVENTS, 0.05, inputs=12),
    Case("images, CE", lambda: victims.rate("ce"), LINF, 0.1, inputs=30, slow=True),
    Case("images, CE, squares", lambda: victims.rate("ce"), MSE, 0.005, inputs=30, slow=True),
    Case("direct coding, MSE", lambda: victims.direct(loss="mse"), MSE, 0.005, inputs=30, slow=True),
    Case(
        "convolution, events, MSE",
        lambda: victims.recorded("mse", "8C3-AP2-32FC-10FC"),
        EVENTS,
        0.05,
        inputs=30,
        slow=True,
    ),
    Case(
        "convolution, events, CE",
        lambda: victims.recorded("ce", "8C3-AP2-32FC-10FC"),
        EVENTS,
        0.05,
        inputs=30,
        slow=True,
    ),
    Case("a narrower window", lambda: victims.recorded("mse", "48FC-10FC", 0.3), EVENTS, 0.03, inputs=30, slow=True),
    Case("adversarially trained", victims.hardened, EVENTS, 0.05, inputs=30, slow=True),
]


def subject_of(victim: Any, inputs: torch.Tensor, labels: torch.Tensor) -> Subject:
    return Subject(victim, inputs, labels, None, torch.arange(len(inputs)), 0, 16)


def untrained() -> SpikingNetwork:
    network = victims.recorded()
    return SpikingNetwork(
        network.architecture, network.input_shape, time_steps=victims.STEPS, neuron=network.neuron, seed=5
    )


def by_name(cases: list[Case]) -> Any:
    def named(case: Case) -> Any:
        name = case.name.replace(" ", "-").replace(",", "")
        return pytest.param(case, id=name, marks=[pytest.mark.slow] if case.slow else [])

    return pytest.mark.parametrize("case", [named(case) for case in cases])


@by_name(FAKES)
def test_a_planted_fake_is_masked(case):
    verdict = judged(case)
    assert verdict.word == "masked", str(verdict)
    assert set(case.codes) <= codes(verdict, "masked")


@by_name(HONEST)
def test_an_honest_victim_is_trustworthy(case):
    verdict = judged(case)
    assert verdict.word == "trustworthy", str(verdict)


def test_attacks_look_at_another_engine_and_the_victim_decides(monkeypatch):
    """A gradient is asked of the victim nowhere, and its scores at most where something is judged."""
    case, network = HONEST[0], victims.recorded()
    plain = judged(case)
    quick = network.on("event")
    monkeypatch.setattr(network, "probe", lambda *_: pytest.fail("the victim itself was asked"))
    found = judged(Case(case.name, lambda: network, case.threat, case.budget), attacked=quick)
    assert found.word == plain.word
    assert found.rates == plain.rates
    assert (found.forwards, found.backwards) == (plain.forwards, plain.backwards)
    blind = judged(Case(case.name, lambda: network, case.threat, case.budget), attacked=victims.heaviside(quick))
    assert blind.word == "masked"


def test_gradients_that_vanish_in_the_first_encoding_alone_are_no_masking():
    digits = load_images("digits", "test")
    ids = torch.tensor([4, 15, 23, 29, 30, 43, 59, 69])
    verdict = masking_verdict(
        load_victim("demo-digits"), digits.images[ids], digits.labels[ids], threat=LINF, budget=0.3, samples=ids
    )
    assert verdict.rates["its own gradient"].share == 1
    found = {finding.code: finding for finding in verdict.findings}
    assert "is zero on 8 of 8 inputs" in found["unavailable"].sentence
    assert found["unavailable"].figure == 0
    assert verdict.word == "trustworthy"


def test_images_that_most_encodings_fool_as_they_are_are_left_out():
    victim, (images, _) = load_victim("demo-digits"), victims.digits("test")
    between = (images[:30] + images[1:31]) / 2
    first = winner(victim.scores(encode_for(victim, between, seed=0, samples=torch.arange(30))))
    verdict = masking_verdict(victim, between, first.clamp(min=0), threat=LINF, budget=1e-6)
    assert 8 < verdict.rates["its own gradient"].n < int((first >= 0).sum())
    assert verdict.rates["its own gradient"].hits == 0


def test_a_random_victim_is_doubtful():
    victim = victims.Noisy(victims.recorded())
    verdict = judged(Case("noisy", lambda: victim, EVENTS, 0.3, inputs=16))
    assert verdict.word == "doubtful"
    assert codes(verdict, "doubtful") == {"randomised"}


def test_a_victim_that_says_the_same_of_everything_is_masked():
    class SaysZero(victims.Median):
        def scores(self, spikes):
            return torch.eye(10)[:1].expand(len(spikes), 10)

    spikes, labels = victims.events("test")
    right = torch.zeros(16, dtype=torch.int64)
    right[1] = 1
    found = subject_of(SaysZero(victims.recorded()), spikes[:16], right)
    assert {finding.code for finding in _of_scores(found)} == {"constant"}
    assert not _of_scores(subject_of(victims.recorded(), spikes[:16], labels[:16]))


def test_the_verdict_does_not_depend_on_batches():
    case = Case("events", victims.recorded, EVENTS, 0.1, inputs=9)
    assert judged(case, micro_batch=4) == judged(case)


def test_wrong_answers_are_left_out_and_only_so_many_are_used():
    spikes, labels = victims.events("test")
    wrong = labels[:30].clone()
    wrong[10:] = (wrong[10:] + 1) % 10
    verdict = masking_verdict(victims.recorded(), spikes[:30], wrong, threat=EVENTS, budget=0.3)
    said = victims.recorded().scores(spikes[:30])
    right = winner(said) == wrong
    assert verdict.rates["its own gradient"].n == int(right.sum())
    many = masking_verdict(victims.recorded(), spikes, labels, threat=EVENTS, budget=0.3)
    assert many.rates["its own gradient"].n == MOST


def test_a_defence_that_takes_the_mean_away_has_a_gradient():
    class Centred(Defence):
        def transform(self, spikes):
            return spikes - spikes.mean(tuple(range(1, spikes.ndim)), keepdim=True)

    victim, spikes = Centred(victims.recorded()), victims.events("test")[0][:40]
    verdict = masking_verdict(victim, spikes, victim.scores(spikes).argmax(1), threat=EVENTS, budget=1.0)
    assert verdict.rates["its own gradient"].hits
    assert "no-way-back" not in codes(verdict, "note") | codes(verdict, "doubtful")


def test_nothing_is_said_to_have_gone_through_a_defence_that_nothing_was_left_for():
    spikes, labels = victims.events("test")
    cut = subject_of(victims.GraphCut(victims.recorded()), spikes[:9], labels[:9])
    every = torch.ones(9, dtype=torch.bool)
    sentences = {}
    for name, gradients in (("ran", {STRAIGHT: every}), ("left out", {"another": every}), ("nothing left", {})):
        [finding] = _of_defences(cut, Others(9, gradients))
        sentences[name] = finding.weight, finding.sentence.partition(" has no gradient, and ")[2].partition(":")[0]
    assert sentences == {
        "ran": ("note", "an attack went straight through it"),
        "left out": ("doubtful", "no adaptive attack went through it"),
        "nothing left": ("note", "nothing was left for an attack straight through it"),
    }


def test_estimators_that_a_victim_does_not_serve_are_named():
    verdict = judged(Case("twin", lambda: ReluNetwork.twin_of(load_victim("demo-digits")), LINF, 0.05, inputs=40))
    [finding] = [one for one in verdict.findings if one.code == "untried"]
    assert (finding.weight, finding.figure) == ("note", 4)
    assert finding.sentence.startswith("the victim does not serve a surrogate of width 4 in every layer, ")
    assert ", the estimator pdsg, the estimator straight-through: whether these are stronger" in finding.sentence
    assert "untried" not in codes(judged(Case("events", victims.recorded, EVENTS, 0.05)), "note")


def test_passes_are_counted_to_the_last():
    class Counting(victims.Median):
        asked, gradients = 0, 0

        def transform(self, spikes):
            self.asked += len(spikes)
            return spikes

        def backward(self, spikes, gradient):
            self.gradients += len(spikes)
            return gradient

    victim = Counting(victims.recorded())
    spikes, labels = victims.events("test")
    verdict = masking_verdict(victim, spikes[:12], labels[:12], threat=EVENTS, budget=0.3)
    assert (verdict.forwards, verdict.backwards) == (victim.asked, victim.gradients)
    assert verdict.forwards < 60 * 12


def test_a_target_is_aimed_at():
    spikes, labels = victims.events("test")
    targets = (labels + 1) % 10
    verdict = masking_verdict(victims.recorded(), spikes[:10], labels[:10], targets[:10], threat=EVENTS, budget=0.1)
    free = masking_verdict(victims.recorded(), spikes[:10], labels[:10], threat=EVENTS, budget=0.1)
    assert verdict.rates["its own gradient"].hits < free.rates["its own gradient"].hits
    assert verdict.word == "trustworthy"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threat": "timing"}, "threat is 'timing': choose from binary-l0, image-linf, image-mse"),
        ({"threat": LINF}, "threat image-linf is on images, and the inputs are spikes: choose binary-l0"),
        ({"budget": 0}, "budget is 0, with which no attack can be tried: give a number from 0 to 1, not 0"),
        ({"budget": 1.5}, "budget is 1.5, with which no attack"),
        ({"budget": float("nan")}, "budget is nan, with which no attack"),
        ({"micro_batch": 0}, "micro_batch is 0: give at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"inputs": torch.full((9, 8, 2, 10, 10), 2.0)}, "spikes hold the value 2"),
        ({"inputs": torch.zeros(9, 8, 2, 10, 10)}, "the victim answers 0 of 9 inputs rightly, and a verdict needs 8"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "labels have shape"),
        ({"targets": torch.zeros(9, dtype=torch.int64), "labels": torch.zeros(9, dtype=torch.int64)}, "the target of"),
        ({"victim": torch.nn.Linear(2, 2)}, "the victim is a Linear, which cannot be attacked"),
    ],
)
def test_bad_input(change, message):
    spikes, labels = victims.events("test")
    given = {"victim": victims.recorded(), "inputs": spikes[:9], "labels": labels[:9], "targets": None}
    options = {"threat": EVENTS, "budget": 0.1} | {name: value for name, value in change.items() if name not in given}
    given |= {name: value for name, value in change.items() if name in given}
    with pytest.raises(SpikeflipError) as caught:
        masking_verdict(*given.values(), **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
