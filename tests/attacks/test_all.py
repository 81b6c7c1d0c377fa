"""What every registered attack must hold, driven by the registry."""

import pytest
import torch
from few_steps import few_steps

from spikeflip import SpikeflipError, SpikingNetwork, simulate_saccades
from spikeflip.attacks import ATTACKS
from spikeflip.attacks.options import options_of
from spikeflip.snn.coding import winner
from spikeflip.snn.engines.event import why_not
from spikeflip.snn.surrogate import Rectangular

FORWARDS = {"conversion": 2, "greedy-pixels": 1 + 2 * 2, "greedy-flips": 1 + 4, "gumbel-flips": 2}
"""Passes of a step, the one that judges it included, where they are not one."""

BACKWARDS = {"spikefool": 3}
"""Most backward passes of a step, where they are more than one."""
UP_TO = {"sparse-rs": 5, "flip-search": 5}
"""Queries of a step, where a step may be done before all are made."""

WITHOUT_GRADIENT = {
    "greedy-pixels", "greedy-flips", "universal", "patch", "random", "sparse-rs", "flip-search", "random-flips",
    "random-retiming", "camera-noise",
}  # fmt: skip
WITHOUT_NUMBERS = {"universal", "sigma-zero", "spikefool", "retiming", "soft-retiming"}
HARDLY_NUMBERS = {"sda", "gumbel-flips"}
"""Whose random numbers seldom decide which flips are left of a success; see test_few_flips.py."""


def cases():
    return [(name, kind, goal) for name, info in ATTACKS.items() for kind in info.inputs for goal in info.goals]


@pytest.fixture(scope="module")
def setting(digit_victim, digits):
    """A victim, inputs and labels by kind; the event victim is untrained, so its own predictions serve as labels."""
    spikes = simulate_saccades(digits.images[:12], steps=6, size=16)
    network = SpikingNetwork("8C3-AP2-32FC-10FC", (2, 16, 16), time_steps=6, seed=4)
    predicted = winner(network.scores(spikes)).clamp_min(0)
    return {
        "images": (digit_victim, digits.images[:12], digits.labels[:12]),
        "spikes": (network, spikes, predicted),
    }


def run(setting, name, kind, goal, rows=None, **options):
    victim, inputs, labels = setting[kind]
    rows = torch.arange(len(inputs)) if rows is None else rows
    targets = (labels + 1) % 10 if goal == "targeted" else None
    return ATTACKS[name].settings(**few_steps(name, 6))(
        victim,
        inputs[rows],
        labels[rows],
        None if targets is None else targets[rows],
        samples=rows,
        **{"seed": 3, "micro_batch": 5, "reduce": False, **options},
    )


@pytest.mark.parametrize(("name", "kind", "goal"), cases())
def test_adversarials_are_valid_and_consistent(setting, name, kind, goal):
    victim, inputs, _labels = setting[kind]
    before = inputs.clone()
    result = run(setting, name, kind, goal)
    assert torch.equal(inputs, before)
    assert result.adversarials.shape == inputs.shape
    assert result.adversarials.dtype == inputs.dtype
    assert result.adversarials.min() >= 0
    assert result.adversarials.max() <= 1
    if kind == "spikes":
        assert set(result.adversarials.unique().tolist()) <= {0.0, 1.0}
        predictions = winner(victim.scores(result.adversarials))
        assert torch.equal(predictions, result.prediction)
    assert torch.equal(result.adversarials[result.already_wrong], inputs[result.already_wrong])
    assert not (result.success & result.already_wrong).any()
    assert (~result.already_wrong).any()


@pytest.mark.parametrize(("name", "kind", "goal"), cases())
def test_passes_are_counted(setting, name, kind, goal):
    result = run(setting, name, kind, goal)
    steps = result.steps
    if name == "sda":  # ten candidates in the first step, and n times as many in the n-th
        assert torch.equal(result.forwards, 1 + steps + 10 * steps * (steps + 1) // 2)
    elif name == "spikefool":  # a step that finds nothing to do is the last, and is not judged
        assert ((result.forwards == 1 + steps) | (~result.success & (result.forwards == steps))).all()
    elif name in UP_TO:
        assert (result.forwards >= steps + (name == "sparse-rs")).all()
        assert (result.forwards <= 1 + steps * (1 + UP_TO[name])).all()
    else:
        assert torch.equal(result.forwards, 1 + steps * FORWARDS.get(name, 1))
    if name in WITHOUT_GRADIENT:
        assert not result.backwards.any()
        assert not result.vanished.any()
        assert not result.first_vanishing.any()
    else:
        # What vanished at the output layer went no deeper.
        most = BACKWARDS.get(name, 1) if goal == "untargeted" else 1
        assert (result.backwards <= most * result.steps).all()
        assert (result.backwards >= result.steps - result.vanished).all()
    assert result.steps[~result.already_wrong].min() >= 1


def test_who_follows_the_gradient_of_the_victim_says_so(setting):
    """Conversion's is that of a ReLU network, which no surrogate of the victim's changes."""
    assert {name for name, info in ATTACKS.items() if not info.settings.follows_gradient} == {
        *WITHOUT_GRADIENT,
        "conversion",
    }
    victim, images, labels = setting["images"]
    other = victim.on("torch", surrogate=Rectangular(9.0))
    for name, same in (("conversion", True), ("bim", False)):
        found = [ATTACKS[name].settings(steps=3)(one, images, labels).adversarials for one in (victim, other)]
        assert torch.equal(*found) is same


@pytest.mark.parametrize(("name", "kind", "goal"), cases())
def test_same_seed_same_bits(setting, name, kind, goal):
    one, two = run(setting, name, kind, goal), run(setting, name, kind, goal)
    other = run(setting, name, kind, goal, seed=4)
    assert torch.equal(one.adversarials, two.adversarials)
    assert torch.equal(one.steps, two.steps)
    if name not in HARDLY_NUMBERS:
        assert torch.equal(one.adversarials, other.adversarials) == (name in WITHOUT_NUMBERS)


def on_events(setting):
    """The same victims on the engine that gives a sample the same bits whatever the batch."""
    found = {}
    for kind, (victim, *given) in setting.items():
        if (reason := why_not(victim.engine.chain)) is not None:
            pytest.skip(reason)
        found[kind] = (victim.on("event"), *given)
    return found


@pytest.mark.parametrize(("name", "kind", "goal"), cases())
def test_samples_do_not_depend_on_their_companions(setting, name, kind, goal):
    if name == "soft-retiming":
        setting = on_events(setting)
    whole = run(setting, name, kind, goal)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = run(setting, name, kind, goal, rows=order)
    # All but sa-pgd and soft-retiming use of a gradient what does not change with its last bits, which on the torch
    # engine depend on the size of a batch.
    close = {"rtol": 0, "atol": 1e-5 if name == "sa-pgd" else 0}
    torch.testing.assert_close(shuffled.adversarials, whole.adversarials[order], **close)
    some = torch.tensor([10, 3, 7])
    for micro_batch in (1, 2):
        alone = run(setting, name, kind, goal, rows=some, micro_batch=micro_batch)
        torch.testing.assert_close(alone.adversarials, whole.adversarials[some], **close)
        assert torch.equal(alone.forwards, whole.forwards[some])


@pytest.mark.parametrize(("name", "kind", "goal"), cases())
def test_only_inputs_of_the_attack_s_kind(setting, name, kind, goal):
    for other in {"images", "spikes"} - set(ATTACKS[name].inputs):
        with pytest.raises(SpikeflipError, match=f"are {other}, but this attack is defined on {kind} only: choose"):
            run(setting, name, other, goal)


@pytest.mark.parametrize("name", [name for name in ATTACKS if "loss" in options_of(ATTACKS[name].settings)])
def test_a_loss_of_more_classes_than_there_are_is_refused_before_an_input_is_looked_at(name):
    two = SpikingNetwork("2FC", (6,), time_steps=4)
    shape = (0, 6) if "images" in ATTACKS[name].inputs else (0, 4, 6)
    with pytest.raises(SpikeflipError, match="dlr compares three classes, and the victim has 2: choose margin"):
        ATTACKS[name].settings(loss="dlr")(two, torch.empty(shape), torch.arange(0))


def test_progress_ends_with_all(setting):
    seen = []
    run(setting, "scg", "images", "untargeted", progress=lambda done, every: seen.append((done, every)))
    assert seen == sorted(seen)
    assert seen[-1] == (12, 12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
def test_dtype_of_spikes_is_kept(setting, dtype):
    victim, inputs, labels = setting["spikes"]
    if dtype == torch.float64:
        victim = SpikingNetwork("8C3-AP2-32FC-10FC", (2, 16, 16), time_steps=6, seed=4).double()
    result = ATTACKS["scg"].settings(steps=2)(victim, inputs[:4].to(dtype), labels[:4])
    assert result.adversarials.dtype == dtype


@pytest.mark.parametrize(("name", "kind", "goal"), cases())
def test_inputs_of_another_type(setting, name, kind, goal):
    victim, inputs, labels = setting[kind]
    expected = run(setting, name, kind, goal)
    types = (torch.float64,) if kind == "images" else (torch.float64, torch.float16, torch.uint8, torch.bool)
    for dtype in types:
        other = {kind: (victim, inputs.to(dtype).requires_grad_(dtype.is_floating_point), labels)}
        found = run(other, name, kind, goal)
        assert found.adversarials.dtype == dtype
        assert not found.adversarials.requires_grad
        if kind == "spikes":
            assert torch.equal(found.adversarials.float(), expected.adversarials)
        else:
            torch.testing.assert_close(found.adversarials.float(), expected.adversarials)
