"""The real libraries' attacks as ours, each where it is installed: known optima, budgets, seeds and runs."""

import pytest
import torch

from spikeflip import Budget, ReluNetwork, judge
from spikeflip.interop import LIBRARY_ATTACKS, library_attack
from spikeflip.runs import AttackConfig, Execution, run_attack, verify_run

pytestmark = pytest.mark.frameworks

MODULES = {"adv-lib": "adv_lib.attacks", "foolbox": "foolbox", "pyautoattack": "pyautoattack.square"}
QUICK = {
    "adv-lib:carlini-wagner-l2": {"steps": 20, "searches": 6},
    "foolbox:carlini-wagner-l2": {"steps": 20, "searches": 6},
    "foolbox:deepfool-l2": {"steps": 10, "candidates": 4},
    "pyautoattack:square": {"steps": 60, "budget": 0.4},
}
N = 10


def quick(name, **more):
    pytest.importorskip(MODULES[name.partition(":")[0]])
    return library_attack(name, **{"steps": 20, **QUICK.get(name, {}), **more})


LINEAR = {
    "adv-lib:fmn": {"steps": 100},
    "adv-lib:ddn": {"steps": 100},
    "adv-lib:carlini-wagner-l2": {"steps": 200, "step_size": 0.01},
    "foolbox:ddn": {"steps": 100},
    "foolbox:deepfool-l2": {"steps": 50},
    "foolbox:carlini-wagner-l2": {"steps": 200, "step_size": 0.01},
}


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", LINEAR)
def test_the_smallest_change_of_a_linear_victim_is_found(name, targeted):
    """It moves along the difference of two rows of weights, by the margin over its length."""
    pytest.importorskip(MODULES[name.partition(":")[0]])
    if targeted and "targeted" not in LIBRARY_ATTACKS[name].goals:
        pytest.skip("untargeted only")
    generator = torch.Generator().manual_seed(5)
    victim = ReluNetwork("2FC", (10,))
    with torch.no_grad():
        victim.weights[0].copy_(torch.randn(2, 10, generator=generator))
    images = 0.3 + 0.4 * torch.rand(40, 10, generator=generator)
    logits, weights = victim.scores(images.unsqueeze(1)), victim.weights[0].detach()
    least = (logits[:, 0] - logits[:, 1]).abs() / (weights[0] - weights[1]).norm()
    images, labels, least = (part[least > 0.1] for part in (images, logits.argmax(1), least))
    assert len(images) > 10
    result = library_attack(name, **LINEAR[name])(victim, images, labels, 1 - labels if targeted else None)
    change = (result.adversarials - images).norm(dim=1)
    won = result.success
    # Where a step lands exactly on the boundary, the margin that FMN steps by is 0, and it stays there.
    assert won.float().mean() > 0.8 if name == "adv-lib:fmn" else won.all()
    change, least = change[won], least[won]
    assert (change <= 1.25 * least).all()
    assert (change >= least * (1 - 1e-4)).all()


def test_sigma_zero_changes_few_values():
    """Of a linear victim with one large weight, one value."""
    pytest.importorskip("adv_lib.attacks")
    victim = ReluNetwork("2FC", (10,))
    with torch.no_grad():
        victim.weights[0].copy_(torch.tensor([[0.1] * 9 + [2.0], [0.1] * 9 + [1.0]]))
        victim.weights[0][0, 0], victim.weights[0][1, 0] = 0.0, 0.3
    images = torch.full((3, 10), 0.5)
    result = library_attack("adv-lib:sigma-zero")(victim, images, torch.zeros(3, dtype=torch.int64))
    assert result.success.all()
    assert ((result.adversarials != images).sum(1) == 1).all()


@pytest.mark.parametrize("metric", ["l0", "l1", "linf"])
def test_every_norm_of_fmn(digit_victim, digits, metric):
    images, labels = digits.images[:N], digits.labels[:N]
    result = quick("adv-lib:fmn", metric=metric)(digit_victim, images, labels)
    assert result.adversarials.min() >= 0
    assert result.adversarials.max() <= 1
    assert (result.adversarials != images).any()


@pytest.mark.parametrize("goal", ["untargeted", "targeted"])
@pytest.mark.parametrize("name", LIBRARY_ATTACKS)
def test_every_attack_twice_on_a_spiking_victim(digit_victim, digits, name, goal):
    if goal not in LIBRARY_ATTACKS[name].goals:
        pytest.skip("untargeted only")
    images, labels = digits.images[:N], digits.labels[:N]
    targets = None if goal == "untargeted" else (labels + 1) % 10
    attack, state = quick(name), torch.get_rng_state()
    one, two = (attack(digit_victim, images, labels, targets, seed=2, micro_batch=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.adversarials, two.adversarials)
    assert one.adversarials.min() >= 0
    assert one.adversarials.max() <= 1
    right = ~one.already_wrong
    assert torch.equal(one.adversarials[~right], images[~right])
    assert (one.steps[right] > 0).all()
    assert (one.forwards[right] > one.steps[right]).all()
    assert (one.backwards > 0).any() == ("square" not in name)
    judged = judge(digit_victim, images, one.adversarials, labels, targets, one, draws=2, seed=2)
    assert torch.equal(judged.rows["success"], one.success)


@pytest.mark.parametrize("metric", ["linf", "l2"])
def test_square_stays_in_its_ball_and_finds_something(digit_victim, digits, metric):
    images, labels = digits.images[:N], digits.labels[:N]
    limit = 0.4 if metric == "linf" else 2.5
    result = quick("pyautoattack:square", budget=Budget(limit, metric))(digit_victim, images, labels)
    change = (result.adversarials - images).flatten(1)
    assert (change.abs().amax(1) if metric == "linf" else change.norm(dim=1)).max() <= limit + 1e-5
    assert result.success.any()


def test_a_lead_holds_over_more_encodings(digit_victim, digits):
    images, labels = digits.images[:30], digits.labels[:30]
    rates = []
    for lead in (0.0, 0.3):
        found = quick("adv-lib:fmn", lead=lead, steps=40)(digit_victim, images, labels, micro_batch=30)
        summary = judge(digit_victim, images, found.adversarials, labels, result=found, draws=20).summary()
        rates.append(summary["verified_success_rate"])
    assert rates[1] > rates[0] + 0.15


@pytest.mark.usefixtures("undrawn")
def test_runs_on_workers_are_runs_in_one_process(small_library_victim, tmp_path):
    pytest.importorskip("adv_lib.attacks")
    config = AttackConfig(victim=small_library_victim, attack="adv-lib:ddn", steps=10, samples=8, shard_size=4, draws=2)
    run_attack(config, tmp_path / "one")
    run_attack(config, tmp_path / "two", execution=Execution(workers=2))
    for name in ("rows.parquet", "adversarials.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert verify_run(tmp_path / "one", victim=small_library_victim)["differences"] == []
