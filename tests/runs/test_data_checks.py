"""What is said of data when they are loaded: each notice at the border from which on it is said, and not before."""

import re
import shutil
import struct

import numpy as np
import pytest
import torch
from checked_recordings import BINNING, UNIX, at, codes, gestures
from event_sets import aedat2, write
from raw_files import AEDAT3, packet, pixel

from spikeflip.data import (
    Binning,
    bin_events,
    read_recording,
)
from spikeflip.notices import Notice
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
        ([0, 5_000], Binning(9, time_bin=5), "few-bins"),
        ([0, 5_000], Binning(8, time_bin=5), None),
    ],
    ids=str,
)
def test_a_recording_of_which_nothing_or_one_bin_is_seen(times, binning, expected):
    found = seen(times, binning)
    assert codes(found.notices) == ([expected] if expected else [])
    end = 5000 * binning.steps
    assert (found.events, found.outside) == (len(times), sum(not 0 <= t < end for t in times))


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
