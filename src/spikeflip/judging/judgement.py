"""What an untouched victim says of adversarial inputs, and how large they are.

Nothing is taken over from the attack but the inputs themselves and, for images, the number of updates, which names the
one encoding that decided: every rate is recomputed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spikeflip.attacks.budget import Budget
from spikeflip.attacks.metrics import METRICS, METRICS_VERSION, Change, Recorded
from spikeflip.attacks.result import AttackResult, Vanishing
from spikeflip.errors import SpikeflipError
from spikeflip.intervals import trials, wilson
from spikeflip.judging.notices import Circumstances, notices_of
from spikeflip.notices import Notice, as_json
from spikeflip.rates import RATES
from spikeflip.showing import Shown
from spikeflip.snn.coding import Coding, encode_for, winner
from spikeflip.snn.network import SpikingNetwork
from spikeflip.snn.validation import (
    Kind,
    at_a_time,
    check_counts,
    check_goals,
    check_streams,
    check_tensor,
    check_values,
    kind_of,
)
from spikeflip.streams import Purpose
from spikeflip.victims import Victim
from spikeflip.victims.victim import check_victim, takes_counts

Progress = Callable[[int, int], None]

_UNSEEN = 2**32 - 1
"""A moment of the encodings that no attack comes to."""


@dataclass(frozen=True, repr=False)
class Judgement(Shown):
    """One entry a sample in ``rows``; :meth:`summary` makes the rates of them, and ``notices`` says what they hide."""

    kind: Kind
    draws: int
    """Fresh encodings a sample; 1 for spikes and where the victim's coding is not random."""
    rows: dict[str, Tensor]
    circumstances: Circumstances = field(default_factory=Circumstances)
    """What the rows do not say, for the notices."""
    outputs: Tensor | None = None
    """``(N, 2, T, K)`` uint8: what the output layer fires at each step, for the original and the adversarial input, in
    the encodings that decided; None where the victim does not tell it (:meth:`SpikingNetwork.output_spikes`)."""

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What must be known beside the rates and means, so that none of them misleads."""
        return notices_of(self._figures(), self.rows, self.circumstances)

    def summary(self) -> dict[str, Any]:
        """The rates, each with its own n (``*_n``) and 95 % Wilson interval (``*_interval``), the means, the notices.

        Where several targets share an input, an interval is over the trials that they are worth (``*_trials``).
        ``clean_accuracy``: originals whose label fires alone the most, over all inputs, one encoding each.
        ``attack_success_rate``: the paper's; over originally correct inputs, one encoding decides, a tie is no success.
        ``verified_success_rate``: over originally correct inputs, the mean share of fresh encodings that fool.
        ``robust_accuracy``: over all inputs, the mean share of fresh encodings of the final input that are still
        classified as the label; inputs that were wrong from the start count 0.
        ``tie_rate``: over originally correct inputs, the share of deciding encodings that ended in a tie.
        ``vanished_first_step_rate``: over originally correct inputs, a zero input gradient in the first iteration.
        The means of perturbation, steps and passes are over successes, but for ``vanished_mean`` (all attacked). What
        is counted by the attack is left out where its result was not given.
        ``notices``: :attr:`notices` as plain values.
        """
        return self._figures() | {"notices": as_json(self.notices)}

    def _shown(self) -> tuple[str, dict[str, str], list[str]]:
        found = self._figures()
        rows = {}
        for key, rate in RATES.items():
            if found.get(key) is not None:
                low, high = found[f"{key}_interval"]
                rows[rate.words] = f"{found[key]:.1%}  ({low:.1%} – {high:.1%}, n = {found[f'{key}_n']:,})"
        sizes = {name: found.get(f"{name}_mean") for name in ("mse", "l0")}
        known = [f"{name} {value:.4g}" for name, value in sizes.items() if value is not None]
        if known:
            rows["of a success, on average"] = ", ".join(known)
        return f"Judgement of {found['n']:,} inputs ({self.kind})", rows, [notice.text for notice in self.notices]

    def _figures(self) -> dict[str, Any]:
        rows, n = self.rows, len(self.rows["success"])
        attacked, won = ~rows["already_wrong"], rows["success"]
        every = torch.ones_like(attacked)
        rates = {
            "clean_accuracy": (attacked, every),
            "attack_success_rate": (won, attacked),
            "verified_success_rate": (rows["verified"], attacked),
            "robust_accuracy": (rows["still_right"], every),
            "tie_rate": (rows["prediction"] == -1, attacked),
        }
        counted = "vanished" in rows
        if counted:
            rates["vanished_first_step_rate"] = (rows["vanished_first_step"], attacked)
        result: dict[str, Any] = {"n": n, "kind": self.kind, "draws": self.draws, "metrics_version": METRICS_VERSION}
        for name, (column, among) in rates.items():
            values, groups = column[among].double(), rows.get("input", rows["sample"])[among]
            rate, worth = float(values.mean()) if len(values) else None, trials(values.numpy(), groups.numpy())
            result[name] = rate
            result[f"{name}_n"] = len(values)
            if worth < len(values):
                result[f"{name}_trials"] = round(worth, 1)
            result[f"{name}_interval"] = list(wilson(0.0 if rate is None else rate, worth))
        for name in (
            *(name for name in METRICS if name in rows),
            *(("steps", "forwards", "backwards") if counted else ()),
        ):
            result[f"{name}_mean"] = _mean(rows[name][won])
        if not counted:
            return result
        result["vanished_mean"] = _mean(rows["vanished"][attacked])
        result["vanished_first_step"] = int(rows["vanished_first_step"].sum())
        for cause in (Vanishing.LOSS, Vanishing.OUTPUT, Vanishing.DEEPER):
            result[f"vanished_first_step_{cause.name.lower()}"] = int((rows["first_vanishing"] == cause).sum())
        return result


@torch.inference_mode(False)
def judge(
    victim: Victim,
    inputs: Tensor,
    adversarials: Tensor,
    labels: Tensor,
    targets: Tensor | None = None,
    result: AttackResult | None = None,
    *,
    draws: int = 100,
    seed: int = 0,
    samples: Tensor | None = None,
    index: Tensor | None = None,
    micro_batch: int = 64,
    budget: Budget | None = None,
    recorded: Recorded | None = None,
    progress: Progress | None = None,
) -> Judgement:
    """Judge adversarial inputs on the untouched victim.

    Args:
        victim: the model, as it is.
        inputs: the originals, spikes ``(N, T, *input)`` or images ``(N, *input)``.
        adversarials: of the same shape, as saved.
        labels: true classes ``(N,)`` int64.
        targets: wanted classes ``(N,)`` int64, or None.
        result: of the attack, for its counts; its successes are not believed. Without it, as for what another tool
            made, or for adversarials of another victim's attack, one encoding of each image decides that no attack has
            seen, and nothing is said of steps, passes and vanished gradients.
        draws: fresh encodings of every final image; one is enough, and made, where the victim's coding is not random
            (``"latency"``, ``"direct"``).
        seed: the attack's.
        samples: the attack's sample ids; 0 to N - 1 when not given.
        index: which input each sample is, ``(N,)``, where several targets share one, as of
            :func:`spikeflip.every_target`: intervals then do not count them as independent.
        micro_batch: encodings in memory at a time.
        budget: the attack's, where it had one; no rate depends on it, a notice says if no input came near it.
        recorded: of the recordings that the inputs are frames of, for the metrics that are measured on them.
        progress: called with (judged, all) originally correct samples.

    Raises:
        SpikeflipError: an argument does not fit the inputs or is out of range.
    """
    check_victim(victim)
    check_tensor(inputs)
    check_tensor(adversarials)
    kind = kind_of(inputs, victim.input_shape, victim.coding)
    if adversarials.shape != inputs.shape:
        raise SpikeflipError(f"adversarials have shape {tuple(adversarials.shape)}, the inputs {tuple(inputs.shape)}")
    n = len(inputs)
    for values in (inputs, adversarials):
        check_values(values, kind, counts=takes_counts(victim))
    check_goals(labels, targets, n, victim.classes)
    check_counts(draws=draws, micro_batch=micro_batch)
    steps = torch.ones(n, dtype=torch.int64) if result is None else result.steps
    moments = torch.full_like(steps, _UNSEEN)
    if result is not None:
        moments = steps if result.moments is None else result.moments
    if len(steps) != n:
        raise SpikeflipError(f"result is of {len(steps)} samples, for {n} inputs: give that of their attack")
    draws = fresh_draws(kind, victim.coding, draws)
    micro_batch = at_a_time(victim, inputs, micro_batch)
    samples = torch.arange(n) if samples is None else samples
    check_streams(seed, samples, n)
    shared = shared_inputs(index, n)
    labels = labels.cpu()
    goal = None if targets is None else targets.cpu()

    def answers(values: Tensor, ids: Tensor, step: Tensor) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """The winner of one encoding each, drawn as the attack draws, whether no output neuron fired, and which did."""
        won, silent = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, dtype=torch.bool)]
        outputs: list[Tensor | None] = []
        for rows in torch.arange(len(values)).split(micro_batch):
            spikes = encode_for(
                victim,
                values[rows].to(victim.device),
                seed=seed,
                samples=ids[rows],
                step=step[rows],
            )
            scores, fired = _scores(victim, spikes)
            won.append(winner(scores).cpu())
            silent.append(~scores.any(1).cpu())
            outputs.append(fired)
        return torch.cat(won), torch.cat(silent), outputs

    clean, silent, before = answers(inputs, samples, torch.zeros_like(samples))
    right = clean == labels
    decided, _, after = answers(adversarials, samples, moments)
    final = torch.where(right, decided, clean)
    fooled, still_right = torch.zeros(n).double(), torch.zeros(n).double()
    attacked = right.nonzero().squeeze(1).tolist()
    for position, i in enumerate(attacked):
        if kind == "images" and victim.coding == "rate":
            outcomes = answers_to(victim, adversarials[i], int(samples[i]), torch.arange(draws), seed, micro_batch)
        else:
            outcomes = final[i : i + 1]
        wanted = None if goal is None else goal[i]
        fooled[i] = _reached(outcomes, labels[i], wanted).double().mean()
        still_right[i] = (outcomes == labels[i]).double().mean()
        if progress is not None:
            progress(position + 1, len(attacked))
    rows = {
        **shared,
        "sample": samples,
        "label": labels,
        "target": torch.full_like(labels, -1) if goal is None else goal,
        "prediction": final,
        "already_wrong": ~right,
        "silent": silent,
        "success": right & (steps > 0) & _reached(final, labels, goal),
        "verified": fooled,
        "still_right": still_right,
        **({} if result is None else _counts(result)),
        **sizes(inputs.detach(), adversarials.detach(), recorded, budget=budget, micro_batch=micro_batch),
    }
    said = (*getattr(victim, "notices", ()), *(() if result is None else result.notices))
    known = Circumstances(classes=victim.classes, budget=budget, attack=said)
    return Judgement(kind, draws, rows, known, _side_by_side(before, after))


def shared_inputs(index: Tensor | None, n: int) -> dict[str, Tensor]:
    """Which input each of n samples is, as a column of the rows, where it is said."""
    if index is None:
        return {}
    if index.shape != (n,):
        raise SpikeflipError(f"index has shape {tuple(index.shape)}, for {n} inputs: give what every_target returned")
    return {"input": index.cpu()}


def judged_together(micro_batch: int) -> int:
    """How many encodings are judged at a time beside an attack of ``micro_batch`` samples: they keep no gradient."""
    return min(64, 4 * micro_batch)


def _scores(victim: Victim, spikes: Tensor) -> tuple[Tensor, Tensor | None]:
    """A victim's scores, and what its output layer fires ``(N, T, K)`` where it tells that."""
    # A subclass may have scores of its own, which alone decide.
    if not isinstance(victim, SpikingNetwork) or type(victim).scores is not SpikingNetwork.scores:
        return victim.scores(spikes), None
    fired = victim.output_spikes(spikes)
    return fired.mean(1), fired.to("cpu", torch.uint8)


def _side_by_side(before: list[Tensor | None], after: list[Tensor | None]) -> Tensor | None:
    """Outputs for originals and for adversarials as ``(N, 2, T, K)``; None where any is not told, or there is none."""
    told = [[part for part in parts if part is not None] for parts in (before, after)]
    if not before or len(told[0]) < len(before) or len(told[1]) < len(after):
        return None
    return torch.stack([torch.cat(parts) for parts in told], dim=1)


def _counts(result: AttackResult) -> dict[str, Tensor]:
    """What the attack alone can know."""
    return {
        "steps": result.steps,
        "forwards": result.forwards,
        "backwards": result.backwards,
        "over_budget": result.over_budget,
        "vanished": result.vanished,
        "vanished_first_step": result.first_vanishing > Vanishing.NONE,
        "first_vanishing": result.first_vanishing,
    }


def sizes(
    inputs: Tensor,
    adversarials: Tensor,
    recorded: Recorded | None,
    *,
    budget: Budget | None = None,
    micro_batch: int = 64,
) -> dict[str, Tensor]:
    """The perturbation of every sample, ``(N,)`` each, in the metrics that all inputs have.

    Args:
        inputs: ``(N, ...)``.
        adversarials: of the same shape.
        recorded: of the recordings that they are frames of; then in all metrics.
        budget: in its metric too.
        micro_batch: samples in memory at a time.
    """
    wanted = {None if budget is None else budget.metric}
    metrics = [one for one in METRICS.values() if one.on == "all" or recorded is not None or one.name in wanted]
    parts: dict[str, list[Tensor]] = {one.name: [] for one in metrics}
    for rows in torch.arange(len(inputs)).split(micro_batch):
        before, after = inputs[rows].double().cpu(), adversarials[rows].double().cpu()
        change = Change(before, after, None if recorded is None else recorded.rows(rows))
        for one in metrics:
            parts[one.name].append(one(change))
    return {name: torch.cat(values) for name, values in parts.items()}


def fresh_draws(kind: Kind, coding: Coding, draws: int) -> int:
    """How many encodings verify an input, when ``draws`` are asked for: one where all are the same."""
    return draws if kind == "images" and coding == "rate" else 1


def answers_to(
    victim: Victim,
    image: Tensor,
    sample: int,
    numbers: Tensor,
    seed: int,
    micro_batch: int,
    purpose: Purpose = "judge",
) -> Tensor:
    """The winners of fresh encodings of one image, of these numbers ``(n,)``: ``(n,)``, -1 for a tie."""
    parts = []
    for steps in numbers.split(micro_batch):
        images = image.to(victim.device).expand(len(steps), *image.shape)
        spikes = encode_for(
            victim,
            images,
            seed=seed,
            samples=torch.full((len(steps),), sample),
            purpose=purpose,
            step=steps,
        )
        parts.append(winner(victim.scores(spikes)).cpu())
    return torch.cat(parts)


def _reached(winners: Tensor, label: Tensor, target: Tensor | None) -> Tensor:
    return (winners >= 0) & (winners != label) if target is None else winners == target


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
