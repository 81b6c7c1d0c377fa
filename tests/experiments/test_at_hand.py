"""What results say of the data that were at hand: from what was loaded, never from what a declaration supposes."""

import json

import pytest

from spikeflip.experiments.at_hand import remark, remarks
from spikeflip.experiments.presets import PRESETS
from spikeflip.experiments.rows import Rows

TRAIN = {"name": "N-MNIST", "split": "train", "size": 60_000, "sha256": "aa", "frames": "15 bins", "notes": ["one"]}
TEST = TRAIN | {"split": "test", "size": 10_000, "sha256": "bb", "notes": ["one", "two"]}
IMAGES = {"name": "MNIST", "split": "train", "size": 1_437, "sha256": "cc"}


@pytest.mark.parametrize(
    ("victims", "attacked", "said"),
    [
        ([TRAIN], [(TEST, TRAIN)], "60,000 training recordings and 10,000 test recordings were at hand; one; two"),
        ([IMAGES], [], "1,437 training images were at hand"),
        (
            [IMAGES, IMAGES | {"size": 100}],
            [(IMAGES | {"split": "test", "size": 20}, IMAGES)] * 2,
            "1,437 or 100 training images and 20 test images were at hand",
        ),
        (
            [IMAGES],
            [(IMAGES, IMAGES)],
            "1,437 training images were at hand; what is attacked is what the victims were trained on",
        ),
        (
            [IMAGES],
            [(IMAGES, IMAGES), (IMAGES | {"sha256": "dd"}, IMAGES)],
            "1,437 training images were at hand; what is attacked is in part what the victims were trained on",
        ),
        ([], [], ""),
    ],
)
def test_the_counts_are_those_of_what_was_loaded(victims, attacked, said):
    assert remark("", [{"data": data} for data in victims], attacked) == said


@pytest.mark.parametrize(
    ("victims", "said"),
    [
        ([{}, {"start_sha256": None}], ""),
        ([{"start_sha256": "ee"}, {"config": {"twin": True}}], "; the victims began with the weights of a trained"),
        ([{"start_sha256": "ee"}, {}], "; some of the victims began with the weights of a trained"),
        ([{"config": {"twin": True}}], ""),
    ],
)
def test_a_start_is_named_where_victims_had_one(victims, said):
    facts = [{"data": IMAGES} | victim for victim in victims]
    end = f"{said} ReLU network" if said else ""
    assert remark("note", facts, []) == f"note; 1,437 training images were at hand{end}"


def test_presets_say_nothing_of_anothers_machine():
    """Counts of data and what a training came to are not theirs to say."""
    notes = {data.note for preset in PRESETS.values() for data in preset.data.values()}
    assert notes == {
        "",
        "scikit-learn's digits stand in for it",
        "simulated saccades over scikit-learn's digits stand in for it",
    }


def test_the_bundled_digits_are_counted(smoke):
    counts = {True: "1,442 training images and 355 test images", False: "1,442 training images"}
    for result in smoke[1]:
        rows = Rows(result["rows"])
        for data, note in result["notes"].items():
            # Gradients of the first iteration are no run, which would say what was attacked.
            run = bool(rows.where(data=data).known("run"))
            assert note.endswith(f"scikit-learn's digits stand in for it; {counts[run]} were at hand")
    page = (smoke[0] / "reproduction.md").read_text()
    assert f"\n\nMNIST: scikit-learn's digits stand in for it; {counts[True]} were at hand.\n\n" in page


def test_rows_are_read_with_their_victims_and_runs(tmp_path):
    for number, (seen, of) in enumerate([(TRAIN, TEST), (TRAIN | {"size": 1_000}, TEST | {"size": 100})]):
        victim, run = tmp_path / "victims" / f"v{number}", tmp_path / "runs" / f"r{number}"
        for folder in (victim, run):
            folder.mkdir(parents=True)
        (victim / "victim.json").write_text(json.dumps({"facts": {"data": seen | {"notes": []}}}))
        (run / "config.json").write_text(json.dumps({"data": of | {"notes": []}}))
    rows = Rows(
        [
            {"data": "N-MNIST", "victim": "v0", "run": "r0"},
            {"data": "Gesture-DVS", "victim": "v1", "run": "r1"},
            {"data": "CIFAR10-DVS", "victim": "v1"},  # of a transfer, which is no run
        ]
    )
    said = remarks(rows, PRESETS["paper"], tmp_path)
    assert said == {
        "N-MNIST": "60,000 training recordings and 10,000 test recordings were at hand",
        "Gesture-DVS": "1,000 training recordings and 100 test recordings were at hand",
        "CIFAR10-DVS": "1,000 training recordings were at hand",
    }
