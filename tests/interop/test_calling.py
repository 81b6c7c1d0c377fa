"""Our attacks called three foreign ways, on stand-ins for what the libraries give, without the libraries."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from spikeflip import SCG, Budget, SpikeflipError, SpikingNetwork, simulate_saccades
from spikeflip.attacks import ATTACKS
from spikeflip.interop import ArtAttack, FoolboxAttack, adv_lib_attack, as_module
from spikeflip.snn.coding import encode, winner

OPTIONS = {"fgsm": {}, "greedy-pixels": {"steps": 3, "candidates": 2}, "greedy-flips": {"steps": 3, "candidates": 4}}
CASES = [(name, kind, goal) for name, info in ATTACKS.items() for kind in info.inputs for goal in info.goals]
N = 16


class Raw:
    """An eagerpy tensor: holds one of PyTorch."""

    def __init__(self, raw):
        self.raw = raw


class Misclassification:
    def __init__(self, labels):
        self.labels = Raw(labels)


class TargetedMisclassification:
    def __init__(self, target_classes):
        self.target_classes = Raw(target_classes)


class And:
    def __init__(self, a, b):
        self.a, self.b = a, b


class Closure:
    """A model of foolbox: keeps what it was given out of reach."""

    bounds = (0, 1)

    def __init__(self, module, change=lambda x: x):
        self._model = lambda x: module(change(x))

    def __call__(self, x):
        return self._model(x)


class Estimator:
    """A classifier of ART: arrays in, arrays out, in batches."""

    def __init__(self, module):
        self._module = module

    def predict(self, x):
        return self._module(torch.from_numpy(x.astype(np.float32))).numpy()


@pytest.fixture(scope="module")
def setting(digit_victim, digits):
    spikes = simulate_saccades(digits.images[:N], steps=6, size=16)
    network = SpikingNetwork("8C3-AP2-32FC-10FC", (2, 16, 16), time_steps=6, seed=4)
    return {
        "images": (digit_victim, digits.images[:N], digits.labels[:N]),
        "spikes": (network, spikes, winner(network.scores(spikes)).clamp_min(0)),
    }


def options(name):
    return OPTIONS.get(name, {"steps": 4})


def direct(setting, name, kind, targets=None, labels=None, **more):
    victim, inputs, known = setting[kind]
    attack = ATTACKS[name].settings(**options(name), **more)
    return attack(victim, inputs, known if labels is None else labels, targets, seed=3)


@pytest.mark.parametrize(("name", "kind", "goal"), CASES)
def test_foolbox_s_way_is_the_attack_itself(setting, name, kind, goal):
    victim, inputs, labels = setting[kind]
    targets = (labels + 1) % 10 if goal == "targeted" else None
    criterion = Misclassification(labels)
    if targets is not None:
        criterion = And(criterion, TargetedMisclassification(targets))
    wanted = direct(setting, name, kind, targets)
    attack = FoolboxAttack(name, seed=3, micro_batch=5, **options(name))
    raw, clipped, success = attack(Closure(as_module(victim)), inputs, criterion, epsilons=None)
    assert torch.equal(raw, wanted.adversarials)
    assert torch.equal(clipped, raw)
    assert success[wanted.success].all()
    # By the criterion's rule ties may count, and inputs that were wrong from the start do.
    spikes = encode(raw, victim.input_shape, victim.time_steps, seed=3, samples=torch.arange(N), step=wanted.steps)
    classes = victim.scores(spikes).argmax(1)
    assert torch.equal(success, (classes != labels) if targets is None else (classes == targets))


@pytest.mark.parametrize(("name", "kind", "goal"), CASES)
def test_adv_lib_s_way_is_the_attack_itself(setting, name, kind, goal):
    victim, inputs, labels = setting[kind]
    targets = (labels + 1) % 10 if goal == "targeted" else None
    wanted = direct(setting, name, kind, targets).adversarials
    function = adv_lib_attack(name, seed=3, micro_batch=5, **options(name))
    assert function.__name__ == name
    found = function(model=as_module(victim), inputs=inputs, labels=labels, targets=targets, targeted=False)
    assert torch.equal(found, wanted)
    assert torch.equal(adv_lib_attack(name, seed=3)(victim, inputs, labels, targets, **options(name)), wanted)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kind, goal in CASES if goal == "untargeted"])
def test_art_s_way_is_the_attack_itself(setting, name, kind):
    victim, inputs, labels = setting[kind]
    x, wanted = inputs.numpy(), direct(setting, name, kind).adversarials.numpy()
    before = x.copy()
    attack = ArtAttack(Estimator(as_module(victim)), name, seed=3, batch_size=5, **options(name))
    found = attack.generate(x, y=labels.numpy())
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(x, before)
    assert found.dtype == np.float32
    one_hot = np.eye(10, dtype=np.float32)[labels.numpy()]
    for y in (labels.numpy()[:, None], labels.numpy().astype(np.int32), one_hot):
        np.testing.assert_array_equal(attack.generate(x=x, y=y), wanted)


@pytest.mark.parametrize("kind", ["images", "spikes"])
def test_wanted_classes_without_labels(setting, kind):
    """As adv-lib and ART have it: what the victim takes the inputs for stands for the labels."""
    victim, inputs, _ = setting[kind]
    spikes = encode(inputs, victim.input_shape, victim.time_steps, seed=3, samples=torch.arange(N))
    predicted = victim.scores(spikes).argmax(1)
    targets = torch.full((N,), int(predicted[0]))
    others = (predicted != targets).nonzero().squeeze(1)
    assert 0 < len(others) < N
    wanted = inputs.clone()
    wanted[others] = (
        SCG(steps=4)(victim, inputs[others], predicted[others], targets[others], seed=3, samples=others)
    ).adversarials
    settings = {"seed": 3, "steps": 4}
    assert torch.equal(adv_lib_attack("scg", **settings)(victim, inputs, targets, targeted=True), wanted)
    _, found, success = FoolboxAttack("scg", **settings)(
        victim, inputs, TargetedMisclassification(targets), epsilons=None
    )
    assert torch.equal(found, wanted)
    assert success[predicted == targets].all()
    art = ArtAttack(victim, "scg", targeted=True, **settings)
    np.testing.assert_array_equal(art.generate(inputs.numpy(), targets.numpy()), wanted.numpy())
    untargeted = ArtAttack(victim, "scg", **settings)
    np.testing.assert_array_equal(
        untargeted.generate(inputs.numpy()), untargeted.generate(inputs.numpy(), predicted.numpy())
    )


def test_nothing_to_attack(setting):
    victim, inputs, _ = setting["spikes"]
    predicted = victim.scores(inputs).argmax(1)
    found = adv_lib_attack("scg", steps=2)(victim, inputs, predicted, targeted=True)
    assert torch.equal(found, inputs)
    nothing = ArtAttack(victim, "scg", steps=2).generate(inputs[:0].numpy(), predicted[:0].numpy())
    assert nothing.shape == (0, *inputs.shape[1:])


def test_several_epsilons(setting):
    victim, inputs, labels = setting["images"]
    attack = FoolboxAttack("bim", seed=3, **options("bim"))
    epsilons = [0.02, 0.1, None]
    raw, clipped, success = attack(Closure(as_module(victim)), inputs, labels, epsilons=epsilons)
    assert len(raw) == len(clipped) == 3
    assert success.shape == (3, N)
    assert success.dtype == torch.bool
    for epsilon, adversarials, won in zip(epsilons, clipped, success, strict=True):
        budget = None if epsilon is None else Budget(epsilon, "linf")
        wanted = direct(setting, "bim", "images", budget=budget)
        assert torch.equal(adversarials, wanted.adversarials)
        assert won[wanted.success].all()
        if epsilon is not None:
            assert (adversarials - inputs).abs().max() <= epsilon + 1e-6
    single = attack(victim, inputs, labels, epsilons=0.1)
    assert torch.equal(single[1], clipped[1])
    assert torch.equal(single[2], success[1])


def test_other_metrics_limit_too(setting):
    victim, inputs, labels = setting["spikes"]
    attack = FoolboxAttack("scg", metric="l0", seed=3, steps=8)
    _, clipped, _ = attack(victim, inputs, labels, epsilons=[5, 1000])
    assert ((clipped[0] != inputs).flatten(1).sum(1) < 5).all()
    assert ((clipped[1] != inputs).flatten(1).sum(1) > 5).any()
    wanted = SCG(steps=8, budget=Budget(5, "l0"))(victim, inputs, labels, seed=3).adversarials
    assert torch.equal(clipped[0], wanted)
    function = adv_lib_attack("scg", metric="l0", seed=3, steps=8)
    for name in ("eps", "epsilon", "ε"):
        assert torch.equal(function(victim, inputs, labels, **{name: 5}), wanted)
    by_norm = adv_lib_attack("scg", seed=3, steps=8)
    assert torch.equal(by_norm(victim, inputs, labels, norm=0, eps=5), wanted)
    assert torch.equal(by_norm(victim, inputs, labels, norm="L0", eps=5), wanted)
    assert torch.equal(
        by_norm(victim, inputs, labels, norm=0), SCG(steps=8)(victim, inputs, labels, seed=3).adversarials
    )


def test_the_epsilon_of_fgsm_is_its_step(setting):
    victim, inputs, labels = setting["images"]
    adversarials = adv_lib_attack("fgsm")(victim, inputs * 0.4 + 0.3, labels, eps=0.3)
    size = (adversarials - inputs * 0.4 - 0.3).abs().flatten(1).amax(1)
    assert size.max() == pytest.approx(0.3)


def test_settings_may_be_given_as_an_object(setting):
    victim, inputs, labels = setting["images"]
    wanted = SCG(steps=2, gamma=0.1)(victim, inputs, labels, seed=3).adversarials
    assert torch.equal(adv_lib_attack(SCG(gamma=0.1), seed=3, steps=2)(victim, inputs, labels), wanted)
    limited = adv_lib_attack("scg", seed=3, steps=2, budget=0.01)(victim, inputs, labels)
    assert torch.equal(limited, SCG(steps=2, budget=Budget(0.01))(victim, inputs, labels, seed=3).adversarials)


def test_samples_name_the_streams(setting):
    victim, inputs, labels = setting["images"]
    function = adv_lib_attack("scg", seed=3, steps=4)
    some = torch.tensor([9, 2, 4])
    wanted = function(victim, inputs, labels)[some]
    assert torch.equal(function(victim, inputs[some], labels[some], samples=some), wanted)
    assert torch.equal(
        FoolboxAttack("scg", seed=3, steps=4)(victim, inputs[some], labels[some], epsilons=None, samples=some)[0],
        wanted,
    )
    art = ArtAttack(victim, "scg", seed=3, steps=4).generate(inputs[some].numpy(), labels[some].numpy(), samples=some)
    np.testing.assert_array_equal(art, wanted.numpy())


@pytest.mark.parametrize("dtype", [np.float64, np.uint8, np.bool_])
def test_type_of_spikes_is_kept(setting, dtype):
    victim, inputs, labels = setting["spikes"]
    found = ArtAttack(victim, "scg", seed=3, steps=4).generate(inputs.numpy().astype(dtype), labels.numpy())
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(np.float32), direct(setting, "scg", "spikes").adversarials.numpy())


def test_what_is_not_moved_is_not_rounded(setting):
    victim, inputs, labels = setting["images"]
    x = inputs.double() * 0.999 + 0.0001234567890123
    found = adv_lib_attack("greedy-pixels", seed=3, **OPTIONS["greedy-pixels"])(victim, x, labels)
    assert found.dtype == torch.float64
    assert not torch.equal(found, x)
    assert (found == x).double().mean() > 0.7
    assert torch.equal(found[found.float() == x.float()], x[found.float() == x.float()])


def test_inputs_that_want_a_gradient(setting):
    victim, inputs, labels = setting["images"]
    found = adv_lib_attack("bim", seed=3, **options("bim"))(victim, inputs.clone().requires_grad_(), labels)
    assert not found.requires_grad
    assert torch.equal(found, direct(setting, "bim", "images").adversarials)


def test_finding_the_victim_costs_no_draw_and_answers_truly(setting):
    victim, inputs, labels = setting["images"]
    module, answers = as_module(victim), []

    def recorder(x):
        answers.append(module(x))
        return answers[-1]

    adv_lib_attack("bim", steps=1)(recorder, inputs, labels)
    assert module.calls == 0
    assert len(answers) == 1
    assert torch.equal(answers[0], module(inputs[:1]))


IMAGE_ATTACKS = ["fgsm", "bim", "conversion", "greedy-pixels"]


def wrong_calls():
    """What is wrong, as a function of victim, images, labels, and the start of the sentence."""
    foolbox, art, function = FoolboxAttack("bim"), ArtAttack, adv_lib_attack("bim")
    return {
        "unknown attack": (lambda v, x, y: FoolboxAttack("pgd"), "there is no attack 'pgd': choose from scg, fgsm"),
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
        "negative": (lambda v, x, y: foolbox(v, x, y, epsilons=-1), "budget is -1.0 in linf: give a positive limit"),
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
        "norm": (lambda v, x, y: function(v, x, y, norm=3, eps=1), "norm is 3: choose from 0, 1, 2 and inf, or give"),
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
            r"samples have shape \(3,\) for 16 inputs: give one id an input",
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


@pytest.mark.processes
def test_no_framework_is_imported():
    code = (
        "import sys, spikeflip.interop; "
        "print({'foolbox', 'eagerpy', 'art', 'adv_lib', 'torchattacks', 'secmlt', 'pyautoattack'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
