"""Every format written and read back, recognised, and refused where it must be."""

import errno
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_files import AEDAT3, array_file, events_of, one, packet, pixel

from spikeflip import SpikeflipError
from spikeflip.data import FORMATS, Recording, load_event_set, read_recording, write_recording
from spikeflip.data.formats import files, prophesee

WRITABLE = [name for name, entry in FORMATS.items() if entry.write is not None]
CLOCKS = ("DAT", "EVT2", "EVT3")
"""Formats with the camera's times where there is room for them."""


# --- round trips ------------------------------------------------------------------------------------------------------


@st.composite
def recordings(draw):
    n = draw(st.integers(0, 40))
    height, width = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.booleans()):
        t = random.integers(0, draw(st.sampled_from([1, 50, 10**4, 10**6, 2**24])), n)
    else:  # over what formats have bits for
        pauses = draw(st.sampled_from([[1, 100, 5000], [1, 5000, 300_000, 5_000_000]]))
        t = draw(st.sampled_from([0, 2**24 - 5000])) + np.cumsum(random.choice(pauses, n))
    columns = random.integers(0, width, n), random.integers(0, height, n), random.integers(0, 2, n)
    t0 = draw(st.sampled_from([0, 17, 5_000_000, (1 << 31) - 5000, 1 << 33]))
    return Recording.from_columns(np.sort(t), *columns, height=height, width=width, t0=t0)


@pytest.mark.parametrize("name", WRITABLE)
@given(recording=recordings())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(name, recording):
    if name == "AEDAT4":
        pytest.importorskip("faery", reason="faery writes this format")
    entry = FORMATS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{entry.endings[0]}"
        said = write_recording(recording, path, format=name)
        again = read_recording(path)
        assert [file.name for file in Path(folder).iterdir()] == [path.name]
    assert again.format == name
    assert events_of(again) == events_of(recording)
    assert again.t0 == (recording.t0 if entry.holds_t0 else 0)
    late = name in CLOCKS and len(recording) and recording.t0 + int(recording.events["t"][-1]) > entry.last_clock
    sensors = [(one.height, one.width) for one in (recording, again)]
    assert sum("t0" in sentence for sentence in said) == (recording.t0 != 0 and (not entry.holds_t0 or bool(late)))
    assert sum("the sensor's size" in sentence for sentence in said) == (sensors[0] != sensors[1])
    assert not entry.holds_sensor or sensors[0] == sensors[1]


def test_every_format_becomes_every_other(tmp_path):
    """Ten formats, each to the nine others: the events in their order, and the clock where both hold it."""
    pytest.importorskip("faery", reason="faery writes AEDAT4")
    random = np.random.default_rng(5)
    columns = (random.integers(0, 34, 500), random.integers(0, 34, 500), random.integers(0, 2, 500))
    times = np.sort(random.integers(0, 20_000_000, 500))
    recording = Recording.from_columns(times, *columns, height=34, width=34, t0=5_000_011)
    for source in WRITABLE:
        first = tmp_path / f"a{FORMATS[source].endings[0]}"
        write_recording(recording, first, format=source)
        held = read_recording(first, height=34, width=34)
        assert held.t0 == (recording.t0 if FORMATS[source].holds_t0 else 0)
        for target in set(WRITABLE) - {source}:
            second = tmp_path / f"b{FORMATS[target].endings[0]}"
            said = write_recording(held, second, format=target)
            found = read_recording(second, height=34, width=34)
            assert np.array_equal(found.events, recording.events), (source, target)
            assert found.t0 == (held.t0 if FORMATS[target].holds_t0 else 0)
            assert bool(said) == (held.t0 != found.t0)


def test_real_nmnist_comes_back_byte_for_byte(real_recordings, tmp_path):
    for path in sorted((real_recordings / "NMNIST" / "Test").rglob("*.bin"))[::7]:
        write_recording(read_recording(path), tmp_path / "again.bin")
        assert (tmp_path / "again.bin").read_bytes() == path.read_bytes()


def test_real_gestures_survive_aedat3(real_recordings, tmp_path):
    gestures = load_event_set("dvsgesture", "train", root=real_recordings)
    singles = sorted((real_recordings / "DvsGesture_bin").glob("*.bin"))
    assert len(gestures) == len(singles) == 10
    for index, single in enumerate(singles):
        gesture, other = gestures.read(index), read_recording(single)
        assert np.array_equal(gesture.events, other.events)
        write_recording(gesture, tmp_path / "gesture.aedat")
        again = read_recording(tmp_path / "gesture.aedat")
        assert np.array_equal(again.events, gesture.events)
        assert (again.t0, again.height, again.width) == (gesture.t0, 128, 128)


# --- recognised by content --------------------------------------------------------------------------------------------


def test_content_counts_more_than_the_ending(tmp_path):
    write_recording(one(), tmp_path / "a.npz")
    write_recording(one(t0=9), tmp_path / "a.aedat")
    (tmp_path / "a.npz").rename(tmp_path / "b.bin")
    (tmp_path / "a.aedat").rename(tmp_path / "b.npz")
    archive, packets = read_recording(tmp_path / "b.bin"), read_recording(tmp_path / "b.npz")
    assert (archive.format, archive.notes) == ("npz", ("the file is named .bin, but holds npz",))
    assert (packets.format, packets.notes) == ("AEDAT 3.1", ("the file is named .npz, but holds AEDAT 3.1",))
    for name in ("c.bin", "c.npz", "c"):
        (tmp_path / name).write_text("x,y,on,t\n1,2,1,5\n")
        assert read_recording(tmp_path / name).format == "csv"


@pytest.mark.parametrize("start", [[37, 32, 0x80, 0, 1], [37, 5, 0, 0, 9], list(b"PK\x03\x04\x05"), list(b"#!AER")])
def test_a_bin_may_begin_like_another_format(tmp_path, start):
    (tmp_path / "a.bin").write_bytes(bytes(start))
    recording = read_recording(tmp_path / "a.bin")
    assert (recording.format, events_of(recording)[0][1:3]) == ("N-MNIST bin", tuple(start[:2]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", bytes(range(256)), "no event recording of a known format"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "no event recording of a known format"),
        ("a.npz", b"PK\x03\x04 not a zip", "is a damaged .npz archive"),
        ("a.npz", b"", "no event recording of a known format"),
        ("a.aedat", AEDAT3 + packet(1, [(pixel(1 << 13, 1, 1), 5)]), "outside the sensor of 128 × 128, the first at x"),
        ("a.aedat", AEDAT3.replace(b"DVS128", b"x") + packet(1, [(1, 1)], overflow=1 << 31), "overflows of time"),
        ("a.csv", b"t,x,y,p\n" + b"1,1,1,0\n" * 20_000 + b"2,1,1,-1\n", "polarities are -1, 0"),
        ("a.csv", b"t,x,y,p\n" + b"1,1,1,0\n" * 20_000 + b"2.5,1,1,1\n", "from row 16,384 on"),
        (
            "a.npy",
            array_file("'<i8'", f"({'9' * 4000}, {'9' * 4000})"),
            "a side beyond 64 bits",
        ),
        ("a.npy", array_file("'<i8'", f"(0, 0x{'f' * 4000})"), "a side beyond 64 bits"),
        ("a.npy", array_file("'<i8'", "(True, 4)"), "sides are whole numbers"),
        ("a.npy", array_file("'<i8'", "(True,)"), "sides are whole numbers"),
        ("a.npy", array_file("'<i8'", "(False, 4)"), "sides are whole numbers"),
        ("a.npy", array_file("'<i8'", f"(-0x{'f' * 4000},)"), "a side beyond 64 bits"),
        ("a.csv", b"t,x,y,p\n1,1,1,1" + b",0" * 50_000 + b"\n", "has a line of 65,536 characters or more"),
        ("a.npy", array_file("'<i8'", "(" + "9999, " * 1500 + ")"), "0 of the 1,208,925,819,614,629,174,706,176 bytes"),
        ("a.npy", array_file("'<i8'", "(1000000000000,)"), "0 of the 8,000,000,000,000 bytes its header promises"),
        ("a.npy", array_file("'O'", "(1,)"), "plain numbers in C order are read"),
        ("a.bin", b"1234567", "7 bytes, which is not a whole number of 5-byte events"),
        ("a.aedat", b"#!AER-DAT3.1\r\nno end", "no line #!END-HEADER"),
        ("a.aedat", b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + packet(1, [(1, 1)])[:-1], "ends in the middle of 1 events"),
        ("a.aedat", b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + b"12345", "ends in the middle of a packet's header"),
        ("a.aedat", b"#!AER-DAT2.0\r\n" + b"1234567", "not a whole number of 8-byte events"),
        ("a.aedat", b"#!AER-DAT2.0\r\n" + struct.pack(">Ii", 1 << 20, 0), "address 0x100000, which is no DVS128 pixel"),
        ("a.csv", b"t,x,y\n1,2,3\n", "no column 'p'"),
        ("a.csv", b"t,x,y,p\n1,2,3,one\n", "not a table of whole numbers"),
        ("a.csv", b"t,x,y,p\n1,2,3,7\n", "polarities are 7"),
        ("a.npy", b"\x93NUMPY\x01\x00", "damaged array"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SpikeflipError) as caught:
        read_recording(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_archives_cannot_run_code_or_promise_too_much(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, t=np.array([object()]), x=[1], y=[1], p=[1])
    with pytest.raises(SpikeflipError, match=r"damaged array|plain numbers|cannot hold"):
        read_recording(path)
    header = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117)
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name in "txyp":
            archive.writestr(f"{name}.npy", header + b"\n" + bytes(8))
    with pytest.raises(SpikeflipError, match="more than it can hold"):
        read_recording(path)


def test_missing_files_and_half_a_sensor_are_refused(tmp_path):
    with pytest.raises(SpikeflipError, match="is no file"):
        read_recording(tmp_path / "a.bin")
    with pytest.raises(SpikeflipError, match="is a folder"):
        read_recording(tmp_path)
    write_recording(one(), tmp_path / "a.bin")
    with pytest.raises(SpikeflipError, match="give both its sides"):
        read_recording(tmp_path / "a.bin", height=34)
    with pytest.raises(SpikeflipError, match=r"a\.bin: 1 of 1 events lie outside the sensor of 2 × 2"):
        read_recording(tmp_path / "a.bin", height=2, width=2)
    assert read_recording(tmp_path / "a.bin", height=100, width=90).width == 90
    assert read_recording(tmp_path / "a.bin", height=100, width=90).notes == ()
    write_recording(one(), tmp_path / "a.npz")
    overruled = read_recording(tmp_path / "a.npz", height=100, width=90)
    assert (overruled.height, overruled.width) == (100, 90)
    assert overruled.notes == ("the file says that the sensor is 34 × 34: taken as 90 × 100, as given",)


# --- refused before a file is opened ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "recording", "message"),
    [
        ("N-MNIST bin", one(t=1 << 32), "an event at 4294967296 µs does not fit"),
        ("N-MNIST bin", one(t=-1), "an event at -1 µs does not fit"),
        ("N-MNIST bin", one(side=256), "256 × 256 does not fit"),
        ("AEDAT 3.1", one(t=-5, t0=4), "an event at -1 µs does not fit"),
        ("AEDAT 3.1", one(side=1 << 16), "does not fit AEDAT 3.1"),
        ("EVT3", one(t=1 << 40), "an event at 1099511627776 µs does not fit EVT3"),
        ("EVT2", one(side=4096), "does not fit EVT2"),
        ("EVT2", one(t0=-1), "hold none below 0"),
        ("DAT", one(t=1 << 32), "does not fit DAT"),
        ("ES", one(t=1 << 34), "does not fit ES"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_no_file_opened(monkeypatch, tmp_path, name, recording, message):
    path = tmp_path / f"a{FORMATS[name].endings[0]}"
    path.write_text("kept")
    monkeypatch.setattr(files, "whole_path", lambda *_, **__: pytest.fail("a file was opened"))
    with pytest.raises(SpikeflipError) as caught:
        write_recording(recording, path, format=name)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(path.name, "kept")]


def test_the_row_that_means_overflow_is_no_pixel(tmp_path):
    with pytest.raises(SpikeflipError, match="256 × 240 at most"):
        write_recording(Recording.from_columns([1], [1], [240], [1], height=241, width=200), tmp_path / "a.bin")


def test_unknown_formats_and_folders_are_refused(tmp_path):
    with pytest.raises(SpikeflipError, match=r"a\.mp4 cannot be written: choose one of N-MNIST bin"):
        write_recording(one(), tmp_path / "a.mp4")
    with pytest.raises(SpikeflipError, match="format 'mp4' cannot be written"):
        write_recording(one(), tmp_path / "a.bin", format="mp4")
    write_recording(one(), tmp_path / f"{'x' * 240}.bin")
    with pytest.raises(SpikeflipError, match="in a folder that exists"):
        write_recording(one(), tmp_path / "no" / "a.bin")


@pytest.mark.parametrize("ending", [".dat", ".raw"])
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch, ending):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prophesee, "on_clock", full)
    with pytest.raises(SpikeflipError, match="No space left on device"):
        write_recording(one(), tmp_path / f"a{ending}")
    assert list(tmp_path.iterdir()) == []


def test_without_faery_the_install_line_is_named_where_it_writes(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faery", None)
    with pytest.raises(SpikeflipError, match=r"AEDAT4, which faery writes: pip install 'spikeflip\[events\]'"):
        write_recording(one(), tmp_path / "a.aedat4")
    assert list(tmp_path.iterdir()) == []
    for ending in (".es", ".dat", ".raw"):
        write_recording(one(), tmp_path / f"a{ending}")


@pytest.mark.parametrize(
    "start", [b"Event Stream", b"#!AER-DAT4.0\r\n", b"% evt 2.0\n", b"% evt 3.0\n", b"% Version 2\n"]
)
def test_damaged_camera_files_are_one_sentence(tmp_path, start):
    path = tmp_path / "a"
    path.write_bytes(start + b"\xff\x00damage" * 9)
    try:
        read_recording(path)
    except SpikeflipError as error:
        assert "\n" not in str(error)  # noqa: PT017 - some of these are readable
