"""Whether a model can be attacked: every check with its verdict, the likely cause and the fix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.snn.coding import encode_for
from spikeflip.snn.surrogate import Surrogate
from spikeflip.snn.validation import check_values, kind_of
from spikeflip.victims.discovery import learn_order, learn_state
from spikeflip.victims.examining import checks, gradients, symptoms
from spikeflip.victims.examining.checks import Probed, Verdict, raised
from spikeflip.victims.examining.imprint import Imprint
from spikeflip.victims.examining.inspection import check_model
from spikeflip.victims.examining.suggestions import passing, suggestion, why_it_failed, with_suggestion
from spikeflip.victims.examining.vanishing import Remark, failed, gradient
from spikeflip.victims.layouts import (
    Layout,
    LayoutFunction,
    Output,
    Readout,
    ReadoutFunction,
    UnreadableError,
    check_choice,
    layout_name,
)
from spikeflip.victims.modules import named_parameters
from spikeflip.victims.spike_functions import Neurons, check_surrogate, find, table
from spikeflip.victims.victim import Victim, is_victim, takes_counts
from spikeflip.victims.wrap import example_inputs, three_samples, wrap
from spikeflip.victims.wrapped import Calling, WrappedModel

CHECKS = (
    "model",
    "output",
    "same call twice",
    "batch independence",
    "order of samples",
    "time matters",
    "gradient",
    "tied outputs",
    "threshold and surrogate",
    "penultimate layer",
    "restored",
)
"""The names of all checks, in their order."""

_MOST_SAMPLES = 16


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`doctor` found; as text, a line a check.

    ``verdicts``, in the order of the checks, have ``check``, ``passed``, ``finding`` and ``fix``. One that did not pass
    keeps attacks away, unless its ``state`` is a remark.
    """

    verdicts: tuple[Verdict, ...]

    @property
    def attackable(self) -> bool:
        """Whether the model can be attacked, with the options that remarks name."""
        return all(map(_allows, self.verdicts))

    @property
    def not_run(self) -> tuple[str, ...]:
        """Checks that make no sense before another one passes."""
        run = {verdict.check for verdict in self.verdicts}
        return tuple(check for check in CHECKS if check not in run)

    def state(self, verdict: Verdict) -> str:
        """Whether a verdict is ``"passed"``, ``"remark"`` or ``"failed"``."""
        return "passed" if verdict else "remark" if _allows(verdict) else "failed"

    def summary(self) -> dict[str, Any]:
        """All of it as plain data."""
        verdicts = [
            {"check": v.check, "state": self.state(v), "finding": v.finding, "fix": v.fix or None}
            for v in self.verdicts
        ]
        return {"attackable": self.attackable, "verdicts": verdicts, "not_run": list(self.not_run)}

    def __str__(self) -> str:
        return "\n".join(f"{self.state(v):<6}  {v.check}: {v}" for v in self.verdicts)


@torch.inference_mode(False)
def doctor(
    victim: Victim | nn.Module,
    example: Tensor,
    *,
    layout: Layout | LayoutFunction = "TB",
    output: Output = None,
    readout: Readout | ReadoutFunction = "mean",
    time_steps: int | None = None,
    neurons: Neurons | None = None,
    penultimate: str | None = None,
    surrogate: Surrogate | None = None,
    reset: Callable[[nn.Module], object] | None = None,
) -> Diagnosis:
    """Check whether a model can be attacked, and say for each check the likely cause and the fix.

    Where :func:`spikeflip.wrap` stops at the first thing that is wrong, this goes on as far as it can. The model is
    given back as it was found.

    Args:
        victim: a victim, or a model as ``wrap`` takes it.
        example: spikes ``(N, T, *input)``, or images ``(N, *input)``; better several and such that the model fires. At
            most 16 are used.
        layout, output, readout, time_steps, neurons, penultimate, surrogate, reset: for a model, as for ``wrap``.

    Returns:
        The verdicts, and whether the model can be attacked.

    Raises:
        SpikeflipError: the question is at fault and not the model: no such layout, an example that is none, or options
            for what is a victim already.

    >>> network = __import__("spikeflip").SpikingNetwork("8FC-3FC", (20,), time_steps=6)
    >>> found = doctor(network, (torch.rand(4, 6, 20, generator=torch.Generator().manual_seed(0)) < 0.5).float())
    >>> found.attackable
    True
    """
    options = {
        "layout": layout,
        "output": output,
        "readout": readout,
        "time_steps": time_steps,
        "neurons": neurons,
        "penultimate": penultimate,
        "surrogate": surrogate,
        "reset": reset,
    }
    chart = _Chart()
    ready = is_victim(victim)
    if ready:
        _refuse_options(victim, options)
        inputs = _coded(victim, example)
        chart.add(Verdict("model", True, f"it is a victim, a {type(victim).__name__}"))
    else:
        check_choice(layout, readout)
        check_surrogate(surrogate)
        inputs = example_inputs(example, layout, time_steps)
        if not chart.run("model", lambda: _acceptable(victim, layout)):
            return chart.diagnosis()
    model: Any = victim.model if isinstance(victim, WrappedModel) else victim
    strict = not ready or isinstance(victim, WrappedModel)
    before = Imprint.of(model, attributes=strict) if isinstance(model, nn.Module) else None
    with torch.random.fork_rng(devices=_graphics(model)):
        subject = victim if ready else _admit(chart, model, example, inputs, options)
        if subject is not None:
            _examine(chart, subject, inputs)
    if before is not None:
        chart.add(_restored(before.differences(Imprint.of(model, attributes=strict))))
    return chart.diagnosis()


class _Chart:
    """Verdicts as they come in."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.refusal = ""

    def add(self, verdict: Verdict) -> bool:
        """Note a verdict, unless there is one on that check; whether it keeps attacks away."""
        return _allows(self.verdicts.setdefault(verdict.check, verdict))

    def run(self, check: str, examine: Callable[[], Verdict]) -> bool:
        """Note the verdict of a check, in which a model may also raise what it likes."""
        try:
            verdict = examine()
        except SpikeflipError as error:
            verdict = failed(check, str(error))
        except Exception as error:
            verdict = Verdict(
                check, False, f"the model fails here ({raised(error)})", "mend its forward, or its backward"
            )
        return self.add(Verdict(check, True, verdict.finding) if verdict else verdict)

    def diagnosis(self) -> Diagnosis:
        """All verdicts, and that of ``wrap`` where it refuses what passed here."""
        if self.refusal and all(map(_allows, self.verdicts.values())):
            self.verdicts["model"] = failed("model", self.refusal)
        return Diagnosis(tuple(self.verdicts[check] for check in CHECKS if check in self.verdicts))


def _allows(verdict: Verdict) -> bool:
    return verdict.passed or isinstance(verdict, Remark)


def _graphics(model: Any) -> list[torch.device]:
    """The GPU on which a model draws random numbers, if it is on one."""
    first = next((p for _, p in named_parameters(model)), None) if isinstance(model, nn.Module) else None
    return [first.device] if first is not None and first.device.type == "cuda" else []


def _refuse_options(victim: object, options: Mapping[str, object]) -> None:
    """Raise a SpikeflipError for an option that only a model has."""
    usual = {"layout": "TB", "readout": "mean"}
    for name, value in options.items():
        if value != usual.get(name):
            raise SpikeflipError(
                f"{name} is for a model, but this is a victim already, a {type(victim).__name__}: leave it out"
            )


def _coded(victim: Any, example: Tensor) -> Tensor:
    """What a victim sees of an example, of as much of it as is used."""
    if not isinstance(example, Tensor) or example.numel() == 0 or example.ndim == 0:
        raise SpikeflipError("the example holds no inputs: give spikes (N, T, *input) or images (N, *input)")
    example = example[:_MOST_SAMPLES]
    check_values(example, kind_of(example, victim.input_shape, victim.coding), counts=takes_counts(victim))
    ids = torch.arange(len(example))
    return encode_for(victim, example, seed=0, samples=ids)


def _acceptable(model: object, layout: Layout | LayoutFunction) -> Verdict:
    module = check_model(model, layout)
    return Verdict("model", True, f"{type(module).__name__} runs with layout {layout_name(layout)}")


def _admit(
    chart: _Chart, model: nn.Module, example: Tensor, inputs: Tensor, options: dict[str, Any]
) -> WrappedModel | None:
    """The model as a victim; if ``wrap`` refuses it, all the same as far as it runs, to find out which checks fail."""
    layers = find(model, table(options["neurons"]))
    penultimate = options["penultimate"]
    if penultimate is not None and penultimate not in layers:
        names = ", ".join(map(repr, layers)) or "none"
        raise SpikeflipError(f"penultimate is {penultimate!r}: choose one of the spiking layers, {names}")
    try:
        return wrap(model, example, **options)
    except SpikeflipError as error:
        chart.refusal = str(error)
    except Exception as error:  # in a backward pass, say
        chart.refusal = f"the model fails ({raised(error)}): mend its forward, or its backward"
    if not layers and options["neurons"] is None:
        chart.add(failed("threshold and surrogate", chart.refusal))
    calling = Calling(options["layout"], options["output"], options["readout"])
    subject = WrappedModel(model, calling, layers, input_shape=tuple(inputs.shape[2:]), time_steps=inputs.shape[1])
    few = three_samples(inputs).to(subject.device)
    if not _runs(chart, subject, example, few, options["reset"]):
        return None
    try:
        gradients.check_backward(subject, few)
    except SpikeflipError as error:
        chart.add(failed("gradient", str(error)))
        return None
    try:
        learn_order(subject, few, penultimate)
    except SpikeflipError as error:
        chart.add(failed("penultimate layer", str(error)))
    try:
        return subject if options["surrogate"] is None else subject.with_surrogate(options["surrogate"])
    except SpikeflipError as error:
        chart.add(failed("threshold and surrogate", str(error)))
    return subject


def _runs(
    chart: _Chart,
    subject: WrappedModel,
    example: Tensor,
    few: Tensor,
    reset: Callable[[nn.Module], object] | None,
) -> bool:
    """Whether the model runs on the example; a verdict says why not."""
    try:
        learn_state(subject, few, reset)
    except UnreadableError as error:
        chart.add(failed("output", with_suggestion(subject, few, error)))
    except SpikeflipError as error:
        chart.add(failed("same call twice" if subject.state.slots else "output", str(error)))
    except Exception as error:
        chart.verdicts["model"] = failed("model", why_it_failed(subject, example, few, error))
    else:
        return True
    return False


def _examine(chart: _Chart, subject: Any, inputs: Tensor) -> None:
    """Run the checks in turn; those that would only repeat what failed before are left out."""
    few = three_samples(inputs).to(subject.device)
    every = inputs[:_MOST_SAMPLES].to(subject.device)

    def located(examine: Callable[[Probed, Tensor], Verdict]) -> Callable[[], Verdict]:
        return lambda: _with_layout(examine(subject, few), subject, few)

    if not chart.run("output", located(symptoms.output)):
        return
    if chart.run("same call twice", lambda: _same_call_twice(subject, few)):
        together = located(symptoms.batch_independence)
        mixed = not chart.run("batch independence", lambda: together() and checks.gradient_alone(subject, few))
        mixed = mixed or not chart.run("order of samples", located(symptoms.order_of_samples))
        if not mixed:
            chart.run("time matters", located(symptoms.time_matters))
        chart.run("gradient", lambda: gradient(subject, few, every))
        chart.run("tied outputs", lambda: symptoms.tied_outputs(subject, every))
    known = not isinstance(subject, WrappedModel) or bool(subject.order.spiking)
    if known or not subject.layers:
        chart.run("threshold and surrogate", lambda: symptoms.threshold_and_surrogate(subject, few))
    if known:
        chart.run("penultimate layer", lambda: symptoms.penultimate_layer(subject))


def _same_call_twice(subject: Probed, few: Tensor) -> Verdict:
    verdict = checks.same_call_twice(subject, few)
    if not verdict and isinstance(subject, WrappedModel) and (where := gradients.random_layer(subject, few)):
        return Verdict(verdict.check, False, f"{verdict.finding} in {where}", verdict.fix)
    return verdict and checks.gradient_twice(subject, few)


def _with_layout(verdict: Verdict, subject: Probed, few: Tensor) -> Verdict:
    """A failed verdict with the layouts that would pass, if there are such."""
    if verdict or not isinstance(subject, WrappedModel):
        return verdict
    others = passing(subject, few, images=verdict.check != "time matters")
    kind = Verdict if others else type(verdict)
    return kind(
        verdict.check,
        False,
        f"with layout {layout_name(subject.calling.layout)}, {verdict.finding}",
        suggestion(others) or verdict.fix,
    )


def _restored(different: list[str]) -> Verdict:
    if not different:
        return Verdict("restored", True, "mode, state, thresholds, parameters and hooks are as they were")
    most = 3
    more = f" and {len(different) - most} more" if len(different) > most else ""
    return Verdict(
        "restored",
        False,
        f"a run of the model changes {', '.join(different[:most])}{more}",
        "do that when the model is built, and not in its forward",
    )
