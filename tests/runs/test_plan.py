"""Which rows a run has, and the streams of each: an id belongs to one input and goal, in every run on the same data."""

from dataclasses import fields

import pytest
import torch

from spikeflip import Budget
from spikeflip.attacks import ATTACKS
from spikeflip.runs import AttackConfig
from spikeflip.runs.attack_options import settings_of
from spikeflip.runs.plan import make_plan, open_task
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.surrogate import Sigmoid

CLASSES = 10


@pytest.fixture(scope="module")
def victim(digit_victim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("victims") / "digits"
    save_checkpoint(digit_victim, folder, {"loss": "mse"})
    return folder


def plan_of(victim, **options):
    return make_plan(open_task(AttackConfig(**{"victim": victim, "samples": 7, "steps": 1} | options)))


def pairs(plan):
    """Input and target, -1 where there is none, by id; in the order of the rows."""
    targets = [-1] * len(plan.rows) if plan.targets is None else plan.targets.tolist()
    return dict(zip(plan.samples.tolist(), zip(plan.rows.tolist(), targets, strict=True), strict=True))


def test_no_two_inputs_and_goals_share_their_streams(victim):
    """Over every choice of targets: else the numbers of one attack would be those of another."""
    plans = [plan_of(victim, target=target) for target in ("none", "next", "all", *map(str, range(CLASSES)))]
    known = {}
    for plan in plans:
        assert len(pairs(plan)) == len(plan.rows)
        for sample, pair in pairs(plan).items():
            assert known.setdefault(sample, pair) == pair
    assert len(known) == len(set(known.values())) == 7 * CLASSES  # nine targets, and none
    assert min(known) >= 0


def test_streams_are_named_by_the_place_in_the_data(victim):
    """Whatever else is attacked, in shards of any size: a row can be computed again by itself."""
    whole = pairs(plan_of(victim, target="all", samples=40))
    assert pairs(plan_of(victim, target="all", samples=7)).items() <= whole.items()
    assert pairs(plan_of(victim, target="3", samples=40)).items() <= whole.items()
    some = plan_of(victim, target="all", samples=None, per_class=1)
    assert len(some.rows) == (CLASSES - 1) * CLASSES
    assert pairs(some).items() & whole.items()
    assert all(whole.get(sample, pair) == pair for sample, pair in pairs(some).items())


def test_rows_are_the_inputs_with_their_targets(victim):
    plan = plan_of(victim, target="next", samples=7)
    labels = plan.task.data.labels
    assert plan.rows.tolist() == list(range(7))
    assert torch.equal(plan.labels, labels[:7])
    assert torch.equal(plan.targets, (labels[:7] + 1) % CLASSES)
    every = plan_of(victim, target="all", samples=7)
    assert every.rows.tolist() == [row for row in range(7) for _ in range(CLASSES - 1)]
    assert all(
        set(every.targets[every.rows == row].tolist()) == set(range(CLASSES)) - {int(labels[row])} for row in range(7)
    )
    one = plan_of(victim, target=str(int(labels[2])), samples=7)
    assert 2 not in one.rows.tolist()
    assert set(one.targets.tolist()) == {int(labels[2])}
    assert (plan_of(victim).targets, plan_of(victim).goal, every.goal) == (None, "untargeted", "targeted")


@pytest.mark.parametrize("size", [1, 4, 63, 64])
def test_shards_are_the_rows_in_order(victim, size):
    plan = plan_of(victim, target="all", samples=7, shard_size=size)
    shards = [plan.shard(number) for number in range(plan.shards)]
    assert [len(shard.inputs) for shard in shards] == [min(size, 63 - at) for at in range(0, 63, size)]
    for name, whole in (
        ("inputs", plan.rows),
        ("labels", plan.labels),
        ("targets", plan.targets),
        ("samples", plan.samples),
    ):
        assert [value for shard in shards for value in getattr(shard, name).tolist()] == whole.tolist()
    values = torch.cat([torch.from_numpy(shard.values) for shard in shards])
    assert torch.equal(values, plan.task.data.read(plan.rows))


def test_the_first_inputs_of_each_class_that_the_victim_has_right(victim):
    """Right in the encoding that the attack begins with."""
    plan, checkpoint = plan_of(victim, samples=None, per_class=2, seed=5), load_checkpoint(victim)
    data, network = plan.task.data, checkpoint.network
    every = torch.arange(len(data.labels))
    seen = encode(data.read(every), network.input_shape, network.time_steps, seed=5, samples=every)
    right = (winner(network.scores(seen)) == data.labels).tolist()
    assert not all(right)
    labels = data.labels.tolist()
    expected = [[row for row in every.tolist() if right[row] and labels[row] == k][:2] for k in range(CLASSES)]
    assert sorted(plan.rows.tolist()) == sorted(row for rows in expected for row in rows)


OTHER = {
    "steps": 7,
    "gamma": 0.2,
    "threshold": 0.7,
    "loss": "margin",
    "sampling": False,
    "flipper": False,
    "output_window": 2.5,
    "c": 0.3,
    "top_k": 4,
    "rescue_window": 3.5,
    "step_size": 0.17,
    "unit": 0.4,
    "block": 3,
    "candidates": 5,
    "strength": 0.09,
    "gradient": "pdsg",
    "encodings": 3,
    "decay": 0.8,
    "published": True,
    "window": 3,
    "moves": 4,
    "momentum": 0.5,
    "near": 2,
    "sign": True,
    "share": 0.4,
    "sigma": 0.02,
    "rate": 0.3,
    "reach": 1.5,
    "rivals": 2,
    "stay": 0.9,
    "cost": 0.05,
    "queries": 9,
    "growth": 1.75,
    "kind": "hot-pixels",
}
"""A value of every option that is no attack's default."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_option_becomes_the_setting_of_its_name(victim, attack):
    own = {field.name for field in fields(ATTACKS[attack].settings)}

    def settings(victim_loss="mse", **options):
        config = AttackConfig(victim=victim, attack=attack, **options)
        return settings_of(attack, config.settings, victim_loss=victim_loss)

    plain, follows = settings(), "loss" in own and ATTACKS[attack].settings().loss == "mse"
    assert plain == ({"loss": "mse"} if follows else {}) | ({"threshold": 1.0} if "threshold" in own else {})
    for name in own - {"budget", "pattern"}:  # what is in a file is no setting yet
        assert settings(**{name: OTHER[name]}) == plain | {name: OTHER[name]}
    if "budget" in own:
        assert settings(epsilon=0.3, metric="l2") == plain | {"budget": Budget(0.3, "l2")}
        assert settings(epsilon=0.3) == plain | {"budget": Budget(0.3, ATTACKS[attack].settings.budget_in)}
    if "loss" in own:
        assert settings("ce", loss="victim")["loss"] == "ce"
        assert settings("ce").get("loss") == ("ce" if follows else None)
        assert settings("ce", loss="mse")["loss"] == "mse"
    if "threshold" in own:
        assert settings(tuning=False)["threshold"] is None
        config = AttackConfig(victim=victim, attack=attack)
        without = settings_of(attack, config.settings, victim_loss="mse", tunable=False)
        assert without["threshold"] is None
        said = settings_of(attack, {"threshold": 0.7}, victim_loss="mse", tunable=False)
        assert said["threshold"] == 0.7  # and the attack says that there is none


def test_every_option_reaches_the_worker(victim):
    options = {"draws": 9, "seed": 4, "micro_batch": 3, "trace": True, "engine": "torch", "gamma": 0.3}
    again = plan_of(victim, confidence=0.7, restarts=3).work()
    assert (again.confidence, again.restarts) == (0.7, 3)
    work = plan_of(victim, **options, surrogate="sigmoid", surrogate_width=0.6, precision="bf16-gradient").work()
    assert (work.draws, work.seed, work.micro_batch, work.trace, work.engine) == (9, 4, 3, True, "torch")
    assert (work.attack, work.settings["gamma"], work.precision) == ("scg", 0.3, "bf16-gradient")
    assert work.surrogate == Sigmoid(0.6)
    assert (work.device, work.binning) == ("cpu", None)
    assert {name: content.tobytes() for name, content in work.files.items()} == {
        name: (victim / name).read_bytes() for name in work.files
    }


def test_a_run_says_where_its_attack_comes_from(victim):
    assert plan_of(victim, attack="bim").describe()["source"] == ATTACKS["bim"].source != ATTACKS["scg"].source
