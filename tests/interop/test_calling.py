"""Our attacks called three foreign ways, on stand-ins for what the libraries give, without the libraries."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from attack_libraries import INPUTS as N
from attack_libraries import And, Closure, Estimator, Misclassification, TargetedMisclassification
from few_steps import few_steps

from spikeflip import SCG, Budget
from spikeflip.attacks import ATTACKS, pgd
from spikeflip.interop import ArtAttack, FoolboxAttack, adv_lib_attack, as_module
from spikeflip.snn.coding import encode

LONG = {"sda", "spikefool", "gumbel-flips", "sparse-rs", "flip-search"}
CASES = [
    pytest.param(name, kind, goal, marks=pytest.mark.slow if name in LONG else ())
    for name, info in ATTACKS.items()
    for kind in info.inputs
    for goal in info.goals
]


def options(name):
    return few_steps(name, 4)


def direct(setting, name, kind, targets=None, labels=None, *, micro_batch=16, **more):
    """The attack itself; the last bits of the torch engine's gradients depend on the batches."""
    victim, inputs, known = setting[kind]
    attack = ATTACKS[name].settings(**options(name), **more)
    return attack(victim, inputs, known if labels is None else labels, targets, seed=3, micro_batch=micro_batch)


@pytest.mark.parametrize(("name", "kind", "goal"), CASES)
def test_foolbox_s_way_is_the_attack_itself(setting, name, kind, goal):
    victim, inputs, labels = setting[kind]
    targets = (labels + 1) % 10 if goal == "targeted" else None
    criterion = Misclassification(labels)
    if targets is not None:
        criterion = And(criterion, TargetedMisclassification(targets))
    wanted = direct(setting, name, kind, targets, micro_batch=5)
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
    wanted = direct(setting, name, kind, targets, micro_batch=5).adversarials
    function = adv_lib_attack(name, seed=3, micro_batch=5, **options(name))
    assert function.__name__ == name
    found = function(model=as_module(victim), inputs=inputs, labels=labels, targets=targets, targeted=False)
    assert torch.equal(found, wanted)
    again = adv_lib_attack(name, seed=3)(victim, inputs, labels, targets, **options(name))
    assert torch.equal(again, direct(setting, name, kind, targets).adversarials)


@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param(*case.values[:2], marks=case.marks) for case in CASES if case.values[2] == "untargeted"],
)
def test_art_s_way_is_the_attack_itself(setting, name, kind):
    victim, inputs, labels = setting[kind]
    x, wanted = inputs.numpy(), direct(setting, name, kind, micro_batch=5).adversarials.numpy()
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


def test_a_number_as_budget_is_in_the_attack_s_own_metric(setting):
    """As where it is called as a function."""
    victim, inputs, labels = setting["images"]
    found = adv_lib_attack("pgd", seed=3, steps=2, budget=0.05)(victim, inputs, labels)
    assert torch.equal(found, pgd(victim, inputs, labels, steps=2, budget=0.05, seed=3).adversarials)


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_type_of_images_is_kept(setting, dtype):
    victim, inputs, labels = setting["images"]
    x = (inputs.double() * 0.999 + 0.0001234567890123).to(dtype)
    precise = x if dtype == torch.float64 else x.float()
    wanted = ATTACKS["greedy-pixels"].settings(**options("greedy-pixels"))(victim, precise, labels, seed=3).adversarials
    found = adv_lib_attack("greedy-pixels", seed=3, **options("greedy-pixels"))(victim, x, labels)
    assert found.dtype == dtype
    assert torch.equal(found, wanted.to(dtype))
    assert 0.7 < (found == x).double().mean() < 1


@pytest.mark.parametrize("dtype", [">f4", np.longdouble])
def test_arrays_that_pytorch_has_not(setting, dtype):
    victim, inputs, labels = setting["spikes"]
    found = ArtAttack(victim, "scg", seed=3, steps=4).generate(inputs.numpy().astype(dtype), labels.numpy())
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(np.float32), direct(setting, "scg", "spikes").adversarials.numpy())


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
    assert torch.equal(answers[0], module(inputs))


def test_postprocessing_that_keeps_the_winner(setting):
    victim, inputs, labels = setting["images"]
    found = adv_lib_attack("bim", seed=3, steps=2)(lambda x: (3 * as_module(victim)(x)).softmax(1), inputs, labels)
    assert torch.equal(found, adv_lib_attack("bim", seed=3, steps=2)(victim, inputs, labels))


@pytest.mark.processes
def test_no_framework_is_imported():
    code = (
        "import sys, spikeflip.interop; "
        "print({'foolbox', 'eagerpy', 'art', 'adv_lib', 'torchattacks', 'secmlt', 'pyautoattack'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
