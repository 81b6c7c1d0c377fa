"""Making a victim of a model of any framework: look at it, run it on an example, and refuse what cannot be attacked."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikeflip.errors import SpikeflipError
from spikeflip.snn.surrogate import Surrogate
from spikeflip.snn.validation import check_counts, check_values
from spikeflip.victims.discovery import learn_order, learn_state
from spikeflip.victims.examining import checks, gradients
from spikeflip.victims.examining.inspection import check_model
from spikeflip.victims.examining.one_step import FINDING, FIX, ONE_STEP, runs_one_step
from spikeflip.victims.examining.suggestions import passing, suggestion, why_it_failed, with_suggestion
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
from spikeflip.victims.spike_functions import Neurons, find, table, with_a_threshold
from spikeflip.victims.wrapped import Calling, WrappedModel


@torch.inference_mode(False)
def wrap(
    model: nn.Module,
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
) -> WrappedModel:
    """A model of SpikingJelly, snnTorch, Norse, sinabs or plain PyTorch as a victim; no framework is imported.

    The model is run on the example a few times: to learn where it keeps state, in which order its layers run, and
    whether it can be attacked. It is left as it was found, then and after every call.

    Args:
        model: a ``torch.nn.Module``; it runs in evaluation mode, whatever its mode is.
        example: spikes ``(N, T, *input)`` of exactly 0 and 1, better several and such that the model fires; images
            ``(N, *input)`` in [0, 1] for the layout ``"static"``. Counts of events, whole numbers of which one is above
            1, make a victim that takes counts.
        layout: what the model takes: ``"TB"``, ``(T, N, *input)``; ``"BT"``; ``"steps"``, called once a step;
            ``"steps+state"``, and with the state of the step before, None at first; ``"flat-BT"``,
            ``(N * T, *input)``; ``"static"``, an image; ``"T-last"``, ``(N, *input, T)``; or a function of the model
            and spikes that returns its output, ``(T, N, K)`` or ``(N, K)``.
        output: the part of a returned tuple or dictionary that holds the output: its place or key, or a function.
        readout: from the output's steps to scores: ``"mean"`` of spikes or potentials, ``"last"``, ``"max"`` or
            ``"sum"``; ``"none"`` for an output that is ``(N, K)`` already, which ``"mean"`` takes too; or a function
            from ``(T, N, K)`` to ``(N, K)``.
        time_steps: T, for the layout ``"static"``: how often the model is called with an image, keeping its state from
            call to call, as a model is trained whose loop over time is outside (direct coding). Called once if not
            given, which is right where time is inside the model, and noted where it seems to be outside.
        neurons: spiking layers of kinds that are not known: ``{class: ("threshold", "spike_function")}``, the
            attributes that hold the threshold and a function of ``potential - threshold``; ``{}`` to attack a model in
            which none can be found.
        penultimate: name of the penultimate spiking layer; the last that runs before the last weights if not given.
        surrogate: the derivative to use in all spiking layers; the model's own if not given.
        reset: called with the model if it is wrapped after use and its layers cannot reset themselves.

    Returns:
        A :class:`spikeflip.victims.Victim`.

    Raises:
        SpikeflipError: the model cannot be attacked as it is; the message says what to pass instead.

    >>> class Neuron(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.thresh, self.mem = 1.0, 0.0
    ...
    ...     def act(self, u):  # a step with the slope of a sigmoid
    ...         return torch.sigmoid(u) + ((u >= 0).float() - torch.sigmoid(u)).detach()
    ...
    ...     def forward(self, current):
    ...         self.mem = 0.5 * self.mem + current
    ...         spikes = self.act(self.mem - self.thresh)
    ...         self.mem = self.mem - spikes * self.thresh
    ...         return spikes
    >>> model = nn.Sequential(nn.Linear(20, 8), Neuron(), nn.Linear(8, 3), Neuron())
    >>> victim = wrap(model, (torch.rand(4, 6, 20) < 0.5).float(), layout="steps")
    >>> victim.penultimate_layer, victim.penultimate_threshold
    ('1', 1.0)
    """
    check_choice(layout, readout)
    check_model(model, layout)
    inputs = example_inputs(example, layout, time_steps)
    layers = find(model, table(neurons))
    if not layers and neurons is None:
        like = ", ".join(with_a_threshold(model)[:3])
        but = f"; what has a threshold, {like}, has no spike function of a known name" if like else ""
        raise SpikeflipError(
            f"no spiking layer was found in the model{but}: pass neurons={{YourNeuron: ('threshold', "
            "'spike_function')} with the names of its attributes, or neurons={} to attack it without thresholds and "
            "surrogates"
        )
    calling = Calling(layout, output, readout)
    shape = tuple(inputs.shape[2:])
    victim = WrappedModel(model, calling, layers, input_shape=shape, time_steps=inputs.shape[1])
    victim.counts = bool((inputs > 1).any())
    with torch.random.fork_rng(devices=[victim.device] if victim.device.type == "cuda" else []):
        inputs = three_samples(inputs).to(victim.device)
        try:
            learn_state(victim, inputs, reset)
            gradients.check_backward(victim, inputs)
            verdicts = checks.all_of(victim, inputs)
        except UnreadableError as error:
            raise SpikeflipError(with_suggestion(victim, inputs, error)) from error
        except SpikeflipError:
            raise
        except Exception as error:
            raise SpikeflipError(why_it_failed(victim, example, inputs, error)) from error
        _refuse(victim, inputs, verdicts[-1])
        victim._classes = victim.scores(inputs).shape[1]
        learn_order(victim, inputs, penultimate)
        if surrogate is not None:
            victim = victim.with_surrogate(surrogate)
        gradients.check(victim, inputs)
        for check in (checks.gradient_twice, checks.gradient_alone):
            if not (verdict := check(victim, inputs)):
                raise SpikeflipError(str(verdict))
        if layout == "static" and time_steps is None and runs_one_step(victim, inputs):
            victim.note(ONE_STEP, f"{FINDING}: {FIX}")
    return victim


def example_inputs(example: Tensor, layout: Layout | LayoutFunction, time_steps: int | None = None) -> Tensor:
    """The example as spikes ``(N, T, *input)``, an image one or ``time_steps`` times; a SpikeflipError for others."""
    static = layout == "static"
    if time_steps is not None and not static:
        raise SpikeflipError(
            f"time_steps is {time_steps}, but with layout {layout_name(layout)} the example says how many there are: "
            "leave it out, or give images and layout='static'"
        )
    if time_steps is not None:
        check_counts(time_steps=time_steps)
    kind, axes = ("images", "(N, *input)") if static else ("spikes", "(N, T, *input)")
    if not isinstance(example, Tensor) or example.ndim < (2 if static else 3) or example.numel() == 0:
        found = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise SpikeflipError(f"the example is {found}: give {kind} {axes}, the batch axis first for every layout")
    check_values(example, "images" if static else "spikes", counts=True)
    example = example if example.is_floating_point() else example.float()
    return example.unsqueeze(1).repeat_interleave(time_steps or 1, 1) if static else example


def three_samples(inputs: Tensor) -> Tensor:
    """Three samples: the first of the example, or reversed ones where it has fewer."""
    inputs = inputs[:3]
    more = torch.cat([inputs, inputs.flip(1) if inputs.shape[1] > 1 else inputs.flip(-1), inputs.flip(1, -1)])
    return more[:3].detach()


def _refuse(victim: WrappedModel, inputs: Tensor, failed: checks.Verdict) -> None:
    """Raise a SpikeflipError for a verdict that is none of a victim, with the layout that would pass."""
    if failed:
        return
    if failed.check == "same call twice" and (where := gradients.random_layer(victim, inputs)):
        raise SpikeflipError(f"two calls of the model differ, as {failed.finding} in {where}: {failed.fix}")
    others = passing(victim, inputs, images=failed.check != "time matters")
    if failed.check == "time matters" and not others:
        victim.note("time-order", f"{failed.finding}; is that right for this model?")
        return
    layout = layout_name(victim.calling.layout)
    raise SpikeflipError(f"with layout {layout}, {failed.finding}: {suggestion(others) or failed.fix}")
