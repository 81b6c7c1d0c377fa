"""What a masking verdict is made of: thresholds, findings, and the word that follows from them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from spikeflip.intervals import wilson

Word = Literal["trustworthy", "doubtful", "masked"]
Weight = Literal["masked", "doubtful", "note"]


@dataclass(frozen=True)
class Threshold:
    """A number that decides, and whose it is."""

    value: float
    source: str


_AUTOATTACK = "F. Croce and M. Hein, ICML 2020, and the flags of the AutoAttack package"
_FAILURES = "M. Pintor et al., Indicators of Attack Failure, NeurIPS 2022"
_EVALUATING = "N. Carlini et al., On Evaluating Adversarial Robustness, 2019"
_OURS = "ours"

THRESHOLDS: Mapping[str, Threshold] = {
    "unstable": Threshold(1e-4, f"{_AUTOATTACK}: scores of 5 passes, each made one long"),
    "randomised": Threshold(1e-4, f"{_AUTOATTACK}: the same with random numbers that are drawn anew"),
    "jumping": Threshold(0.5, f"{_FAILURES}, who take 0.1 for smooth networks; outputs of spikes come in steps of 1/T"),
    "constant": Threshold(0.0, f"{_OURS}: two inputs of different classes need different scores"),
    "unavailable": Threshold(
        0.5, f"{_FAILURES} and {_AUTOATTACK} refuse any zero gradient; honest spiking networks have many (Liang 2021)"
    ),
    "vanished": Threshold(0.95, f"{_OURS}: without a cure; honest networks have up to 0.9 (Liang 2021)"),
    "disagreeing": Threshold(0.1, f"{_FAILURES}: transfer failure"),
    "unconstrained": Threshold(0.95, f"{_EVALUATING}: an attack without a bound reaches 100 %"),
    "one-step": Threshold(0.1, f"A. Athalye et al., ICML 2018, and {_EVALUATING}"),
    "other-gradient": Threshold(0.1, f"{_OURS}, after Wang et al., CVPR 2026"),
    "untried": Threshold(0.0, f"{_OURS}: how many stand-ins for the derivative the victim does not serve"),
    "black-box": Threshold(0.1, f"A. Athalye et al., ICML 2018; {_AUTOATTACK} takes 0.002 of ten thousand inputs"),
    "encodings": Threshold(0.1, "F. Tramèr et al., On Adaptive Attacks, NeurIPS 2020"),
    "tied-share": Threshold(0.1, f"{_OURS}: a tie is neither right nor fooled, so it must not pass for robust"),
    "ties": Threshold(
        0.6, f"{_OURS}: of calls at a tie or one grain of the scores from it, a third are ties by nature"
    ),
    "no-way-through": Threshold(0.1, "F. Tramèr et al., On Adaptive Attacks, NeurIPS 2020"),
    "no-way-back": Threshold(0.0, "F. Tramèr et al., On Adaptive Attacks, NeurIPS 2020"),
    "unfinished": Threshold(0.05, f"{_FAILURES}: fall of the scaled loss in the last 10 steps"),
    "unfinished-share": Threshold(0.1, f"{_OURS}: share of the inputs whose attack was still under way"),
    "silent": Threshold(0.0, f"{_FAILURES}: silent success"),
}  # fmt: skip
"""By the code of the finding."""


@dataclass(frozen=True)
class Finding:
    """One thing that speaks against a figure of robustness, or that its reader should know."""

    code: str
    """A name of :data:`THRESHOLDS`."""
    figure: float
    threshold: float
    sentence: str
    weight: Weight


@dataclass(frozen=True)
class Rate:
    """How many of the inputs something is true of."""

    hits: int
    n: int

    @property
    def share(self) -> float:
        """In [0, 1]; 0 of none."""
        return self.hits / self.n if self.n else 0.0

    def clearly_below(self, other: "Rate", by: float) -> bool:
        """Whether the other is higher by at least ``by``, and the 95 % intervals do not overlap.

        >>> Rate(2, 32).clearly_below(Rate(20, 32), 0.1), Rate(8, 32).clearly_below(Rate(13, 32), 0.1)
        (True, False)
        """
        gap = other.share - self.share
        return gap >= by and wilson(self.share, self.n)[1] < wilson(other.share, other.n)[0]

    def surely_above(self, share: float) -> bool:
        """Whether the whole 95 % interval is."""
        return self.n > 0 and wilson(self.share, self.n)[0] > share

    def surely_below(self, share: float) -> bool:
        """Whether the whole 95 % interval is."""
        return self.n > 0 and wilson(self.share, self.n)[1] < share

    def __str__(self) -> str:
        return f"{self.hits} of {self.n}"


@dataclass(frozen=True)
class Verdict:
    """Whether attacks on a victim measure its robustness, and why not."""

    findings: tuple[Finding, ...]
    """Those that weigh most first."""
    rates: Mapping[str, Rate]
    """What every attack of the battery reached, by its name."""
    forwards: int
    """Passes of single inputs that the battery took."""
    backwards: int

    @property
    def word(self) -> Word:
        """The heaviest weight of a finding; trustworthy where there are notes alone."""
        weights = {finding.weight for finding in self.findings}
        return "masked" if "masked" in weights else "doubtful" if "doubtful" in weights else "trustworthy"

    def summary(self) -> dict[str, Any]:
        """As plain values, for files."""
        return {
            "word": self.word,
            "findings": [asdict(finding) for finding in self.findings],
            "rates": {name: [rate.hits, rate.n] for name, rate in self.rates.items()},
            "forwards": self.forwards,
            "backwards": self.backwards,
        }

    def __str__(self) -> str:
        said = [finding.sentence for finding in self.findings if finding.weight == self.word]
        return "; ".join([self.word, *said])


def sorted_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """Those that weigh most first, else in the order in which they were made."""
    order = ("masked", "doubtful", "note")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.weight)))
