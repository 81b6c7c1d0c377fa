"""The rates of a judgement: what each is called, of what it is a share, and what it means."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RateKind:
    """A share in [0, 1], shown in percent with its number of inputs and its interval.

    Args:
        name: its key in summaries, beside ``name_n`` and ``name_interval``.
        words: what it is called.
        of: the inputs that it is a share of.
        meaning: in a sentence, in which ``{again}`` stands for how inputs are judged again.
    """

    name: str
    words: str
    of: str
    meaning: str


_ALL, _CORRECT = "all inputs", "originally correct inputs"

RATES: dict[str, RateKind] = {
    rate.name: rate
    for rate in (
        RateKind(
            "clean_accuracy",
            "clean accuracy",
            _ALL,
            "Share of all inputs that the victim classifies correctly before the attack.",
        ),
        RateKind(
            "attack_success_rate",
            "attack success rate",
            _CORRECT,
            "Share of the originally correct inputs that fool the victim in one draw; the wanted class must be the "
            "unique maximum of the output (the paper’s rule).",
        ),
        RateKind(
            "verified_success_rate",
            "verified success rate",
            _CORRECT,
            "The same share judged again on the untouched victim: {again}.",
        ),
        RateKind(
            "robust_accuracy",
            "robust accuracy",
            _ALL,
            "Share of all inputs that the victim still classifies correctly after the attack, judged again too; where "
            "classes tie then, it is neither correct nor fooled.",
        ),
        RateKind(
            "tie_rate",
            "ties",
            _CORRECT,
            "Share of the attacked inputs whose highest output, in one draw, is shared by several classes: none "
            "of them wins, and it is no success.",
        ),
        RateKind(
            "vanished_first_step_rate",
            "vanished first steps",
            _CORRECT,
            "Share of the inputs whose gradient was exactly zero everywhere in the attack’s first step.",
        ),
    )
}
"""By name, in the order in which they are shown."""
