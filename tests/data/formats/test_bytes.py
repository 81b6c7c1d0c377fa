"""Every format decoded from hand-written bytes."""

import struct
import tracemalloc

import numpy as np
import pytest
from raw_files import AEDAT3, events_of, packet, pixel

from spikeflip import SpikeflipError
from spikeflip.data import Recording, read_recording, write_recording


def test_nmnist_bin_is_decoded_from_bytes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([3, 2, 0x80, 0, 5]) + bytes([33, 0, 0x7F, 0xFF, 0xFF]))
    recording = read_recording(path)
    assert events_of(recording) == [(5, 3, 2, True), (8_388_607, 33, 0, False)]
    assert (recording.height, recording.width, recording.t0) == (34, 34, 0)


def test_nmnist_overflow_moves_the_clock_on_in_both_directions(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([1, 1, 0, 0, 7]) + bytes([0, 240, 0, 0, 0]) * 2 + bytes([2, 2, 0x80, 0, 9]))
    assert events_of(read_recording(path)) == [(7, 1, 1, False), (2 * 8192 + 9, 2, 2, True)]
    late = Recording.from_columns([0, 8_388_608, 20_000_000], [1, 2, 3], [4, 5, 6], [1, 0, 1], height=34, width=34)
    write_recording(late, path)
    raw = path.read_bytes()
    assert raw[5:10][1] == 240
    assert events_of(read_recording(path)) == events_of(late)
    tonic = pytest.importorskip("tonic.io", reason="compares with tonic where it is installed")
    theirs = tonic.read_mnist_file(str(path), dtype=np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))
    assert theirs["t"].tolist() == [0, 8_388_608, 20_000_000]


def test_aedat3_clock_holds_where_every_packet_has_overflowed(tmp_path):
    path = tmp_path / "a.aedat"
    for overflow in (1, 2, 1000):  # 2³¹ still fits the file's 32 bits, 2³² does not
        path.write_bytes(AEDAT3 + packet(1, [(pixel(1, 2, 1), 5), (pixel(3, 4, 0), 2**31 - 1)], overflow=overflow))
        recording = read_recording(path)
        assert recording.t0 == overflow * 2**31 + 5
        assert events_of(recording) == [(0, 1, 2, True), (2**31 - 6, 3, 4, False)]


def test_aedat3_pixels_have_15_bits(tmp_path):
    corner = Recording.from_columns([0], [32_767], [32_766], [1], height=1 << 15, width=1 << 15)
    write_recording(corner, tmp_path / "a.aedat")
    raw = (tmp_path / "a.aedat").read_bytes()
    assert raw.endswith(struct.pack("<II", 32_767 << 17 | 32_766 << 2 | 3, 0))
    assert events_of(read_recording(tmp_path / "a.aedat")) == events_of(corner)


def test_aedat3_packets_may_have_room_left(tmp_path):
    path = tmp_path / "a.aedat"
    room = packet(1, [(pixel(1, 2, 1), 5)], capacity=3) + bytes(16)
    path.write_bytes(AEDAT3 + room + packet(1, [(pixel(3, 4, 0), 6)]))
    assert events_of(read_recording(path)) == [(0, 1, 2, True), (1, 3, 4, False)]


def test_tonic_reads_the_same_polarity_packets(tmp_path):
    tonic = pytest.importorskip("tonic.io", reason="compares with tonic where it is installed")
    path = tmp_path / "a.aedat"
    path.write_bytes(
        AEDAT3 + packet(1, [(pixel(127, 0, 1), 1000), (pixel(5, 6, 0), 1001)]) + packet(1, [(pixel(9, 8, 1), 1004)])
    )
    start = tonic.read_aedat_header_from_file(str(path))[1]
    theirs = tonic.get_aer_events_from_file(str(path), 3.1, start)
    data = theirs["address"]
    mine = read_recording(path)
    assert (theirs["timeStamp"] - 1000).tolist() == mine.events["t"].tolist()
    assert (data >> 17).tolist() == mine.events["x"].tolist()
    assert (data >> 2 & 0x7FFF).tolist() == mine.events["y"].tolist()
    assert (data >> 1 & 1).tolist() == mine.events["p"].tolist()


def test_aedat3_is_decoded_from_bytes(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(
        b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
        + packet(1, [(pixel(127, 0, 1), 1000), (pixel(5, 6, 0), 1001)])
        + packet(0, [(0xFFFFFFFF, 1002)])  # a special event
        + packet(1, [(pixel(9, 9, 1, valid=0), 1003), (pixel(1, 127, 0), 1004)])
        + packet(1, [(pixel(2, 2, 1), 3)], overflow=1)
    )
    recording = read_recording(path)
    assert (recording.height, recording.width, recording.t0) == (128, 128, 1000)
    assert events_of(recording) == [
        (0, 127, 0, True),
        (1, 5, 6, False),
        (4, 1, 127, False),
        ((1 << 31) + 3 - 1000, 2, 2, True),
    ]
    assert recording.notes == ("1 events are marked invalid in the file: left out",)


def test_aedat3_times_beyond_31_bits_are_written_as_overflow(tmp_path):
    late = Recording.from_columns([0, 10], [1, 2], [3, 4], [0, 1], height=128, width=128, t0=(1 << 31) - 5)
    write_recording(late, tmp_path / "a.aedat")
    again = read_recording(tmp_path / "a.aedat")
    assert (events_of(again), again.t0) == (events_of(late), late.t0)


def test_aedat2_is_decoded_from_bytes(tmp_path):
    path = tmp_path / "a.aedat"
    addresses = [(0 << 8 | 0 << 1 | 0, 100), (127 << 8 | 126 << 1 | 1, 103), (1 << 15, 104)]
    path.write_bytes(b"#!AER-DAT2.0\r\n# from a test\r\n" + b"".join(struct.pack(">Ii", *event) for event in addresses))
    recording = read_recording(path)
    assert events_of(recording) == [(0, 127, 127, True), (3, 0, 1, False)]
    assert (recording.height, recording.width, recording.t0) == (128, 128, 100)
    assert recording.notes == ("1 records are external signals and no pixels: left out",)


def test_aedat2_time_wraps(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(b"#!AER-DAT2.0\r\n" + struct.pack(">IiIi", 0, 2**31 - 1, 0, -(2**31)))
    assert [event[0] for event in events_of(read_recording(path))] == [0, 1]


def test_aedat2_is_written_back_as_aedat3(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(b"#!AER-DAT2.0\r\n" + struct.pack(">Ii", 0, 100))
    with pytest.raises(SpikeflipError, match=r"format 'AEDAT 2\.0' cannot be written"):
        write_recording(read_recording(path), path, format="AEDAT 2.0")
    write_recording(read_recording(path), path)
    again = read_recording(path)
    assert (again.format, again.t0, events_of(again)) == ("AEDAT 3.1", 100, [(0, 127, 127, True)])


def test_spikingjelly_archives_are_read(tmp_path):
    columns = {"t": [4, 9], "x": [1, 2], "y": [3, 4], "p": [0, 1]}
    np.savez(tmp_path / "a.npz", **columns)
    np.savez_compressed(tmp_path / "b.npz", **columns)
    for name in "ab":
        assert events_of(read_recording(tmp_path / f"{name}.npz")) == [(4, 1, 3, False), (9, 2, 4, True)]


def test_tonics_gestures_are_read(tmp_path):
    np.save(tmp_path / "3.npy", np.array([[1, 2, 1, 40.0], [3, 4, 0, 41.0]]))
    recording = read_recording(tmp_path / "3.npy")
    assert events_of(recording) == [(0, 1, 2, True), (1000, 3, 4, False)]
    assert recording.t0 == 40_000
    structured = np.array([(7, 1, 2, 0)], dtype=[("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "i1")])
    np.save(tmp_path / "s.npy", structured)
    assert events_of(read_recording(tmp_path / "s.npy")) == [(7, 1, 2, False)]


@pytest.mark.parametrize(
    "text",
    [
        "t,x,y,p\n5,1,2,1\n7,3,4,0\n",
        "x,y,on,t\n1,2,1,5\n3,4,0,7\n",
        "t,x,y,p\r\n5,1,2,1\r\n7,3,4,-1",
        "# t,x,y,p\n5,1,2,+1\n7,3,4,0\n",  # as numpy.savetxt writes a header
        "\n\nt,x,y,p\n\n5,1,2,1\n\n7,3,4,0\n\n",
        '"id","time","x","y","polarity"\n9,5,1,2,1\n9,7,3,4,0\n',
    ],
)
def test_csv_is_read(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text.replace(",0", ",-1") if "-1" in text else text)
    assert events_of(read_recording(path)) == [(5, 1, 2, True), (7, 3, 4, False)]


@pytest.mark.parametrize("name", ["a.csv", "a.npy"])
def test_tables_take_less_than_three_times_the_file(tmp_path, name):
    n, path = 500_000, tmp_path / name
    if name == "a.csv":
        path.write_bytes(b"t,x,y,p\n" + b"0,0,0,0\n" * n)  # no line is shorter
    else:
        np.save(path, np.zeros((n, 4), dtype=np.int16))
    tracemalloc.start()
    found = read_recording(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == n
    assert peak < 3 * path.stat().st_size


def test_faery_reads_our_csv(tmp_path):
    faery = pytest.importorskip("faery", reason="compares with faery where it is installed")
    recording = Recording.from_columns([3, 9], [1, 2], [3, 4], [0, 1], height=34, width=34)
    write_recording(recording, tmp_path / "a.csv")
    theirs = faery.events_stream_from_file(tmp_path / "a.csv", dimensions_fallback=(34, 34)).to_array()
    assert [tuple(event) for event in theirs.tolist()] == events_of(recording)
