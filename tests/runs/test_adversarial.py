"""``train --adversarial``: what it is refused for, what it writes, and that it goes on as any training."""

import json

import numpy as np
import pytest

from spikeflip import Recording, write_recording
from spikeflip.attacks.flip_training import FlipTraining
from spikeflip.cli.terminal import print_training, training_facts
from spikeflip.errors import SpikeflipError
from spikeflip.runs import TrainConfig, run_training
from spikeflip.runs.recipe import choose_recipe

TINY = {"network": "4C3-AP2-10FC", "updates": 4, "batch_size": 8, "validate_every": 2, "time_steps": 5}
TINY |= {"test_samples": 10, "coding_steps": 3}
NO_STEPS = {"coding_steps": None}
HARD = TINY | {"adversarial": 0.3, "adversarial_steps": 2}
EVENTS = NO_STEPS | {"simulate_events": True}


@pytest.fixture(scope="module")
def hardened(tmp_path_factory):
    return run_training(TrainConfig(**HARD), tmp_path_factory.mktemp("hardened") / "v")


@pytest.fixture(scope="module")
def flipped(tmp_path_factory):
    return run_training(TrainConfig(**HARD | EVENTS), tmp_path_factory.mktemp("flipped") / "v")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--adversarial", -0.1], "--adversarial is '-0.1': "),
        (["--adversarial", 1.1], "--adversarial is '1.1': "),
        (["--adversarial", "nan"], "--adversarial is "),
        (["--adversarial", 0.1, "--adversarial-steps", 0], "--adversarial-steps is '0': "),
        (["--adversarial", 0.1, "--adversarial-steps", 1001], "--adversarial-steps is '1001': "),
        (["--adversarial", 0.1, "--adversarial-warm-up", 1.5], "--adversarial-warm-up is '1.5': "),
        (["--adversarial-steps", 4], "--adversarial-steps 4 says how --adversarial attacks: give that too"),
        (["--adversarial-warm-up", 0.5], "--adversarial-warm-up 0.5 says how --adversarial attacks: give that too"),
        (["--adversarial", 2, "--simulate-events"], "--adversarial is '2': "),
        (["--adversarial-steps", 4, "--simulate-events"], "--adversarial-steps 4 says how --adversarial attacks: "),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_leaves_nothing(options, message, tmp_path, run):
    status, out, err = run("train", *options, "--out", tmp_path / "v")
    assert (status, out) == (2, "")
    assert err.startswith("spikeflip: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("kind", [{}, {"twin": True} | NO_STEPS, {"coding": "latency"} | NO_STEPS, EVENTS])
def test_without_a_distance_the_weights_are_those_without_the_option(kind, tmp_path):
    plain = run_training(TrainConfig(**TINY | kind), tmp_path / "plain")
    none = run_training(TrainConfig(**TINY | kind | {"adversarial": 0}), tmp_path / "none")
    some = run_training(TrainConfig(**HARD | kind), tmp_path / "some")
    assert plain.sha256 == none.sha256 != some.sha256
    assert "robust_accuracy" not in plain.facts
    assert none.facts["robust_accuracy_n"] == some.facts["robust_accuracy_n"] == 10


@pytest.mark.parametrize("update", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["images", "events"])
def test_an_interrupted_training_goes_on_to_the_same_victim(hardened, flipped, tmp_path, kind, update):
    victim, options = (hardened, HARD) if kind == "images" else (flipped, HARD | EVENTS)

    def stop(now):
        if now.update == update:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(TrainConfig(**options), tmp_path / "v", progress=stop)
    if update > 1:
        with pytest.raises(SpikeflipError, match=r"of other options \(adversarial: 0.3 -> 0.2\): give the same"):
            run_training(TrainConfig(**options | {"adversarial": 0.2}), tmp_path / "v")
    again = run_training(TrainConfig(**options), tmp_path / "v")
    assert again.sha256 == victim.sha256
    assert again.facts["robust_accuracy"] == victim.facts["robust_accuracy"]


def test_a_finished_victim_is_found_for_the_same_options_alone(tmp_path):
    first = run_training(TrainConfig(**HARD), tmp_path / "v")
    assert run_training(TrainConfig(**HARD), tmp_path / "v").sha256 == first.sha256
    for option, value in (("adversarial_steps", 3), ("adversarial_warm_up", 0), ("adversarial", None)):
        said = {option: value} if value is not None else {"adversarial": None, "adversarial_steps": None}
        with pytest.raises(SpikeflipError, match=f"a victim of other options .*{option}: "):
            run_training(TrainConfig(**HARD | said), tmp_path / "v")


def test_a_victim_of_a_version_without_the_option_is_found(tmp_path):
    first = run_training(TrainConfig(**TINY), tmp_path / "v")
    path = tmp_path / "v" / "victim.json"
    description = json.loads(path.read_text())
    for name in ("adversarial", "adversarial_steps", "adversarial_warm_up"):
        del description["facts"]["config"][name]
    path.write_text(json.dumps(description))
    assert run_training(TrainConfig(**TINY), tmp_path / "v").sha256 == first.sha256


def test_the_recipe_and_the_result_say_so(hardened, tmp_path, capsys):
    assert hardened.facts["recipe"]["adversarial"] == {"epsilon": 0.3, "steps": 2, "warm_up": 0.3}
    said = choose_recipe(TrainConfig(**HARD), "images", 1_000, 1).sentence(1_000)
    assert "images attacked within 0.3 in 2 steps, less for the first 30%, initial share" in said
    assert "attacked within 0.3 in 2 steps, initial" in (
        choose_recipe(TrainConfig(**HARD | {"adversarial_warm_up": 0}), "images", 1_000, 1).sentence(1_000)
    )
    rate = hardened.facts["robust_accuracy"]
    assert 0 <= rate <= 1
    print_training(hardened, tmp_path / "v")
    assert f"{rate:.2%} of 10 test images right when attacked within 0.3" in capsys.readouterr().out
    assert training_facts(hardened)["robust_accuracy"] == rate


def test_recordings_are_flipped_by_a_share_of_their_events(flipped, tmp_path, capsys):
    assert flipped.facts["recipe"]["adversarial"] == {"share": 0.3, "steps": 2, "warm_up": 0.3}
    assert flipped.facts["robust_accuracy_n"] == 10
    for kind in ("simulated", "recordings"):
        recipe = choose_recipe(TrainConfig(**HARD | EVENTS), kind, 1_000, 2)
        assert recipe.perturb == FlipTraining(0.3, steps=2)
        said = "recordings attacked by flips of up to 0.3 of their events in 2 steps, less for the first 30%, initial"
        assert said in recipe.sentence(1_000)
    print_training(flipped, tmp_path / "v")
    rate = flipped.facts["robust_accuracy"]
    assert f"{rate:.2%} of 10 test recordings right when up to 0.3 of their events are flipped" in (
        capsys.readouterr().out
    )


def test_folders_of_recordings_are_flipped_too(tmp_path):
    pixels = {"a": [(1, 1), (2, 1), (1, 2), (2, 2)], "b": [(5, 5), (6, 5), (5, 6), (6, 6)]}
    for name, cells in pixels.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            x, y = (np.array([cell[axis] for cell in cells] * 4) for axis in (0, 1))
            recording = Recording.from_columns(np.arange(16) * 1000 + i, x, y, np.ones(16, int), height=8, width=8)
            write_recording(recording, tmp_path / "data" / name / f"{i}.npz")
    options = {"data": str(tmp_path / "data"), "network": "4C3-AP2-2FC", "time_steps": 4, "time_bin": 4}
    options |= {"updates": 3, "batch_size": 4}
    found = run_training(TrainConfig(**options, adversarial=0.25), tmp_path / "v")
    assert found.facts["recipe"]["adversarial"]["share"] == 0.25
    assert found.facts["robust_accuracy_n"] == found.facts["accuracy_n"]
    assert found.sha256 != run_training(TrainConfig(**options), tmp_path / "plain").sha256


def test_colour_images_are_attacked_behind_their_twin_alone():
    recipe = choose_recipe(TrainConfig(adversarial=0.1), "images", 50_000, 3)
    assert recipe.twin is not None
    assert (recipe.perturb.epsilon, recipe.perturb.steps) == (0.1, 3)
    assert choose_recipe(TrainConfig(adversarial=0), "images", 50_000, 3).perturb is None
    assert choose_recipe(TrainConfig(), "images", 50_000, 3).adversarial is None
