"""What is said of data when they are loaded: each notice at the border from which on it is said, and not before."""

import json
import re
import shutil
import struct

import numpy as np
import pytest
import torch
from event_sets import aedat2, write
from raw_files import AEDAT3, packet, pixel

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.data import (
    Binning,
    ImageSet,
    Recording,
    bin_events,
    folder_of_recordings,
    load_event_set,
    read_recording,
)
from spikeflip.notices import Notice, as_json
from spikeflip.runs import judge_files
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.data_checks import (
    FEW_TESTED,
    UNEVEN,
    Seen,
    check_images,
    check_labels,
    check_outside,
    check_repeats,
    class_counts,
    compare_splits,
    together,
)
from spikeflip.runs.inputs import load_inputs, load_recordings
from spikeflip.snn.checkpoint import save_checkpoint

UNIX = 1_600_000_000_000_000
BINNING = Binning(3, time_bin=5)


def codes(notices):
    return [notice.code for notice in notices]


def at(times, side=4, **options):
    """A recording with an event at each of these times, on pixels in a row."""
    n = len(times)
    return Recording.from_columns(times, np.arange(n) % side, [0] * n, [1] * n, height=side, width=side, **options)


def seen(times, binning=BINNING):
    return Seen.of("a", bin_events(at(times), binning))


# --- one recording ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "binning", "expected"),
    [
        ([], BINNING, "empty-input"),
        ([15_000], BINNING, "empty-input"),
        ([14_999], BINNING, None),
        ([-2, -1], BINNING, "empty-input"),
        ([0, 4_999], BINNING, "one-bin"),
        ([0, 4_999, 15_000], BINNING, "one-bin"),
        ([0, 15_000], BINNING, None),
        ([0, 5_000], BINNING, None),
        ([0, 4_999], Binning(1, time_bin=5), None),
        ([7, 7], Binning(3, "duration"), "one-bin"),
        ([7, 8], Binning(3, "duration"), None),
        ([7] * 9, Binning(3, "events"), "one-bin"),
        (range(993), BINNING, "one-bin"),  # frame numbers where µs are wanted
    ],
    ids=str,
)
def test_a_recording_of_which_nothing_or_one_bin_is_seen(times, binning, expected):
    found = seen(times, binning)
    assert codes(found.notices) == ([expected] if expected else [])
    assert (found.events, found.outside) == (len(times), sum(not 0 <= t < 15_000 for t in times))


def test_what_is_seen_of_a_recording_is_said_in_figures():
    assert seen([20_000, 30_000]).notices[0].text == (
        "none of its 2 events lies in the bins: they are at 20,000 to 30,000 µs, and the bins at 0 to 15,000 µs; the "
        "victim sees nothing"
    )
    all_seen = "all 2 events that are seen lie in 1 of 3 bins"
    assert seen([10, 20, 15_000]).notices == (
        Notice("one-bin", f"{all_seen}: times are taken as µs; are they frame numbers?", 2),
    )


@pytest.mark.parametrize(("outside", "said"), [(0, False), (49, False), (50, True), (100, True)])
def test_events_outside_are_said_from_half_of_them_on(outside, said):
    found = check_outside(100, outside, "3 bins of 5 ms", " of the test recordings")
    assert codes(found) == ["events-outside"] * said
    if said:
        assert found[0].figure == outside / 100
        assert found[0].text.startswith(
            f"{outside}.0% of 100 events of the test recordings lie outside the bins (3 bins"
        )
    assert check_outside(0, 0, "3 bins of 5 ms") == ()


# --- many recordings --------------------------------------------------------------------------------------------------


def test_notices_of_many_recordings_are_one_a_kind():
    def late(n):
        return Notice("times-sorted", f"{n} events were earlier than those before them: sorted by time", n)

    other, same = Notice("other-ending", "the file is named .bin, but holds npz"), Notice("own-split", "every fifth")
    found = together(
        [("a", [same]), ("b", [late(2), same]), ("c", [other, late(3), late(4)]), ("d", [late(5)])], "test recordings"
    )
    assert [(notice.code, notice.text, notice.figure) for notice in found] == [
        (
            "times-sorted",
            "times were not in order in 3 of 4 test recordings (first: b): events were sorted by time",
            3,
        ),
        (
            "other-ending",
            "the ending does not fit the content in 1 of 4 test recordings (first: c): the content counts",
            1,
        ),
        ("own-split", "every fifth", None),
    ]
    assert together([("b", [late(2), same])]) == (Notice("times-sorted", f"b: {late(2).text}", 2), same)
    assert together([]) == ()
    long = together([("x" * 1000, [other]), ("y", [])])[0].text
    assert len(long) < 250


def readings(folder):
    """Recordings of which a reader, or the bins, have something to say, by what they say."""
    (folder / "unsorted.csv").write_text("t,x,y,p\n9,1,1,0\n5,1,1,0\n6000,33,33,1\n")
    (folder / "clock.csv").write_text(f"t,x,y,p\n{UNIX},1,1,0\n{UNIX + 6000},33,33,1\n")
    (folder / "invalid.aedat").write_bytes(
        AEDAT3 + packet(1, [(pixel(1, 1, 1), 5), (pixel(1, 1, 1, valid=0), 6), (pixel(1, 2, 1), 9000)])
    )
    aedat2(folder / "signal.aedat", [(50, 1, 2, 1), (9000, 1, 2, 1)])
    with (folder / "signal.aedat").open("ab") as file:
        file.write(struct.pack(">Ii", 1 << 15, 60))
    np.save(folder / "tonic.npy", np.array([[1, 2, 1, 40.0], [3, 4, 0, 52.0]]))
    npz = write(folder / "a.npz", at([0, 6000]))
    shutil.copy(npz, folder / "npz.bin")
    read = {
        "times-sorted": read_recording(folder / "unsorted.csv"),
        "sensor-guessed": read_recording(folder / "unsorted.csv"),
        "absolute-clock": read_recording(folder / "clock.csv"),
        "invalid-events": read_recording(folder / "invalid.aedat"),
        "external-signals": read_recording(folder / "signal.aedat"),
        "milliseconds": read_recording(folder / "tonic.npy"),
        "sensor-overruled": read_recording(npz, height=9, width=9),
        "other-ending": read_recording(folder / "npz.bin"),
        "empty-input": at([]),
        "one-bin": at([1, 2]),
        "label-beyond": gestures(folder / "g", "1,1000,1100\n2,5000,6000\n").read(1),
    }
    return {code: Seen.of("a", bin_events(recording, BINNING)).notices for code, recording in read.items()}


def test_every_notice_of_a_recording_has_a_sentence_for_many(tmp_path):
    found = readings(tmp_path) | {"events-outside": check_outside(2, 1, "3 bins")}
    for code, notices in found.items():
        assert code in codes(notices)
        for notice in together([("a", notices), ("b", []), ("c", notices)]):
            assert re.search(r" in 2 of 3 recordings \(first: a\)", notice.text), notice
            assert notice.figure == 2


# --- classes ----------------------------------------------------------------------------------------------------------


def test_classes_are_counted_by_name_and_those_nobody_says_are_not():
    labels = torch.tensor([2, -1, 0, 2, -1])
    assert class_counts(labels, ("a", "b", "c")) == {"a": 1, "b": 0, "c": 2}
    assert class_counts(torch.tensor([], dtype=torch.int64), ("a",)) == {"a": 0}


@pytest.mark.parametrize(
    ("labels", "classes", "code", "figure"),
    [
        ([3] * 5, "0123", "one-class", 1),
        ([3], "0123", None, None),  # n = 1 says it
        ([0], "0", "one-class", 1),
        ([3, 3, -1], "0123", "one-class", 1),
        ([-1, -1], "01", None, None),
        ([], "01", None, None),
        ([0] + [1] * UNEVEN, "012", "uneven-classes", UNEVEN),
        ([0] + [1] * (UNEVEN - 1), "012", None, None),
        ([0, 0] + [1] * (2 * UNEVEN), "01", "uneven-classes", UNEVEN),
        ([0, 1, 2], "012", None, None),
    ],
    ids=str,
)
def test_one_class_and_uneven_ones_are_said(labels, classes, code, figure):
    found = check_labels(torch.tensor(labels, dtype=torch.int64), tuple(classes), "training images")
    assert codes(found) == ([code] if code else [])
    assert [notice.figure for notice in found] == ([figure] if code else [])


def test_the_sentences_on_classes_name_them():
    (one,) = check_labels(torch.tensor([3] * 5), tuple("0123"), "test images")
    assert one.text == "all 5 test images are of class '3': rates say nothing of the others"
    (uneven,) = check_labels(torch.tensor([0] * 30 + [1] * 3 + [2] * 27), ("cat", "dog", "owl"), "recordings")
    assert uneven.text == (
        "class counts of the recordings differ much, from 3 of 'dog' to 30 of 'cat': answering 'cat' always would be "
        "right in 50%"
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_blank_images_are_counted(kind):
    images = torch.zeros(4, 1, 2, 2).to(kind)
    images[0, 0, 1, 1] = images[3] = 1
    (blank,) = check_images(images, "test images")
    assert (blank.code, blank.figure) == ("empty-input", 2)
    assert blank.text.startswith("2 of 4 test images are blank (first: number 1)")
    assert check_images(images[[0, 3]], "test images") == check_images(images[:0], "test images") == ()


# --- two splits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_test_inputs_that_are_training_inputs_are_counted_cell_for_cell(kind):
    random = torch.Generator().manual_seed(0)
    train = torch.randint(0, 2, (700, 3, 2, 5, 5), generator=random).to(kind)
    test = torch.randint(0, 2, (40, 3, 2, 5, 5), generator=random).to(kind)
    assert check_repeats(train, test) == ()
    test[[0, 7, 39]] = train[[699, 3, 3]]
    (found,) = check_repeats(train, test)
    assert (found.code, found.figure) == ("repeated-inputs", 3)
    assert found.text.startswith("3 of 40 test inputs are in the training set as well")
    test[7, 0, 0, 0, 0] = 1 - test[7, 0, 0, 0, 0]
    assert check_repeats(train, test)[0].figure == 2
    assert check_repeats(train[:600], test)[0].figure == 1


def test_blank_inputs_are_all_alike_and_no_repeats():
    blank = torch.zeros(3, 1, 4, 4)
    assert check_repeats(blank, blank) == ()
    assert check_repeats(blank[:0], blank) == check_repeats(blank, blank[:0]) == ()


def split(labels):
    """Inputs that are all different, of these labels."""
    return torch.rand(len(labels), 2, 2), torch.tensor(labels, dtype=torch.int64)


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([0, 1] * 10, [0, 1] * 10, {}),
        ([0, 0] * 10, [0, 1] * 10, {"class-not-trained": 1}),
        ([0, 1] * 10, [1, 1] * 10, {"class-not-tested": 1}),
        ([0, 1] * 10, [], {}),
        ([0, 1, 1], [0, 1] * 10, {"few-training-inputs": 1}),
        ([0, 1], [0, 1] * 10, {"few-training-inputs": 2}),
        ([0, 1] * 10, [0, 1] * 9 + [1], {"few-test-inputs": FEW_TESTED - 1}),
        ([0], [0], {"class-not-trained": 1, "class-not-tested": 1, "few-training-inputs": 1, "few-test-inputs": 1}),
    ],
    ids=str,
)
def test_classes_that_one_split_lacks_and_splits_of_few_inputs(train, test, expected):
    found = compare_splits(split(train), split(test), ("cat", "dog"))
    assert {notice.code: notice.figure for notice in found} == expected


def test_comparing_splits_finds_repeats_and_names_classes():
    train, test = split([0] * 40), split([0] * 30)
    test[0][5] = train[0][20]
    found = {notice.code: notice for notice in compare_splits(train, test, ("cat", "dog", "owl", "bee", "ant"))}
    assert found["repeated-inputs"].figure == 1
    assert found["class-not-tested"].text == (
        "there is no test input for 4 of 5 classes ('dog', 'owl', 'bee', …): the accuracy says nothing of them"
    )


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


def gestures(folder, rows, split="train"):
    """DVS128 Gesture with one recording, an event each 10 µs at 1000 to 4990 µs of its clock."""
    n = 400
    recording = Recording.from_columns(
        10 * np.arange(n), np.arange(n) % 128, [5] * n, [1] * n, height=128, width=128, t0=1000
    )
    write(folder / "user01.aedat", recording)
    (folder / "user01_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n{rows}")
    (folder / f"trials_to_{split}.txt").write_text("user01.aedat\n")
    return load_event_set("dvsgesture", split, root=folder)


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
