"""Trainings without a recipe typed learn on real data: the lines of the README, and one for each other data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from documents import blocks, commands

from spikeflip import load_checkpoint
from spikeflip.cli.app import main
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.inputs import binning_for, load_inputs
from spikeflip.runs.victim import as_config, load_victim
from spikeflip.snn.training import accuracy


@dataclass(frozen=True)
class Recipe:
    """A training, the share of test inputs that it must classify right, and of how many at least.

    Where ``at_least`` is of training inputs, there are no test inputs.
    """

    line: str
    at_least: float
    of: int
    training: bool = False
    slow: bool = False


RECIPES = [
    Recipe("train --data digits --out victims/digits", 0.97, 355),
    Recipe("train --data digits --simulate-events --out victims/events", 0.96, 355),
    Recipe("train --data dvsgesture --root DIR --width 0.25 --out victims/gestures", 1.0, 10, training=True),
    Recipe("train --data nmnist --root DIR --width 0.25 --out victims/nmnist", 0.95, 100, slow=True),
    Recipe("train --data mnist --root DIR --width 0.25 --out victims/mnist", 0.975, 1000, slow=True),
    Recipe("train --data cifar10 --root DIR --width 0.25 --out victims/cifar10", 0.6, 1000, slow=True),
]
SECONDS = 2 * 60 * 60
"""After which a training counts as hung, on a busy machine too."""


def data_of(words: list[str]) -> tuple[str, bool]:
    """The data set of a training."""
    return words[words.index("--data") + 1] if "--data" in words else "digits", "--simulate-events" in words


def trainings() -> list[tuple[list[str], Recipe]]:
    """The words of each training: as README.md types it, where it does."""
    lines = [words for block in blocks("README.md") if block.language == "" for words in commands(block.text)]
    typed = {data_of(words): words for words in lines if words[0] == "train"}
    ours = {data_of(recipe.line.split()): recipe for recipe in RECIPES}
    assert typed.keys() <= ours.keys(), "README.md trains on data for which there is no recipe here"
    return [(typed.get(data, recipe.line.split()), recipe) for data, recipe in ours.items()]


def share_of_training_inputs(folder: Path) -> tuple[float, int]:
    """How many of the inputs that a victim was trained on it classifies right, and how many there are."""
    found = load_checkpoint(folder)
    config = TrainConfig(data=found.facts["config"]["data"], root=Path("DIR"))
    network = found.network
    binning = binning_for(load_victim(as_config(folder)))
    data = load_inputs(config, "train", time_steps=network.time_steps, binning=binning)
    return accuracy(network, data.values, data.labels), len(data.labels)


def test_the_readme_trains_on_data_that_have_a_recipe():
    assert len(trainings()) == len(RECIPES)


@pytest.mark.recipes
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(
    ("words", "recipe"),
    [
        pytest.param(words, recipe, id=Path(words[-1]).name, marks=[pytest.mark.slow] if recipe.slow else [])
        for words, recipe in trainings()
    ],
)
def test_a_training_learns(
    words: list[str],
    recipe: Recipe,
    real_data: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "DIR" in words:
        (tmp_path / "DIR").symlink_to(real_data(data_of(words)[0]))
    main(words)
    folder = Path(words[words.index("--out") + 1])
    said = capsys.readouterr().out
    if recipe.training:
        share, n = share_of_training_inputs(folder)
    else:
        facts = load_checkpoint(folder).facts
        share, n = facts["accuracy"], facts["accuracy_n"]
        assert f"{share:.2%}" in said
    assert n >= recipe.of
    assert share >= recipe.at_least, said
