"""Calls in foreign ways that cannot be answered: one sentence each."""

import numpy as np
import pytest
import torch
from attack_libraries import INPUTS as N
from attack_libraries import And, Closure, Misclassification

from spikeflip import SCG, SpikeflipError, SpikingNetwork
from spikeflip.interop import ArtAttack, FoolboxAttack, adv_lib_attack, as_module

IMAGE_ATTACKS = ["fgsm", "bim", "conversion", "greedy-pixels"]


def wrong_calls():
    """What is wrong, as a function of victim, images, labels, and the start of the sentence."""
    foolbox, art, function = FoolboxAttack("bim"), ArtAttack, adv_lib_attack("bim")
    return {
        "unknown attack": (lambda v, x, y: FoolboxAttack("frob"), "there is no attack 'frob': choose from scg, fgsm"),
        "unknown setting": (
            lambda v, x, y: FoolboxAttack("bim", alpha=1),
            "BIM has no setting 'alpha': choose from steps",
        ),
        "setting in the call": (
            lambda v, x, y: function(v, x, y, alpha=2),
            "BIM has no setting 'alpha': choose from steps",
        ),
        "a class": (
            lambda v, x, y: FoolboxAttack(SCG),
            "the attack is .*: give its name, such as 'scg', or its settings",
        ),
        "criterion": (
            lambda v, x, y: foolbox(v, x, object(), epsilons=None),
            "the criterion is object, which our attacks do not have: give labels, Misclassification",
        ),
        "criteria": (
            lambda v, x, y: foolbox(v, x, And(Misclassification(y), Misclassification(y)), epsilons=None),
            "the criterion is And, which our attacks do not have",
        ),
        "no budget": (
            lambda v, x, y: FoolboxAttack("random")(v, x, y, epsilons=[0.1, 0.2]),
            "Noise has no budget, but one of 0.1 is asked for: leave it out",
        ),
        "negative": (
            lambda v, x, y: foolbox(v, x, y, epsilons=-1),
            "budget is -1.0 in linf: give a limit, such as 0.08",
        ),
        "text": (
            lambda v, x, y: foolbox(v, x, y, epsilons="0.1"),
            "the budget is of type str: give one number for all samples",
        ),
        "each its own": (
            lambda v, x, y: function(v, x, y, eps=torch.full((len(x),), 0.1)),
            "the budget is of type Tensor: give one number for all samples",
        ),
        "two budgets": (lambda v, x, y: function(v, x, y, eps=1, ε=1), "the budget is given 2 times: give one of eps"),
        "metric": (
            lambda v, x, y: FoolboxAttack("bim", metric="l3")(v, x, y, epsilons=1),
            "budget metric is 'l3': choose from mse",
        ),
        "one epsilon in a tensor": (
            lambda v, x, y: foolbox(v, x, y, epsilons=torch.tensor(0.1)),
            "the budget is of type Tensor: give one number for all samples",
        ),
        "one epsilon in an array": (
            lambda v, x, y: foolbox(v, x, y, epsilons=np.array(0.1)),
            "the budget is of type ndarray: give one number for all samples",
        ),
        "norm": (lambda v, x, y: function(v, x, y, norm=3, eps=1), "norm is 3: choose from 0, 1, 2 and inf, or give"),
        "norms": (lambda v, x, y: function(v, x, y, norm=[1], eps=1), r"norm is \[1\]: choose from 0, 1, 2 and inf"),
        "no victim": (
            lambda v, x, y: function(torch.nn.Flatten(), x, y),
            "the model is a Flatten, which holds no victim: build it on spikeflip.interop.as_module",
        ),
        "no model": (lambda v, x, y: function("victim", x, y), "the model is a str, which holds no victim"),
        "two victims": (
            lambda v, x, y: function(lambda z: as_module(v)(z) + as_module(SpikingNetwork("10FC", (1, 8, 8)))(z), x, y),
            "the model, a function, holds 2 victims: attack one at a time",
        ),
        "preprocessing": (
            lambda v, x, y: function(Closure(as_module(v), lambda z: (z - 0.5) / 0.5), x, y),
            "the model, a Closure, changes inputs before its victim sees them: leave preprocessing out",
        ),
        "preprocessing that leaves the first input": (
            lambda v, x, y: function(Closure(as_module(v), lambda z: z.flip(-1)), torch.cat([x[:1] * 0, x[1:]]), y),
            "the model, a Closure, changes inputs before its victim sees them: leave preprocessing out",
        ),
        "postprocessing": (
            lambda v, x, y: foolbox(lambda z: as_module(v)(z).flip(1), x, y, epsilons=None),
            "the model, a function, answers with other classes than its victim: leave postprocessing out",
        ),
        "classes for scores": (
            lambda v, x, y: function(lambda z: as_module(v)(z).argmax(1), x, y),
            "the model, a function, answers with other classes than its victim",
        ),
        "range": (lambda v, x, y: function(v, x * 255, y), r"images hold the value .*: scale them to \[0, 1\]"),
        "arrays": (lambda v, x, y: function(v, x.numpy(), y), "inputs are a ndarray: give a tensor of PyTorch"),
        "float labels": (
            lambda v, x, y: function(v, x, y.float()),
            "labels are of type torch.float32: give class numbers",
        ),
        "tensors": (
            lambda v, x, y: art(v, "bim").generate(x, y.numpy()),
            "x is of type Tensor: give an array of numbers",
        ),
        "objects": (
            lambda v, x, y: art(v, "bim").generate(x.numpy().astype(object)),
            "x is of type object: give an array of numbers",
        ),
        "no y": (
            lambda v, x, y: art(v, "bim", targeted=True).generate(x.numpy()),
            "the attack is targeted, but y is None: give the classes to aim at",
        ),
        "short y": (
            lambda v, x, y: art(v, "bim").generate(x.numpy(), y.numpy()[:3]),
            r"y has shape \(3,\) and type int64 for 16 inputs: give class numbers \(N,\) or one-hot rows \(N, 10\)",
        ),
        "undecided y": (
            lambda v, x, y: art(v, "bim").generate(x.numpy(), np.zeros((N, 10))),
            "y has rows without a single largest entry: give class numbers",
        ),
        "short labels": (
            lambda v, x, y: function(v, x, y[:1]),
            r"labels have shape \(1,\) for 16 inputs: give one label an input",
        ),
        "long labels": (
            lambda v, x, y: function(v, x, y.repeat(2)),
            r"labels have shape \(32,\) for 16 inputs: give one label an input",
        ),
        "short targets": (
            lambda v, x, y: function(v, x, y[:3], targeted=True),
            r"targets have shape \(3,\) for 16 inputs: give one target an input",
        ),
        "short samples": (
            lambda v, x, y: function(v, x, y, samples=torch.arange(3)),
            r"samples are torch.int64 \(3,\) for 16 inputs: give one id an input",
        ),
        "samples of numpy": (
            lambda v, x, y: function(v, x, y, samples=np.arange(N)),
            "samples are ndarray for 16 inputs: give one id an input",
        ),
        "seed": (lambda v, x, y: adv_lib_attack("bim", seed=-1)(v, x, y), "seed is -1: give a whole number"),
        "a number for inputs": (
            lambda v, x, y: function(as_module(v), torch.tensor(0.5), y),
            r"inputs have shape \(\): give several, the batch axis first",
        ),
        "whole images": (
            lambda v, x, y: function(v, x.round().int(), y),
            "images are of type torch.int32: give them as torch.float32",
        ),
        "class out of range": (
            lambda v, x, y: function(v, x, y + 9),
            "label .* is out of range: the network has classes",
        ),
    }


@pytest.mark.parametrize("name", list(wrong_calls()))
def test_wrong_calls(setting, name):
    call, message = wrong_calls()[name]
    with pytest.raises(SpikeflipError, match=message) as caught:
        call(*setting["images"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_spikes_for_an_attack_on_images(setting, name):
    victim, spikes, labels = setting["spikes"]
    for call in (
        lambda: FoolboxAttack(name)(victim, spikes, labels, epsilons=None),
        lambda: ArtAttack(victim, name).generate(spikes.numpy(), labels.numpy()),
        lambda: adv_lib_attack(name)(as_module(victim), spikes, labels),
    ):
        with pytest.raises(SpikeflipError, match="are spikes, but this attack is defined on images only: choose one"):
            call()
