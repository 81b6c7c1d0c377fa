"""What every wrapped model must hold, in the real frameworks; those that are not installed are skipped."""

import pytest
import torch
from asking import ask
from asking import gradient as estimated
from equations import CLASSES
from model_styles import STYLES, named
from torch import nn

from spikeflip import Rectangular, wrap
from spikeflip.snn.surrogate import Sigmoid

ROWS = torch.arange(4)


@pytest.fixture(params=[named(style) for style in STYLES])
def style(request):
    return request.param


def wrapped(style, model):
    return wrap(model, style.example(), **style.options)


def weights(n, seed=1):
    return torch.randn(n, CLASSES, generator=torch.Generator().manual_seed(seed))


def gradient(victim, inputs, rows=ROWS, **options):
    """The gradient of a weighted sum of scores, and the scores of that pass."""
    seen = []

    def score_gradient(scores, which):
        seen.append(scores)
        return weights(len(inputs))[which].to(scores)

    found = victim.probe(inputs).input_gradient(score_gradient, ask(rows, **options))
    return found, seen[0]


def loop_gradient(style, model, inputs, **options):
    for module in model.modules():
        module.training = False
    x = inputs.clone().to(next(model.parameters()).dtype).requires_grad_()
    scores, count = style.loop(model).scores(x, **options)
    (found,) = torch.autograd.grad((scores.float() * weights(len(x))).sum(), x)
    return found.float(), scores.detach().float(), count


def assert_close(found, wanted, tolerance):
    """To within a relative ``tolerance``, in the norm and in the largest element."""
    assert wanted.any()
    assert (found - wanted).norm() <= tolerance * wanted.norm()
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_repeats_are_bit_identical(style):
    victim, inputs = wrapped(style, style.model()), style.inputs()
    scores, (found, _) = victim.scores(inputs), gradient(victim, inputs)
    assert scores.shape == (4, CLASSES)
    assert scores.any()
    assert not scores.requires_grad
    victim.scores(style.inputs(7, seed=5))
    victim.probe(style.inputs(2, seed=6))
    gradient(victim, style.inputs(3, seed=7), torch.arange(3), penultimate_threshold=0.7)
    assert torch.equal(victim.scores(inputs), scores)
    assert torch.equal(victim.probe(inputs).scores, scores)
    assert torch.equal(gradient(victim, inputs)[0].values, found.values)


def test_samples_do_not_depend_on_their_companions(style):
    victim, inputs = wrapped(style, style.model()), style.inputs()
    scores, (found, _) = victim.scores(inputs), gradient(victim, inputs)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(victim.scores(inputs[order]), scores[order], atol=1e-6, rtol=1e-5)
    alone = torch.cat([victim.scores(one) for one in inputs.split(1)])
    torch.testing.assert_close(alone, scores, atol=1e-6, rtol=1e-5)
    some, _ = gradient(victim, inputs, torch.tensor([3, 1]))
    assert_close(some.values, found.values[[3, 1]], 1e-5)
    assert torch.equal(some.penultimate_spikes, found.penultimate_spikes[[3, 1]])
    twice, _ = gradient(victim, inputs, torch.tensor([1, 1, 2]))
    assert_close(twice.values, found.values[[1, 1, 2]], 1e-5 if style.tolerance < 1e-3 else style.tolerance)


def test_scores_and_gradients_are_those_of_a_plain_loop(style):
    model, inputs = style.model(), style.inputs()
    found, seen = gradient(wrapped(style, model), inputs)
    wanted, scores, count = loop_gradient(style, model, inputs)
    torch.testing.assert_close(seen, scores, atol=1e-6, rtol=style.tolerance)
    assert_close(found.values, wanted, style.tolerance)
    assert found.values.shape == inputs.shape
    assert found.values.dtype == inputs.dtype
    assert torch.equal(found.penultimate_spikes, count)
    assert not found.loss_zero.any()
    assert not found.output_zero.any()


@pytest.mark.parametrize("how", ["straight-through", "pdsg", "assg"])
def test_estimators_see_one_sample_at_a_time_and_leave_the_model_alone(style, how):
    victim, inputs = wrapped(style, style.model()), style.inputs()
    scores, own = victim.scores(inputs), gradient(victim, inputs)[0].values
    found = estimated(victim, inputs, how).values
    assert_close(
        estimated(victim, inputs, how, rows=torch.tensor([3, 1])).values, found[[3, 1]], max(1e-5, style.tolerance)
    )
    assert torch.equal(estimated(victim, inputs, how).values, found)
    assert torch.equal(victim.scores(inputs), scores)
    assert torch.equal(gradient(victim, inputs)[0].values, own)
    assert not torch.allclose(found, own, rtol=0.1)


def test_another_threshold_moves_the_firing_decision_alone(style):
    model, inputs = style.model(), style.inputs()
    victim = wrapped(style, model)
    own = victim.penultimate_threshold
    for threshold in (own * 0.6, own * 1.5):
        found, seen = gradient(victim, inputs, penultimate_threshold=threshold)
        layer = victim.layers[victim.penultimate_layer].threshold
        delta = threshold - (layer.detach() if isinstance(layer, torch.Tensor) else layer)
        wanted, scores, count = loop_gradient(style, model, inputs, delta=delta)
        torch.testing.assert_close(seen, scores, atol=1e-6, rtol=style.tolerance)
        assert_close(found.values, wanted, style.tolerance)
        assert torch.equal(found.penultimate_spikes, count)
    assert victim.penultimate_threshold == own
    assert not torch.equal(count, loop_gradient(style, model, inputs)[2])


def test_another_surrogate_moves_gradients_alone(style):
    model, inputs = style.model(), style.inputs()
    victim = wrapped(style, model)
    wide = victim.with_surrogate(Rectangular(2.0))
    found, seen = gradient(wide, inputs)
    wanted, _, _ = loop_gradient(style, model, inputs, slope=Rectangular(2.0).derivative)
    assert torch.equal(seen, victim.scores(inputs))
    assert torch.equal(wide.scores(inputs), victim.scores(inputs))
    assert_close(found.values, wanted, style.tolerance)
    assert not torch.equal(found.values, gradient(victim, inputs)[0].values)


def test_an_output_window_replaces_the_last_surrogate(style):
    model, inputs = style.model(), style.inputs()
    victim = wrapped(style, model)
    found, _ = gradient(victim, inputs, output_window=3.0)
    wanted, _, _ = loop_gradient(style, model, inputs, last_slope=Rectangular(3.0).derivative)
    assert_close(found.values, wanted, style.tolerance)


def test_an_output_window_keeps_the_kind_of_a_surrogate_that_was_chosen(style):
    model, inputs = style.model(), style.inputs()
    victim = wrapped(style, model).with_surrogate(Sigmoid(0.8))
    found, _ = gradient(victim, inputs, output_window=3.0)
    slopes = {"slope": Sigmoid(0.8).derivative, "last_slope": Sigmoid(3.0).derivative}
    assert_close(found.values, loop_gradient(style, model, inputs, **slopes)[0], style.tolerance)


def test_vanishing_is_told_by_cause(style):
    victim, inputs = wrapped(style, style.model()), style.inputs()

    def first_two(scores, rows):
        return torch.where(rows[:, None] < 2, torch.ones_like(scores), torch.zeros_like(scores))

    probe = victim.probe(inputs)
    found = probe.input_gradient(first_two, ask(ROWS))
    assert found.loss_zero.tolist() == [False, False, True, True]
    assert found.output_zero.tolist() == [False, False, True, True]
    assert not found.values[2:].any()
    narrow = probe.input_gradient(first_two, ask(ROWS, output_window=1e-6))
    if victim.order.last != victim.order.penultimate and "membrane" not in style.name:
        assert narrow.output_zero.all()
        assert not narrow.values.any()
    assert narrow.loss_zero.tolist() == [False, False, True, True]


def test_two_models_of_one_class_do_not_disturb_each_other(style):
    inputs = style.inputs()
    alone = wrapped(style, style.model(0))
    scores, (found, _) = alone.scores(inputs), gradient(alone, inputs)
    model, other = style.model(0), style.model(1)
    victim, second = wrapped(style, model), wrapped(style, other)
    probe = victim.probe(inputs)
    other_scores = second.scores(inputs)
    gradient(second, inputs, penultimate_threshold=0.9)
    assert torch.equal(victim.scores(inputs), scores)
    assert torch.equal(probe.input_gradient(lambda s, r: weights(4)[r].to(s), ask(ROWS)).values, found.values)
    assert torch.equal(second.scores(inputs), other_scores)
    assert not torch.equal(scores, other_scores)


def everything(model):
    """Every object that a model holds, by identity, and every tensor by value."""
    internal = set(vars(nn.Module())) - {"training"}
    found = {}
    for name, module in model.named_modules():
        places = {"": {k: v for k, v in vars(module).items() if k not in internal}}
        places |= {kind: vars(module)[kind] for kind in ("_parameters", "_buffers", "_modules")}
        for place, values in places.items():
            for key, value in values.items():
                copy = value.detach().clone() if isinstance(value, torch.Tensor) else value
                copy = dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else copy
                asks = value.requires_grad if isinstance(value, torch.Tensor) else None
                found[name, place, key] = (value, copy, asks)
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            found[name, "", hooks] = (None, dict(vars(module)[hooks]), None)
    return found


def assert_unchanged(before, after):
    assert before.keys() == after.keys()
    for key, (value, copy, asks) in before.items():
        now, same, asking = after[key]
        assert now is value or (isinstance(value, bool | int | float | str) and now == value), key
        assert torch.equal(copy, same) if isinstance(copy, torch.Tensor) else copy == same, key
        assert asking == asks, key


def test_the_model_is_given_back_unchanged(style):
    model, inputs = style.model(), style.inputs()
    model.train()
    next(model.parameters()).requires_grad_(False)
    hook = model.register_forward_hook(lambda *_: None)
    if style.options.get("layout") == "steps" and not isinstance(model[0], nn.Sequential):
        model[:2](inputs[:, 0].to(next(model.parameters()).dtype))  # left in the middle of a run of its owner's
    before = everything(model)
    victim = wrapped(style, model)
    assert_unchanged(before, everything(model))
    victim.scores(inputs)
    gradient(victim, inputs)
    gradient(victim, inputs, penultimate_threshold=0.5, output_window=2.0)
    gradient(victim.with_surrogate(Rectangular(1.0)), inputs)
    assert_unchanged(before, everything(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    hook.remove()


def test_state_left_by_its_owner_does_not_matter(style):
    model, inputs = style.model(), style.inputs()
    victim = wrapped(style, model)
    scores = victim.scores(inputs)
    dtype = next(model.parameters()).dtype
    if style.options.get("layout") == "steps":
        model(inputs[:, 0].to(dtype))  # as a training loop leaves it
        assert torch.equal(victim.scores(inputs), scores)
        assert torch.equal(wrapped(style, model).scores(inputs), scores)
