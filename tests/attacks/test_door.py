"""What an attack and the judge are handed by mistake: one sentence each; and calls that only look like mistakes."""

import numpy as np
import pytest
import torch
from faulty_models import X, model
from few_steps import few_steps
from torch import nn

from spikeflip import SCG, Budget, SpikeflipError, SpikingNetwork, judge, scg, wrap
from spikeflip.attacks import ATTACKS, bim, fgsm, greedy_flips, noise, sigma_zero
from spikeflip.attacks.result import AttackResult
from spikeflip.interop import ArtAttack, FoolboxAttack, adv_lib_attack, as_module
from spikeflip.snn.coding import latency


@pytest.fixture
def network():
    return SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1)


def judged(victim, inputs, labels):
    return judge(victim, inputs, inputs, labels, None, AttackResult.blank(torch.zeros(4, 1), None))


CALLS = [scg, noise, judged]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda net: nn.Linear(20, 5),
            r"the victim is a Linear, which cannot be attacked: wrap it with spikeflip.wrap\(model",
        ),
        (nn.DataParallel, r"the victim is a DataParallel, which spreads over devices: .*wrap\(model.module, example\)"),
        (as_module, "the victim is a VictimModule: give the victim that is inside it"),
        (lambda net: type(net), "the victim is a type, which cannot be attacked: give what spikeflip.load_victim"),
        (lambda net: None, "the victim is a NoneType, which cannot be attacked: give what spikeflip.load_victim"),
    ],
)
def test_what_is_no_victim(call, made, words, network):
    with pytest.raises(SpikeflipError, match=words):
        call(made(network), X, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], (0, 1, 2, 3), 1])
def test_labels_that_are_no_tensor(call, labels, network):
    with pytest.raises(SpikeflipError, match=rf"labels are a {type(labels).__name__}: give a tensor \(N,\)"):
        call(network, X, labels)


@pytest.mark.parametrize("call", [scg, noise])
def test_targets_that_are_no_tensor(call, network):
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(SpikeflipError, match="targets are a int: give a tensor"):
        call(network, X, labels, 2)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("inputs", [X.numpy(), X.tolist()])
def test_inputs_that_are_no_tensor(call, inputs, network):
    with pytest.raises(SpikeflipError, match=f"inputs are a {type(inputs).__name__}: give a tensor"):
        call(network, inputs, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(call, value, network):
    thing = model()
    foreign = wrap(thing, X)
    for victim, weight, name in ((network, network.weights[1], "weights.1"), (foreign, thing[2].weight, "2.weight")):
        with torch.no_grad():
            weight.view(-1)[3] = value
        with pytest.raises(SpikeflipError, match=f"the victim's parameter '{name}' holds the value {value}: load"):
            call(victim, X, torch.zeros(4, dtype=torch.int64))


def test_wrapping_weights_that_are_no_numbers():
    thing = model()
    nn.init.constant_(thing[0].weight, float("nan"))
    with pytest.raises(SpikeflipError, match=r"the victim's parameter '0\.weight' holds the value nan: load weights"):
        wrap(thing, X)


def pictures():
    """A victim of images that answers alike whenever it is asked, with images and what it takes them for."""
    victim = SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1, coding="latency")
    images = torch.rand(8, 20, generator=torch.Generator().manual_seed(0))
    return victim, images, victim.scores(latency(images, 6)).argmax(1)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_inside_inference_mode_are_those_outside(name, network):
    victim, inputs, labels = network, X, network.scores(X).argmax(1)
    if "images" in ATTACKS[name].inputs:
        victim, inputs, labels = pictures()
    attack = ATTACKS[name].settings(**few_steps(name, 3, tuple(X.shape[1:])))
    outside = attack(victim, inputs, labels)
    assert (~outside.already_wrong).any()
    with torch.inference_mode():
        inside = attack(victim, inputs.clone(), labels.clone())
        rows = judge(victim, inputs.clone(), inside.adversarials, labels, None, inside, draws=2).rows
    assert torch.equal(inside.adversarials, outside.adversarials)
    assert torch.equal(inside.success, outside.success)
    assert torch.equal(rows["already_wrong"], outside.already_wrong)


def test_wrapped_models_inside_inference_mode():
    thing = model()
    labels = wrap(thing, X).scores(X).argmax(1)
    outside = scg(wrap(thing, X), X, labels)
    assert outside.steps.any()
    with torch.inference_mode():
        inside = scg(wrap(thing, X.clone()), X.clone(), labels.clone())
    assert torch.equal(inside.adversarials, outside.adversarials)
    with torch.inference_mode():
        made_inside = model()
    with pytest.raises(SpikeflipError, match=r"parameter '0\.weight' was made inside torch\.inference_mode"):
        wrap(made_inside, X)


@pytest.mark.parametrize("metric", ["linf", "mse", "l2"])
def test_a_budget_of_zero_is_the_clean_row(metric):
    victim, images, labels = pictures()
    assert torch.equal(bim(victim, images, labels, budget=Budget(0, metric)).adversarials, images)
    raw, clipped, _ = FoolboxAttack("fgsm", metric=metric)(victim, images, labels, epsilons=[0.0, 5.0])
    assert torch.equal(raw[0], images)
    assert torch.equal(clipped[0], images)
    assert not torch.equal(raw[1], images)
    assert torch.equal(adv_lib_attack("fgsm", metric=metric)(victim, images, labels, eps=0.0), images)
    art = ArtAttack(victim, "bim", budget=Budget(0.0, metric))
    assert (art.generate(images.numpy()) == images.numpy()).all()


def test_a_budget_of_zero_on_spikes(network):
    labels = network.scores(X).argmax(1)
    result = scg(network, X, labels, budget=0.0)
    assert torch.equal(result.adversarials, X)
    assert not result.success.any()
    assert result.over_budget[~result.already_wrong].all()
    codes = [notice.code for notice in judge(network, X, result.adversarials, labels, None, result).notices]
    assert "nothing-moved" in codes
    assert "budget-not-reached" not in codes


# Where there is no threshold to tune.


class Functional(nn.Module):
    """Its neurons are functions in its forward."""

    def __init__(self):
        super().__init__()
        body = model()
        self.one, self.two = body[0], body[2]
        self.hidden = [body[1].forward, body[3].forward]

    def forward(self, x):
        return self.hidden[1](self.two(self.hidden[0](self.one(x))))


VICTIMS = {
    "one layer": lambda: wrap(nn.Sequential(*list(model())[::3]), X),
    "neurons that are functions": lambda: wrap(Functional(), X, neurons={}),
    "one layer of ours": lambda: SpikingNetwork("5FC", (20,), time_steps=6, seed=1),
}


@pytest.mark.parametrize("made", VICTIMS.values(), ids=VICTIMS)
def test_the_default_threshold_is_the_victims_own_where_none_can_be_tuned_and_that_is_said(made):
    victim, spikes = made(), X
    labels = victim.scores(spikes).argmax(1)
    result = scg(victim, spikes, labels)
    own = scg(victim, spikes, labels, threshold=None)
    assert result.backwards.any()
    assert torch.equal(result.adversarials, own.adversarials)
    assert [notice.code for notice in result.notices] == ["own-threshold"]
    assert own.notices == ()
    said = judge(victim, spikes, result.adversarials, labels, None, result).summary()["notices"]
    assert said[0]["code"] == "own-threshold"
    with pytest.raises(SpikeflipError, match=r"penultimate threshold is 1\.0, but"):
        scg(victim, spikes, labels, threshold=1.0)


def test_the_default_threshold_is_one_where_it_can_be_tuned(network):
    spikes = X
    labels = network.scores(spikes).argmax(1)
    default, one = scg(network, spikes, labels), scg(network, spikes, labels, threshold=1.0)
    assert torch.equal(default.adversarials, one.adversarials)
    assert not torch.equal(default.adversarials, scg(network, spikes, labels, threshold=None).adversarials)
    assert default.notices == one.notices == ()


@pytest.mark.parametrize("threshold", ["own", 0.0, float("nan")])
def test_thresholds_that_are_none(threshold):
    with pytest.raises(SpikeflipError, match=f"threshold is {threshold}: give a positive number, or leave it out"):
        SCG(threshold=threshold)


@pytest.mark.parametrize("call", [bim, fgsm])
def test_other_attacks_on_images_ask_for_a_victim_too(call):
    with pytest.raises(SpikeflipError, match=r"wrap it with spikeflip\.wrap"):
        call(nn.Linear(4, 2), torch.rand(2, 4), torch.tensor([0, 1]))


@pytest.mark.parametrize("call", [scg, greedy_flips, sigma_zero])
@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            nn.functional.cross_entropy,
            r"the loss of a batch of 1 is of shape \(\): give a function that returns one number",
        ),
        (lambda scores, classes: scores, r"the loss of a batch of 1 is of shape \(1, 5\): give a function"),
        (lambda scores, classes: 0.5, "the loss of a batch of 1 is of type float: give a function"),
    ],
)
def test_a_loss_that_is_not_one_number_a_sample(call, loss, words, network):
    labels = network.scores(X).argmax(1)
    with pytest.raises(SpikeflipError, match=words):
        call(network, X, labels, loss=loss, micro_batch=1)


def test_a_loss_without_a_gradient(network):
    labels = network.scores(X).argmax(1)
    with pytest.raises(
        SpikeflipError, match="the loss has no gradient with respect to the scores: compute it with torch"
    ):
        scg(network, X, labels, loss=lambda scores, classes: scores.detach().sum(1))


@pytest.mark.parametrize("threshold", [1.0, None])
def test_numbers_of_numpy_are_those_of_python(network, threshold):
    labels = network.scores(X).argmax(1)
    settings = {"threshold": threshold, "gamma": 0.125, "steps": 3, "output_window": 2.0}
    of_numpy = {name: np.float32(value) if isinstance(value, float) else value for name, value in settings.items()}
    found = scg(network, X, labels, **of_numpy | {"steps": np.int64(3)})
    assert torch.equal(found.adversarials, scg(network, X, labels, **settings).adversarials)
    assert SCG(**of_numpy) == SCG(**settings)
    assert repr(SCG(**of_numpy)) == repr(SCG(**settings))


def test_a_number_of_encodings_of_numpy():
    victim = SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1)
    images = torch.rand(4, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3])
    found = scg(victim, images, labels, steps=3, encodings=np.int64(2))
    assert torch.equal(found.adversarials, scg(victim, images, labels, steps=3, encodings=2).adversarials)
