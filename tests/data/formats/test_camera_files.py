"""DAT, EVT2, EVT3, ES, AEDAT4 and AEDAT 3.1 from bytes written by hand: times, headers, cuts, and what is said."""

import struct

import numpy as np
import pytest
from raw_files import AEDAT3, events_of, packet, pixel

from spikeflip import SpikeflipError
from spikeflip.data import FORMATS, Binning, Recording, bin_events, read_recording, write_recording

SIZE = b"% geometry 34x34\n% end\n"


def evt2(*times, head=b"% evt 2.0\n" + SIZE, order="<"):
    words = [word for t in times for word in (8 << 28 | t >> 6, 1 << 28 | (t & 63) << 22 | 1 << 11 | 2)]
    return head + struct.pack(f"{order}{len(words)}I", *words)


def evt3(*times, head=b"% evt 3.0\n" + SIZE, order="<"):
    words = [word for t in times for word in (0x8000 | t >> 12 & 4095, 0x6000 | t & 4095, 2, 0x2801)]
    return head + struct.pack(f"{order}{len(words)}H", *words)


def words3(*words):
    return b"% evt 3.0\n" + SIZE + struct.pack(f"<{len(words)}H", *words)


def dat(*times, head=b"% Version 2\n% Width 34\n% Height 34\n", kind=12, pixel=1 << 28 | 2 << 14 | 1):
    return head + bytes([kind, 8]) + b"".join(struct.pack("<II", t, pixel) for t in times)


def es(*bytes_, kind=1):
    return b"Event Stream\x02\x00\x00" + bytes([kind, 34, 0, 34, 0, *bytes_])


def read(tmp_path, content, name="a.raw"):
    (tmp_path / name).write_bytes(content)
    return read_recording(tmp_path / name)


def clock_of(found):
    return (found.events["t"] + found.t0).tolist()


def codes(found):
    return [notice.code for notice in found.notices if notice.code != "other-ending"]


WRAP = 1 << 24
MAKERS = {"DAT": dat, "EVT2": evt2, "EVT3": evt3}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "times", [[100, 5000, 4000, 9000], [100, 5000, 4990, 9000], [70_000, 69_999, 5, 6]], ids=["1 ms", "10 µs", "70 ms"]
)
def test_steps_back_are_sorted_and_said(tmp_path, name, times):
    found = read(tmp_path, MAKERS[name](*times))
    assert (clock_of(found), codes(found)) == (sorted(times), ["times-sorted"])


@pytest.mark.parametrize(
    ("times", "read_as"),
    [
        ([16_770_000, 16_785_000, 20_000_000], None),
        ([1_000_000, 15_000_000, 17_000_000], None),
        ([WRAP, WRAP + 9_000_000, 2 * WRAP], [0, 9_000_000, WRAP]),  # nobody can know the first round
        ([0, WRAP - 1, WRAP, 2 * WRAP - 100_000, 2 * WRAP], None),
    ],
    ids=str,
)
def test_evt3_counts_rounds_in_quiet_moments(tmp_path, times, read_as):
    found = read(tmp_path, evt3(*times))
    assert (clock_of(found), codes(found)) == (read_as or times, [])


def test_evt3_events_late_over_the_end_of_a_round(tmp_path):
    found = read(tmp_path, evt3(9_000_000, WRAP - 10, WRAP + 5, WRAP - 3, WRAP + 20))
    assert clock_of(found) == [9_000_000, WRAP - 10, WRAP - 3, WRAP + 5, WRAP + 20]
    assert codes(found) == ["times-sorted"]


@pytest.mark.parametrize(("name", "bits"), [("DAT", 32), ("EVT2", 34)])
def test_long_clocks_go_round_and_it_is_said(tmp_path, name, bits):
    last = (1 << bits) - 10
    found = read(tmp_path, MAKERS[name](last, 5) if name == "DAT" else evt2(last) + evt2(5, head=b""))
    assert found.events["t"].tolist() == [0, 15]
    assert found.notes[0] == f"the file's clock of {bits} bits went round once: later times count on from there"


@pytest.mark.parametrize("name", [*MAKERS, "ES"])
@pytest.mark.parametrize("cut", [1, 3])
def test_a_file_cut_in_an_event_is_refused(tmp_path, name, cut):
    content = es(2, 1, 0, 3, 0, 4, 1, 0, 3, 0) if name == "ES" else MAKERS[name](5, 6)
    with pytest.raises(SpikeflipError, match=r"it is cut; copy it again, or cut it to [\d,]+ bytes"):
        read(tmp_path, content[:-cut], "a.es" if name == "ES" else "a.raw")


def test_a_cut_file_can_be_cut_to_what_is_whole(tmp_path):
    content = es(2, 1, 0, 3, 0, 255, 4, 1, 0)
    with pytest.raises(SpikeflipError, match=r"3 of its 5 bytes are there.* cut it to 26 bytes"):
        read(tmp_path, content, "a.es")
    assert events_of(read(tmp_path, content[:26], "a.es")) == [(1, 1, 30, False)]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("head", ["", "% Width 34\n", "% geometry wide\n"])
def test_a_sensor_that_no_line_says_is_guessed_and_said(tmp_path, name, head):
    first = {"DAT": "% Version 2\n", "EVT2": "% evt 2.0\n", "EVT3": "% evt 3.0\n"}[name]
    (tmp_path / "a.raw").write_bytes(MAKERS[name](1, 2, head=(first + head + "% end\n").encode()))
    found = read_recording(tmp_path / "a.raw")
    assert (found.width, found.height, found.sensor_guessed, codes(found)[:1]) == (34, 34, True, ["sensor-guessed"])
    given = read_recording(tmp_path / "a.raw", height=50, width=60)
    assert "sensor-overruled" not in codes(given)


def test_sizes_are_read_as_cameras_write_them(tmp_path):
    for head in (b"% evt 3.0\n% format EVT3;height=40;width=50\n", b"% evt 3.0\n% Width 50\n% height 40\n% end\n"):
        found = read(tmp_path, evt3(1, head=head))
        assert (found.width, found.height, codes(found)) == (50, 40, [])


def test_big_endian_words(tmp_path):
    head = b"% endianness big\n" + SIZE
    assert clock_of(read(tmp_path, evt2(5, 9000, head=b"% evt 2.0\n" + head, order=">"))) == [5, 9000]
    assert clock_of(read(tmp_path, evt3(5, 9000, head=b"% evt 3.0\n" + head, order=">"))) == [5, 9000]


def test_evt3_vectors(tmp_path):
    words = (0x8001, 0x6005, 7, 0x3800 | 10, 0x4003, 0x5081, 0x2003, 0x5001, 0x8002, 0x2004)
    found = read(tmp_path, words3(*words))
    t = 4096 + 5
    assert [(event[0] + found.t0, *event[1:]) for event in events_of(found)] == [
        (t, 10, 7, True),
        (t, 11, 7, True),
        (t, 22, 7, True),
        (t, 29, 7, True),
        (t, 3, 7, False),
        (t, 30, 7, True),
        (8192, 4, 7, False),  # high bits alone: low ones are 0
    ]


def test_words_that_are_no_events_are_counted(tmp_path):
    found = read(tmp_path, words3(1, 0x2801, 0x8002, 0x6001, 0x2802, 0xA101, 0xE000, 0x7001, 0xB000, 0xD000))
    assert found.notes == (
        "1 events come before the first word of time: left out",
        "1 words are external triggers and no pixels: left out",
        "2 words are of no kind that EVT3 defines: left out",
    )
    early = b"% evt 2.0\n" + SIZE + struct.pack("<4I", 1 << 28, 8 << 28, 0xA0000000, 0x50000000)
    assert codes(read(tmp_path, early)) == ["untimed-events", "external-signals", "unknown-words"]


def test_old_dat_types_are_read(tmp_path):
    """N-CARS has type 0; before version 2 its pixels have fewer bits."""
    new = read(tmp_path, dat(7, head=b"% Data file containing TD events\n% Version 2\n", kind=0), "a.dat")
    old = read(tmp_path, dat(7, head=b"% Data file\n", kind=0, pixel=1 << 17 | 2 << 9 | 1), "a.dat")
    assert events_of(new) == events_of(old) == [(0, 1, 2, True)]
    for kind, pixel_, message in ((14, 1, "events of type 14 and 8 bytes"), (12, 3 << 28, "polarity 3")):
        with pytest.raises(SpikeflipError, match=message):
            read(tmp_path, dat(7, kind=kind, pixel=pixel_), "a.dat")


def test_event_stream_bytes(tmp_path):
    """Also of columns and rows that look like bytes of time."""
    content = es(255, 255, 254, 3 << 1 | 1, 5, 0, 6, 0, 255, 0, 254, 0, 255, 0)
    wide = content[:16] + struct.pack("<HH", 300, 260) + content[20:]
    assert events_of(read(tmp_path, wide, "a.es")) == [(257, 5, 253, True), (384, 254, 4, False)]


def test_event_stream_of_a_camera_that_measures_brightness(tmp_path):
    found = read(tmp_path, es(253, 255, 4 << 2 | 2, 5, 0, 6, 0, 1 << 2 | 1, 5, 0, 6, 0, kind=2), "a.es")
    assert events_of(found) == [(63 + 3 * 63 + 4, 5, 27, True)]
    assert found.notes == ("1 records measure brightness and are no changes: left out",)


@pytest.mark.parametrize("content", [es(kind=4), b"Event Stream\x01" + es()[13:], es()[:18]])
def test_other_event_streams_are_refused(tmp_path, content):
    with pytest.raises(SpikeflipError, match=r"types 1 \(DVS\) and 2 \(ATIS\) of version 2|ends in its header"):
        read(tmp_path, content, "a.es")


# --- written back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_the_cameras_times_and_lines_are_written_back(tmp_path, name):
    first = {"DAT": b"% Version 2\n", "EVT2": b"% evt 2.0\n", "EVT3": b"% evt 3.0\n"}[name]
    lines = b"% Date 2020-09-14 14:18:29\n% integrator_name Prophesee\n% system_ID 49\n"
    start = 5_000_011
    found = read(tmp_path, MAKERS[name](start, start + 40, start + 9000, head=first + lines + SIZE))
    binned = bin_events(found, Binning(3, time_bin=5))
    frames = binned.frames.clone()
    frames[0] = 0  # the first event goes, and zero stays
    path = tmp_path / f"b{FORMATS[name].endings[0]}"
    assert write_recording(binned.write_back(frames), path, format=name) == ()
    again = read_recording(path)
    assert (again.t0, again.events["t"].tolist()) == (start, [9000])
    assert bin_events(again, Binning(3, time_bin=5)).frames.equal(frames)
    assert again.header == ("Date 2020-09-14 14:18:29", "integrator_name Prophesee", "system_ID 49")
    raw = path.read_bytes()
    stripped = b"\n".join(line for line in raw.split(b"\n") if not line.startswith(b"% spikeflip_t0"))
    assert clock_of(read(tmp_path, stripped, path.name)) == [start + 9000]  # as readers do that do not know that line


@pytest.mark.parametrize(("name", "last"), [("DAT", (1 << 32) - 1), ("EVT2", (1 << 34) - 1), ("EVT3", (1 << 32) - 1)])
def test_times_that_have_no_room_count_from_zero_and_it_is_said(tmp_path, name, last):
    path = tmp_path / f"a{FORMATS[name].endings[0]}"
    for t0, said in ((last - 5, 0), (last - 4, 1)):
        recording = Recording.from_columns([0, 5], [1, 2], [3, 4], [0, 1], height=34, width=34, t0=t0)
        notes = write_recording(recording, path, format=name)
        assert len(notes) == said, notes
        again = read_recording(path)
        assert (again.t0, again.events.tolist()) == (t0, recording.events.tolist())


def test_a_header_that_a_format_does_not_hold_is_said(tmp_path):
    found = read(tmp_path, evt2(1, head=b"% evt 2.0\n% system_ID 49\n" + SIZE))
    assert write_recording(found, tmp_path / "a.npz") == (
        "npz does not hold the camera's header (1 lines, the first 'system_ID 49')",
    )
    assert write_recording(found, tmp_path / "b.raw", format="EVT3") == ()


def test_a_header_is_kept_on_a_sensor_that_is_given(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(evt2(1, head=b"% evt 2.0\n% system_ID 49\n" + SIZE))
    for side in (34, 40):
        assert read_recording(path, height=side, width=side).header == ("system_ID 49",)


# --- AEDAT ------------------------------------------------------------------------------------------------------------


def test_negative_times_of_aedat3_are_negative_and_said(tmp_path):
    found = read(tmp_path, AEDAT3 + packet(1, [(pixel(1, 2, 1), (1 << 32) - 7), (pixel(3, 4, 0), 5)]), "a.aedat")
    assert (clock_of(found), codes(found)) == ([-7, 5], ["negative-times"])


def stream4(faery, number, size, kind="EVTS"):
    node, value = faery.aedat.DescriptionNode, faery.aedat.DescriptionAttribute
    path = f"/mainloop/Recorder/outInfo/{number}/"
    sides = {f"size{axis}": value(attribute_type="int", value=side) for axis, side in zip("XY", size, strict=True)}
    said = {"compression": value(attribute_type="string", value="LZ4")}
    said["typeIdentifier"] = value(attribute_type="string", value=kind)
    info = node(name="info", path=f"{path}info/", attributes=sides, nodes=[])
    return node(name=str(number), path=path, attributes=said, nodes=[info])


@pytest.mark.parametrize("compression", [None, "LZ4_DEFAULT", "ZSTD_DEFAULT"])
def test_aedat4_of_several_streams(tmp_path, compression):
    faery = pytest.importorskip("faery", reason="faery writes this format")
    streams = [stream4(faery, number, (34 + number, 34)) for number in range(3)]
    root = faery.aedat.DescriptionNode(name="outInfo", path="/mainloop/Recorder/outInfo/", attributes={}, nodes=streams)
    packing = compression and getattr(faery.aedat, compression)
    with faery.aedat.Encoder(path=tmp_path / "a.aedat4", description=[root], compression=packing) as encoder:
        for number, times in ((0, [5, 6]), (2, [3]), (1, [4, 9]), (0, [7])):
            events = np.zeros(len(times), dtype=faery.EVENTS_DTYPE)
            events["t"], events["x"], events["on"] = times, number + 1, 1
            encoder.write(number, events)
    found = read_recording(tmp_path / "a.aedat4")
    assert (clock_of(found), found.events["x"].tolist(), found.width) == ([5, 6, 7], [1, 1, 1], 34)
    assert found.notes == ("the file has 3 streams of events: 3 events of all but the first are left out",)


def test_aedat4_of_frames_alone_is_refused(tmp_path):
    faery = pytest.importorskip("faery", reason="faery writes this format")
    stream = stream4(faery, 0, (34, 34), "FRME")
    root = faery.aedat.DescriptionNode(
        name="outInfo", path="/mainloop/Recorder/outInfo/", attributes={}, nodes=[stream]
    )
    with faery.aedat.Encoder(path=tmp_path / "a.aedat4", description=[root], compression=None):
        pass
    with pytest.raises(SpikeflipError, match="no stream of events: frames alone are no recording"):
        read_recording(tmp_path / "a.aedat4")
