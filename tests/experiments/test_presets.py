"""All declarations in all presets: options that exist, rows that can be told apart, numbers as the paper has them."""

from dataclasses import fields
from pathlib import Path

import pytest

from spikeflip.attacks import ATTACKS
from spikeflip.data import EVENT_SETS, IMAGE_SETS
from spikeflip.experiments import EXPERIMENTS
from spikeflip.experiments.declaration import Experiment
from spikeflip.experiments.laboratory import Laboratory
from spikeflip.experiments.pictures import Bars, Curves, Traces
from spikeflip.experiments.presets import IN_PAPER, PRESETS, SMOKE, DataSet, Preset
from spikeflip.experiments.rows import COLUMNS, RATES
from spikeflip.runs import TrainConfig
from spikeflip.runs.attack_options import settings_of
from spikeflip.runs.config import AttackConfig
from spikeflip.snn.architecture import parse
from spikeflip.snn.presets import PRESETS as NETWORKS


class Imagined(Laboratory):
    """A laboratory without victims: options are made and checked, and nothing is run."""

    def victim(self, case):
        data = self.preset.data[case.data]
        config = TrainConfig(**{**data.source, **data.training, "loss": case.loss, **case.victim})
        if config.network not in (None, *NETWORKS):
            parse(config.network)
        return Path("victims") / f"{case.data}"


def all_cases(preset, experiment):
    for case in experiment.cases(preset):
        yield case
        if case.source is not None:
            yield case.source


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_option_of_every_case_is_one(preset: Preset, experiment: Experiment):
    laboratory = Imagined(preset, Path("out"))
    cases = list(all_cases(preset, experiment))
    assert cases
    for case in cases:
        config = laboratory.attack_config(case)
        kind = preset.data[case.data].kind
        if case.measure == "transfer":
            continue
        ATTACKS[config.attack].settings(**settings_of(config.attack, config.settings, victim_loss=case.loss))
        assert case.goal in ATTACKS[config.attack].goals
        assert {"images": "images", "events": "spikes"}[kind] in ATTACKS[config.attack].inputs


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_rows_of_an_experiment_differ_in_their_labels(preset: Preset):
    for experiment in EXPERIMENTS.values():
        seen = set()
        for case in experiment.cases(preset):
            label = (case.data, case.loss, case.goal, *map(str, case.labels.items()))
            assert label not in seen, (experiment.name, label)
            assert not set(case.labels) & ({"data", "kind", "loss", "goal", "victim", "run"} | set(RATES))
            seen.add(label)


def test_data_sets_exist_and_name_real_options():
    for preset in PRESETS.values():
        for name, data in preset.data.items():
            assert data.source["data"] in {*IMAGE_SETS, *EVENT_SETS}
            assert data.only <= set(EXPERIMENTS), name
            assert set(data.training) <= set(TrainConfig.model_fields)
            assert {*data.untargeted, *data.targeted} <= set(AttackConfig.model_fields)
        assert set(preset.shallow) <= set(preset.data)
    assert set(SMOKE.data) == set(IN_PAPER)
    assert {field.name for field in fields(DataSet)} >= {"note", "only"}


def test_what_experiments_show_is_there():
    for experiment in EXPERIMENTS.values():
        labels = {name for case in experiment.cases(SMOKE) for name in case.labels}
        known = labels | set(COLUMNS)
        assert set(experiment.columns) <= known, experiment.name
        for picture in experiment.pictures:
            if isinstance(picture, Curves):
                assert {picture.x, picture.y, *picture.lines, *picture.where} <= known
            elif isinstance(picture, Bars):
                assert {picture.measure, picture.beside, *picture.across} <= known
            elif isinstance(picture, Traces):
                assert picture.label in known
        for printed in experiment.paper:
            assert set(printed.where) <= known
            assert printed.measure in experiment.columns
        assert experiment.trend or experiment.paper or experiment.name in OURS or experiment.name == "table-1"


OURS = ("vanishing", "surrogates", "windows", "codings", "depths", "converters", "flippers", "twins")
FIGURES = (5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)


def test_every_table_and_figure_is_registered_in_the_papers_order():
    tables = [f"table-{number}" for number in (1, 3, 7, 8)]
    assert list(EXPERIMENTS) == [*tables, *(f"figure-{number}" for number in FIGURES), *OURS]
    assert all(name == experiment.name for name, experiment in EXPERIMENTS.items())


def printed(experiment, **where):
    """The values that the declaration holds, by the labels that are left."""
    return [
        entry.value
        for entry in EXPERIMENTS[experiment].paper
        if all(entry.where[name] == value for name, value in where.items())
    ]


@pytest.mark.parametrize(
    ("loss", "values"),
    # Table III: N-MNIST, CIFAR10-DVS, MNIST, CIFAR10.
    [("MSE", [130, 41, 436, 103]), ("CE", [256, 32, 471, 105])],
)
def test_table_iii_as_printed(loss, values):
    assert printed("table-3", loss=loss) == values


@pytest.mark.parametrize(
    ("data", "values"),
    # Table VII: MSE untargeted, targeted, CE untargeted, targeted.
    [
        ("N-MNIST", [97.38, 99.44, 90.12, 16.78]),
        ("CIFAR10-DVS", [100, 86.35, 100, 82.95]),
        ("MNIST", [91.31, 55.33, 93.16, 47.81]),
        ("CIFAR10", [98.68, 99.72, 98.48, 40.51]),
    ],
)
def test_table_vii_as_printed(data, values):
    groups = [("MSE", "untargeted"), ("MSE", "targeted"), ("CE", "untargeted"), ("CE", "targeted")]
    found = [printed("table-7", data=data, loss=loss, goal=goal) for loss, goal in groups]
    assert found == [[pytest.approx(value / 100)] for value in values]


@pytest.mark.parametrize(
    ("method", "goal", "values"),
    # Table VIII: at 8/255, 16/255, 32/255, 64/255.
    [
        ("conversion [30]", "untargeted", [37.50, 62.50, 75.00, 77.00]),
        ("SCG", "untargeted", [50.47, 72.46, 76.67, 76.86]),
        ("conversion [30]", "targeted", [20.00, 37.50, 52.50, 63.00]),
        ("SCG", "targeted", [19.16, 42.36, 65.58, 71.48]),
    ],
)
def test_table_viii_as_printed(method, goal, values):
    found = [printed("table-8", method=method, goal=goal, bound=bound) for bound in (8, 16, 32, 64)]
    assert found == [[pytest.approx(value / 100)] for value in values]
