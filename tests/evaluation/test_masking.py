"""The masking verdict: planted fakes are found out, honestly trained victims are not accused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import masking_victims as victims
import pytest
import torch

from spikeflip import SpikeflipError, SpikingNetwork
from spikeflip.evaluation.findings import THRESHOLDS
from spikeflip.evaluation.masking import masking_verdict

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


def judged(case: Case, **options: Any) -> Any:
    inputs, labels = victims.events("test") if case.threat == EVENTS else victims.digits("test")
    n = case.inputs
    return masking_verdict(
        case.make(), inputs[:n], labels[:n], threat=case.threat, budget=case.budget, **options
    )


def codes(verdict: Any, weight: str) -> set[str]:
    return {finding.code for finding in verdict.findings if finding.weight == weight}


FAKES = [
    Case("needle-narrow surrogate", lambda: victims.needle(victims.recorded()), EVENTS, 0.1, ("unavailable",)),
    Case("needle on images", lambda: victims.needle(victims.rate()), LINF, 0.2, ("unavailable",)),
    Case("Heaviside", lambda: victims.heaviside(victims.recorded()), EVENTS, 0.1, ("unavailable", "unconstrained")),
    Case("saturated output weights", lambda: victims.saturated(victims.recorded()), EVENTS, 0.05, ()),
    Case("graph cut", lambda: victims.GraphCut(victims.recorded()), EVENTS, 0.1, ("unavailable", "no-way-through")),
    Case("binned with a comparison", lambda: victims.Binned(victims.recorded()), EVENTS, 0.1, ("unavailable",)),
    Case("quantised input", lambda: victims.Quantised(victims.direct()), LINF, 0.2, ("unavailable", "no-way-through")),
    Case("frozen encoder", lambda: victims.FrozenEncoder(victims.direct()), LINF, 0.2, ("unavailable",)),
    Case("state leak", lambda: victims.StateLeak(victims.recorded()), EVENTS, 0.1, ("unstable",)),
    Case("tie-maker", lambda: victims.TieMaker(victims.recorded()), EVENTS, 0.03, ("ties",)),
    Case("tie-maker on images", lambda: victims.TieMaker(victims.direct()), LINF, 0.1, ("ties",)),
    Case("another view", lambda: victims.OtherView(victims.recorded(), untrained()), EVENTS, 0.1, ("disagreeing",)),
    Case("constant", lambda: victims.Constant(victims.recorded()), EVENTS, 0.1),
]
HONEST = [
    Case("events, MSE", victims.recorded, EVENTS, 0.03),
    Case("events, CE", lambda: victims.recorded("ce"), EVENTS, 0.03),
    Case("images, MSE", victims.rate, LINF, 0.1, inputs=16),
    Case("direct coding, CE", victims.direct, LINF, 0.1),
    Case("a median with its way back", lambda: victims.Median(victims.recorded()), EVENTS, 0.05),
]
SLOW = [
    Case("images, CE", lambda: victims.rate("ce"), LINF, 0.1, inputs=30),
    Case("images, CE, squares", lambda: victims.rate("ce"), MSE, 0.005, inputs=30),
    Case("direct coding, MSE", lambda: victims.direct(loss="mse"), MSE, 0.005, inputs=30),
    Case("convolution, events, MSE", lambda: victims.recorded("mse", "8C3-AP2-32FC-10FC"), EVENTS, 0.05, inputs=30),
    Case("convolution, events, CE", lambda: victims.recorded("ce", "8C3-AP2-32FC-10FC"), EVENTS, 0.05, inputs=30),
    Case("a narrower window", lambda: victims.recorded("mse", "48FC-10FC", 0.3), EVENTS, 0.03, inputs=30),
    Case("adversarially trained", victims.hardened, EVENTS, 0.05, inputs=30),
]


def untrained() -> SpikingNetwork:
    network = victims.recorded()
    return SpikingNetwork(
        network.architecture, network.input_shape, time_steps=victims.STEPS, neuron=network.neuron, seed=5
    )


def by_name(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.name.replace(" ", "-").replace(",", "") for case in cases])


@by_name([case for case in FAKES if case.name != "constant"])
def test_a_planted_fake_is_masked(case):
    verdict = judged(case)
    assert verdict.word == "masked", str(verdict)
    assert set(case.codes) <= codes(verdict, "masked")


@by_name(HONEST)
def test_an_honest_victim_is_trustworthy(case):
    assert judged(case).word == "trustworthy"


@pytest.mark.slow
@by_name(SLOW)
def test_an_honest_victim_is_trustworthy_on_more_inputs(case):
    assert judged(case).word == "trustworthy"
