"""The real libraries, each where it is installed: their attacks on our victims, and our attacks on their models."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spikeflip import Budget, ReluNetwork, SpikingNetwork, simulate_saccades
from spikeflip.attacks import BIM, SCG
from spikeflip.interop import ArtAttack, FoolboxAttack, adv_lib_attack, as_module
from spikeflip.snn.coding import encode, winner

pytestmark = pytest.mark.frameworks

EPS, STEP, N = 0.25, 0.06, 60
IDS = torch.arange(N)


@pytest.fixture(scope="module")
def data(digits):
    return digits.images[:N], digits.labels[:N]


def accuracy(victim, images, labels):
    """Over ten encodings that no attack has seen."""
    ids, shape = torch.arange(len(images)), victim.input_shape
    right = []
    for draw in range(10 if victim.coding == "rate" else 1):
        seen = encode(
            images, shape, victim.time_steps, coding=victim.coding, seed=99, samples=ids, step=draw, purpose="judge"
        )
        right.append((victim.scores(seen).argmax(1) == labels).float().mean())
    return float(torch.stack(right).mean())


def noise(images):
    """The control: what the largest change does that aims at nothing."""
    signs = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return (images + EPS * signs).clamp(0, 1)


def foolbox_pgd(module, x, y):
    foolbox = pytest.importorskip("foolbox")
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=10, abs_stepsize=STEP)
    return attack(model, x, y, epsilons=EPS)[1]


def torchattacks_pgd(module, x, y):
    torchattacks = pytest.importorskip("torchattacks")
    return torchattacks.PGD(module, eps=EPS, alpha=STEP, steps=10)(x, y)


def classifier(module, shape=(1, 8, 8)):
    estimators = pytest.importorskip("art.estimators.classification")
    return estimators.PyTorchClassifier(
        module, nn.CrossEntropyLoss(), input_shape=shape, nb_classes=10, clip_values=(0, 1), device_type="cpu"
    )


def art_pgd(module, x, y):
    evasion = pytest.importorskip("art.attacks.evasion")
    attack = evasion.ProjectedGradientDescent(
        classifier(module), eps=EPS, eps_step=STEP, max_iter=10, batch_size=N, verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def adv_lib_pgd(module, x, y):
    attacks = pytest.importorskip("adv_lib.attacks")
    return attacks.pgd_linf(module, x, y, ε=EPS, steps=10, absolute_step_size=STEP)


def auto_attack_apgd(module, x, y):
    library = pytest.importorskip("pyautoattack")
    auto = library.AutoAttack(module, norm="Linf", eps=EPS, version="custom", attacks=["apgd-ce"], device="cpu", seed=0)
    auto.apgd.n_iter, auto.apgd.n_restarts = 10, 1
    return auto.run_standard_evaluation(x, y, batch_size=N)[0]


def secml_pgd(module, x, y):
    pytest.importorskip("secmlt")
    from secmlt.adv.evasion.pgd import PGD
    from secmlt.models.pytorch.base_pytorch_nn import BasePyTorchClassifier

    attack = PGD("linf", epsilon=EPS, num_steps=10, step_size=STEP, random_start=False, backend="native")
    return adversarials_of(attack(BasePyTorchClassifier(module), loader(x, y)))


def loader(x, y):
    return DataLoader(TensorDataset(x, y), batch_size=len(x))


def adversarials_of(batches):
    return torch.cat([adversarials for adversarials, _ in batches])


BOUNDED = [foolbox_pgd, torchattacks_pgd, art_pgd, adv_lib_pgd, auto_attack_apgd, secml_pgd]


@pytest.mark.parametrize("attack", BOUNDED)
def test_their_attacks_find_more_than_noise(attack, digit_victim, data):
    x, y = data
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - where ART takes its random starts from
    found = attack(as_module(digit_victim), x, y)
    assert found.shape == x.shape
    assert (found - x).abs().max() <= EPS + 1e-5
    assert accuracy(digit_victim, x, y) > 0.9
    assert accuracy(digit_victim, noise(x), y) > accuracy(digit_victim, found, y) + 0.25


@pytest.mark.parametrize("attack", BOUNDED)
def test_their_attacks_on_a_relu_twin_are_as_on_the_network_itself(attack, data):
    """Through our own reverse pass, or through autograd of the same layers: the same adversarials."""
    x, y = data
    twin = ReluNetwork("16C3-AP2-64FC-10FC", (1, 8, 8), seed=3)
    found = []
    for module in (as_module(twin), twin.eval()):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        found.append(attack(module, x, y))
    assert (found[0] != x).any()
    # A sign of a gradient that is zero but for rounding may differ.
    assert (found[0] - found[1]).abs().gt(1e-5).float().mean() < 0.01


MINIMAL = {
    "foolbox": lambda module, x, y: pytest.importorskip("foolbox").attacks.L2DeepFoolAttack(steps=15)(
        pytest.importorskip("foolbox").PyTorchModel(module, bounds=(0, 1), device="cpu"), x, y, epsilons=None
    )[1],
    "adv-lib ddn": lambda module, x, y: pytest.importorskip("adv_lib.attacks").ddn(module, x, y, steps=20),
    "adv-lib fmn": lambda module, x, y: pytest.importorskip("adv_lib.attacks").fmn(module, x, y, norm=2, steps=20),
}


@pytest.mark.parametrize("name", list(MINIMAL))
def test_their_minimal_attacks(name, digit_victim, data):
    x, y = data[0][:24], data[1][:24]
    torch.manual_seed(0)
    # Such attacks compare calls with each other: scores have to be a function of the image.
    module = as_module(digit_victim, fresh=False, draws=4)
    found = MINIMAL[name](module, x, y)
    fooled = module(found).argmax(1) != y
    assert fooled.float().mean() > 0.8
    assert accuracy(digit_victim, found, y) < 0.75


def test_auto_attack_sees_what_is_random(digit_victim, data, recwarn):
    checks = pytest.importorskip("pyautoattack.checks")
    x, y = data
    checks.check_randomized(as_module(digit_victim, fresh=False), x, y)
    checks.check_dynamic(as_module(digit_victim, fresh=False), x)
    assert not list(recwarn)
    with pytest.warns(Warning, match="randomized defense"):
        checks.check_randomized(as_module(digit_victim), x, y)


def test_foolbox_on_spikes(digits):
    """Flips need an epsilon of more than half, and spikes that are rounded on their way in."""
    foolbox = pytest.importorskip("foolbox")
    x = simulate_saccades(digits.images[:16], steps=6, size=16)
    victim = SpikingNetwork("8C3-AP2-32FC-10FC", (2, 16, 16), time_steps=6, seed=4)
    y = winner(victim.scores(x)).clamp_min(0)
    model = foolbox.PyTorchModel(as_module(victim, binarise=True), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=4, abs_stepsize=0.6, random_start=False)
    found = (attack(model, x, y, epsilons=0.6)[1] >= 0.5).float()
    assert foolbox.accuracy(model, found, y) < foolbox.accuracy(model, x, y) - 0.3


@pytest.mark.parametrize("targeted", [False, True])
def test_our_attacks_called_by_foolbox(targeted, digit_victim, data):
    foolbox = pytest.importorskip("foolbox")
    x, y = data[0][:16], data[1][:16]
    targets = (y + 1) % 10 if targeted else None
    criterion = foolbox.Misclassification(y)
    if targets is not None:
        criterion = criterion & foolbox.TargetedMisclassification(targets)
    model = foolbox.PyTorchModel(as_module(digit_victim), bounds=(0, 1), device="cpu")
    for name, settings in (("scg", SCG(steps=5)), ("bim", BIM(steps=5))):
        raw, clipped, success = FoolboxAttack(name, seed=3, steps=5)(model, x, criterion, epsilons=None)
        wanted = settings(digit_victim, x, y, targets, seed=3)
        assert torch.equal(raw, wanted.adversarials)
        assert torch.equal(clipped, raw)
        assert success[wanted.success].all()
    limits = [0.05, 0.2]
    _, clipped, success = FoolboxAttack("bim", seed=3, steps=5)(model, x, criterion, epsilons=limits)
    assert success.shape == (2, 16)
    for limit, found in zip(limits, clipped, strict=True):
        wanted = BIM(steps=5, budget=Budget(limit, "linf"))(digit_victim, x, y, targets, seed=3)
        assert torch.equal(found, wanted.adversarials)


def test_our_attacks_called_by_art(digit_victim, data):
    x, y = data[0][:16], data[1][:16]
    wanted = SCG(steps=5)(digit_victim, x, y, seed=3).adversarials
    attack = ArtAttack(classifier(as_module(digit_victim)), "scg", seed=3, steps=5)
    np.testing.assert_array_equal(attack.generate(x=x.numpy(), y=y.numpy()), wanted.numpy())
    one_hot = np.eye(10, dtype=np.float32)[y.numpy()]
    np.testing.assert_array_equal(attack.generate(x.numpy(), one_hot), wanted.numpy())


@pytest.mark.parametrize("target", [None, 3])
def test_our_attacks_called_by_secml(target, digit_victim, data):
    pytest.importorskip("secmlt")
    from secmlt.adv.evasion.advlib_attacks.advlib_base import BaseAdvLibEvasionAttack
    from secmlt.models.pytorch.base_pytorch_nn import BasePyTorchClassifier

    x, y = data[0][:16], data[1][:16]
    function = adv_lib_attack("bim", seed=3, steps=5)
    attack = BaseAdvLibEvasionAttack(function, epsilon=0.2, y_target=target)
    found = adversarials_of(attack(BasePyTorchClassifier(as_module(digit_victim)), loader(x, y)))
    targeted = target is not None
    classes = torch.full_like(y, target) if targeted else y
    assert torch.equal(found, function(digit_victim, x, classes, targeted=targeted, eps=0.2))
    assert not torch.equal(found, x)


def test_our_attacks_called_by_attackbench(digit_victim, data):
    attackbench = pytest.importorskip("attackbench")
    x, y = data[0][:16], data[1][:16]
    function = adv_lib_attack("bim", seed=3, steps=8, step_size=STEP)
    wanted = BIM(steps=8, step_size=STEP)(digit_victim, x, y, seed=3)
    results = attackbench.run_attack(
        as_module(digit_victim), loader(x, y), function, "linf", torch.device("cpu"), save_adversarial=True, debug=True
    )
    assert torch.equal(results["adv_inputs"], wanted.adversarials)
    assert not any(results["batch_failures"])
    # It counts what goes through its own model, which an attack that encodes by itself does not use.
    assert max(results["num_forwards"]) <= 1
