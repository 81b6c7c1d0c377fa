"""What is said of data as they are loaded, trained on and judged, from files."""

import json
import shutil

import numpy as np
import pytest
import torch
from checked_recordings import BINNING, UNIX, at, codes, gestures
from event_sets import write
from raw_files import AEDAT3, packet, pixel

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.data import (
    Binning,
    ImageSet,
    Recording,
    folder_of_recordings,
    load_event_set,
)
from spikeflip.notices import Notice, as_json
from spikeflip.runs import judge_files
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.data_checks import (
    compare_splits,
)
from spikeflip.runs.inputs import load_inputs, load_recordings
from spikeflip.snn.checkpoint import save_checkpoint

# --- loading ----------------------------------------------------------------------------------------------------------


def bars(folder, start=0, kinds=("left", "right"), count=5, ending=".npz"):
    """A folder of recordings with an event each 100 µs over 15 ms."""
    for label, kind in enumerate(kinds):
        for n in range(count):
            times = start + 100 * np.arange(150)
            columns = np.random.default_rng(10 * label + n).integers(0, 4, (2, 150))
            recording = Recording.from_columns(times, *columns, [1] * 150, height=4, width=4)
            write(folder / kind / f"{n}{ending}", recording)
    return folder


def test_clean_recordings_are_loaded_without_a_word_and_counted(tmp_path):
    data = load_recordings(load_event_set(bars(tmp_path, count=10), "train"), BINNING)
    assert codes(data.notices) == ["own-split"]
    assert data.facts["class_counts"] == {"left": 8, "right": 8}
    assert (data.facts["events"], data.facts["events_outside"], data.facts["empty"]) == (2400, 0, 0)


@pytest.mark.parametrize("ending", [".npz", ".csv", ".npy"])
def test_recordings_of_a_clock_give_the_frames_of_those_that_start_at_zero(tmp_path, ending):
    early = load_recordings(load_event_set(bars(tmp_path / "a", ending=ending), "train", height=4, width=4), BINNING)
    late = bars(tmp_path / "b", start=UNIX, ending=ending)
    found = load_recordings(load_event_set(late, "train", height=4, width=4), BINNING)
    assert torch.equal(found.values, early.values)
    assert int(found.values.sum()) > 0
    (said,) = [notice for notice in found.notices if notice.code == "absolute-clock"]
    assert said.figure == 8
    assert "in 8 of 8 training recordings (first: left/0" in said.text


def test_empty_and_late_recordings_are_said_and_counted(tmp_path):
    bars(tmp_path)
    write(tmp_path / "left" / "1.npz", at([]))
    write(tmp_path / "right" / "0.npz", at([15_000] * 1000))
    data = load_recordings(load_event_set(tmp_path, "train"), BINNING)
    found = {notice.code: notice for notice in data.notices}
    assert data.facts["empty"] == found["empty-input"].figure == 2
    assert "in 2 of 8 training recordings (first: right/0.npz)" in found["empty-input"].text
    assert found["events-outside"].figure == 1000 / (1000 + 6 * 150)


def test_notes_of_readers_are_gathered_and_those_of_the_set_are_kept(tmp_path):
    bars(tmp_path, ending=".csv")
    for name in ("left/2.csv", "right/1.csv"):
        lines = (tmp_path / name).read_text().splitlines()
        (tmp_path / name).write_text("\n".join([lines[0], lines[9], *lines[1:]]))
    data = load_recordings(load_event_set(tmp_path, "train"), BINNING)
    said = {notice.code: notice.text for notice in data.notices}
    assert list(said) == ["own-split", "sensor-guessed", "times-sorted"]
    assert said["times-sorted"].startswith("times were not in order in 2 of 8 training recordings (first: right/1.csv)")
    assert data.facts["notes"] == [said["own-split"], said["sensor-guessed"]]


def test_only_the_recordings_that_are_used_are_counted(tmp_path):
    bars(tmp_path)
    data = load_recordings(load_event_set(tmp_path, "train"), BINNING, first=3)
    assert data.facts["class_counts"] == {"left": 2, "right": 1}


def test_one_recording_of_one_class_and_no_test_recordings(tmp_path):
    bars(tmp_path, kinds=("left",), count=1)
    train, test = (load_recordings(load_event_set(tmp_path, split), BINNING) for split in ("train", "test"))
    assert "one-class" in codes(train.notices)
    assert codes(test.notices) == ["own-split", "empty-split"]
    assert test.facts["class_counts"] == {"left": 0}


def loaded(config, binning=None):
    return tuple(load_inputs(config, part, time_steps=3, binning=binning) for part in ("train", "test"))


def test_a_folder_with_equal_training_and_test_recordings_is_found_out(tmp_path):
    bars(tmp_path / "train")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    train, test = loaded(TrainConfig(data=str(tmp_path)), BINNING)
    both = (train.values, train.labels), (test.values, test.labels)
    (repeated,) = [one for one in compare_splits(*both, train.classes) if one.code == "repeated-inputs"]
    assert repeated.figure == len(test.labels) == 10


def test_images_are_checked_and_the_bundled_ones_are_in_order():
    train, test = loaded(TrainConfig(data="digits"))
    assert train.notices == test.notices == ()
    assert sum(train.facts["class_counts"].values()) == len(train.labels) == 1442
    assert train.facts["class_counts"]["7"] == int((train.labels == 7).sum())
    assert compare_splits((train.values, train.labels), (test.values, test.labels), train.classes) == ()
    few = load_inputs(TrainConfig(data="digits"), "test", time_steps=3, first=1)
    assert few.facts["class_counts"] == {name: int(name == "5") for name in map(str, range(10))}


def test_blank_and_uneven_images_are_said_for_those_that_are_used(monkeypatch):
    images = torch.rand(30, 1, 8, 8) + 0.1
    images[[2, 25]] = 0
    labels = torch.tensor([0] + [1] * 20 + [0] * 9)
    pictures = ImageSet("digits", "test", images, labels, ("cat", "dog"), "made here", "0" * 64)
    monkeypatch.setattr("spikeflip.runs.inputs.load_images", lambda *_, **__: pictures)
    whole, few = (load_inputs(TrainConfig(data="digits"), "test", time_steps=3, first=n) for n in (None, 21))
    assert {one.code: one.figure for one in whole.notices} == {"empty-input": 2}
    assert {one.code: one.figure for one in few.notices} == {"empty-input": 1, "uneven-classes": 20}
    assert "1 of 21 test images are blank (first: number 2)" in few.notices[0].text


# --- labels and their recordings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,4000,4991", None),
        ("1,3991,5102", None),  # 111 of 1,111 µs are missing
        ("1,3991,5103", ("the label ends at 5,103 µs and the recording at 4,990 µs", 112)),
        ("1,4990,5000", ("the label ends at 5,000 µs and the recording at 4,990 µs", 9)),
        (
            "1,4991,5500",
            ("the label of 4,991 to 5,500 µs is of no part of the recording, which has 1,000 to 4,990", 509),
        ),
        ("1,500,1000", ("the label of 500 to 1,000 µs is of no part of the recording, which has 1,000 to 4,990", 500)),
        ("1,500,1001", None),  # nothing moved at first
    ],
)
def test_a_label_beyond_its_recording_is_said(tmp_path, row, said):
    found = gestures(tmp_path, f"{row}\n").read(0)
    assert found.notices == (() if said is None else (Notice("label-beyond", *said),))


def test_a_label_beyond_is_said_beside_what_the_reader_said(tmp_path):
    gestures(tmp_path, "1,1000,9000\n")
    events = [(pixel(1, 1, 1), 1000), (pixel(1, 1, 1, valid=0), 1001), (pixel(1, 1, 1), 2000)]
    (tmp_path / "user01.aedat").write_bytes(AEDAT3 + packet(1, events))
    found = load_event_set("dvsgesture", "train", root=tmp_path).read(0)
    assert codes(found.notices) == ["invalid-events", "label-beyond"]


def test_labels_of_a_recording_without_events_are_of_an_empty_one(tmp_path):
    gestures(tmp_path, "1,1000,2000\n")
    (tmp_path / "user01.aedat").write_bytes(AEDAT3)
    data = load_recordings(load_event_set("dvsgesture", "train", root=tmp_path), BINNING)
    assert codes(data.notices) == ["empty-input"]


def test_a_label_of_which_a_part_was_recorded_is_enough(tmp_path):
    data = load_recordings(gestures(tmp_path, "1,4000,9000\n"), BINNING)
    assert codes(data.notices) == ["label-beyond", "one-bin"]


def test_labels_beyond_are_counted_and_a_file_of_no_others_is_refused(tmp_path):
    data = load_recordings(
        gestures(tmp_path / "a", "1,1000,2000\n2,5000,6000\n3,7000,8000\n"), Binning(2, time_bin=0.1)
    )
    said = {notice.code: notice for notice in data.notices}
    assert said["label-beyond"].figure == said["empty-input"].figure == 2
    assert "in 2 of 3 training recordings (first: user01/02_right_hand_wave.aedat)" in said["label-beyond"].text
    others = gestures(tmp_path / "b", "1,6000,7000\n2,5000,6000\n")
    with pytest.raises(SpikeflipError, match=r"none of the labels of .*user01\.aedat is of a part of that recording"):
        load_recordings(others, Binning(2, time_bin=0.1))
    assert len(load_recordings(others, Binning(2, time_bin=0.1), first=1).labels) == 1  # the rest was not looked at


def test_cut_gestures_are_said_together(tmp_path):
    rows = "1,1000,1600\n2,1500,2100\n3,2000,2200\n"
    (said,) = [one for one in load_recordings(gestures(tmp_path, rows), BINNING).notices if one.code == "gesture-cut"]
    assert said == Notice(
        "gesture-cut",
        "2 gestures end after the next starts and are cut there, the first of user01_labels.csv: class 1 ends at 1600 "
        "µs, after the next starts: cut at 1500 µs",
        2,
    )


def test_a_trial_in_both_lists_is_found_out(tmp_path):
    gestures(tmp_path, "1,1000,1600\n2,1600,2100\n")
    gestures(tmp_path, "1,1000,1600\n2,1600,2100\n", "test")
    train, test = loaded(TrainConfig(data="dvsgesture", root=tmp_path), Binning(2, time_bin=0.1))
    both = (train.values, train.labels), (test.values, test.labels)
    assert {one.code: one.figure for one in compare_splits(*both, train.classes)}["repeated-inputs"] == 2


# --- judge ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path):
    network = SpikingNetwork("2C3-2FC", (2, 4, 4), time_steps=3, neuron=LIF(0.3, 0.25))
    with torch.no_grad():
        for weight in network.weights:
            weight.fill_(1)  # it fires for every event
    facts = {
        "binning": {"steps": 3, "rule": "time", "time_bin": 5, "height": 4, "width": 4},
        "classes": ["left", "right"],
    }
    save_checkpoint(network, tmp_path / "victim", facts)
    return tmp_path / "victim"


def test_judge_says_the_same_of_files(run, victim, tmp_path):
    write(tmp_path / "in" / "a.npz", at([0, 6000, 7000]))
    write(tmp_path / "in" / "b.npz", at([1, 2, 20_000, 30_000]))
    write(tmp_path / "in" / "c.npz", at([]))
    (tmp_path / "in" / "notes.txt~").touch()
    answers = judge_files(victim, [tmp_path / "in"])
    of_set = folder_of_recordings(tmp_path / "in", ("left", "right")).notices
    assert codes(of_set) == ["other-files"]
    for answer, expected in zip(answers, ([], ["one-bin", "events-outside"], ["empty-input"]), strict=True):
        assert [one["code"] for one in answer["notices"]] == [*codes(of_set), *expected]
    assert answers[0]["notices"] == as_json(of_set)
    status, out, _ = run("judge", "--victim", victim, tmp_path / "in", "--json")
    assert (status, json.loads(out)) == (0, json.loads(json.dumps(answers)))

    _, out, _ = run("judge", "--victim", victim, tmp_path / "in")
    lines = [line for line in out.splitlines() if line.startswith("note: ")]
    assert len(lines) == 4
    assert f"note: no event lies in the bins in 1 of 3 recordings (first: {tmp_path}/in/c.npz)" in out
    assert "note: 1 other file in" in out


def test_judge_sees_recordings_of_a_clock(run, victim, tmp_path):
    (tmp_path / "clock.csv").write_text("t,x,y,p\n" + "".join(f"{UNIX + 100 * n},{n % 4},1,1\n" for n in range(150)))
    (tmp_path / "zero.csv").write_text("t,x,y,p\n" + "".join(f"{100 * n},{n % 4},1,1\n" for n in range(150)))
    clock, zero = judge_files(victim, [tmp_path / "clock.csv", tmp_path / "zero.csv"], sensor="4x4")
    assert clock["rates"] == zero["rates"]
    assert (clock["events_outside"], [one["code"] for one in clock["notices"]]) == (0, ["absolute-clock"])
    _, out, _ = run("judge", "--victim", victim, tmp_path / "clock.csv", "--sensor", "4x4")
    assert f"note: {tmp_path}/clock.csv: times are those of a clock, the first at 1,600,000,000,000,000 µs" in out
