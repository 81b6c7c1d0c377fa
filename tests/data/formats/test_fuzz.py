"""Damaged files: each ends in a recording or in one sentence, at once and in little memory."""

import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from mutations import mutate, recording, written

from spikeflip import Recording, SpikeflipError, read_recording, write_recording
from spikeflip.data.recordings import EVENT

FILES = [300, pytest.param(2_000, marks=pytest.mark.hostile)]
MEMORY = 32 << 20
SECONDS = 2.0

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("name", ["a.bin", "a.npz", "packed.npz", "a.npy", "a.csv", "a.aedat", "a2.aedat"])
def test_every_damaged_file_is_a_recording_or_one_sentence(tmp_path, name, files):
    base = written(tmp_path, name)
    random = np.random.default_rng(7)
    path = tmp_path / f"damaged{name[name.index('.') :]}"
    outcomes = {"recording": 0, "error": 0}
    tracemalloc.start()
    try:
        for _ in range(files):
            path.unlink(missing_ok=True)  # writing over a file can wait for the disk
            path.write_bytes(mutate(base, random))
            tracemalloc.reset_peak()
            started = time.monotonic()
            try:
                found = read_recording(path)
            except SpikeflipError as error:
                message = str(error)
                outcomes["error"] += 1
            else:
                message = ""
                outcomes["recording"] += 1
                events = found.events
                assert events.dtype == EVENT
                assert (events["t"][1:] >= events["t"][:-1]).all()
                assert (events["x"] < found.width).all()
                assert (events["y"] < found.height).all()
            assert "\n" not in message
            assert len(message) < 1000
            assert time.monotonic() - started < SECONDS
            assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert outcomes["error"] > files / 20
    assert outcomes["recording"] > 0


# --- lies by hand -----------------------------------------------------------------------------------------------------


def npy(descr, shape, body=b"", version=1):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + body


def npz(compression=zipfile.ZIP_STORED, **members):
    file = io.BytesIO()
    columns = {name: npy("'<i8'", "(1,)", struct.pack("<q", 1)) for name in "txyp"}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in (columns | members).items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def everywhere(archive, offset, value):
    """The archive with bytes of every entry of its directory replaced."""
    data = bytearray(archive)
    at = -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
        data[at + offset : at + offset + len(value)] = value
    return bytes(data)


def aedat3(*packets, own=b""):
    return b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n" + own + b"#!END-HEADER\r\n" + b"".join(packets)


def packet(kind=1, size=8, overflow=0, capacity=1, number=1, body=bytes([3, 0, 0, 0, 5, 0, 0, 0])):
    return struct.pack("<HHIIIIII", kind, 1, size, 4, overflow, capacity, number, number) + body


FIELDS = "[('t','<i8'),('x','<u2'),('y','<u2'),('p','?')]"
LARGE = npy("'<i8'", "(100000000,)", bytes(999))
ZEROS = npy("'<i8'", "(2000000,)", bytes(16_000_000))
LIES = {
    "npy header of 4 GB": ("a.npy", b"\x93NUMPY\x02\x00" + b"\xff" * 4, "damaged array (a header of 4,294,967,295"),
    "npy header of nesting": ("a.npy", b"\x93NUMPY\x01\x00\x00\x20" + b"(" * 8192, "damaged array"),
    "npy of 13 TB": ("a.npy", npy(FIELDS, "(1000000000000,)"), "0 of the 13,000,000,000,000 bytes"),
    "npy of 10^21 sides": ("a.npy", npy("'<f8'", "(1000000000000000000000, 4)"), "a side beyond 64 bits"),
    "npy of nothing, often": ("a.npy", npy(FIELDS.replace("<i8", "S0"), "(0,)"), None),
    "npy of a million sides": ("a.npy", npy("'<i8'", "(" + "0, " * 2000 + ")"), "events are a structured array"),
    "npy of the least number": ("a.npy", npy("'<i8'", "(1, 4)", struct.pack("<4q", 1, 1, 1, -(1 << 63))), "no events"),
    "npy of the largest": ("a.npy", npy("'<u8'", "(1, 4)", struct.pack("<4Q", 1, 1, (1 << 64) - 1, 5)), "no events"),
    "npy of half pixels": ("a.npy", npy("'<f8'", "(1, 4)", struct.pack("<4d", 1.5, 1, 1, 1)), "no events"),
    "npy of halves": ("a.npy", npy("'<f2'", "(1, 4)", np.ones(4, "<f2").tobytes()), None),
    "npy of Python 2": ("a.npy", npy(FIELDS, "(1L,)", bytes(13)), None),
    "npy of a strange escape": ("a.npy", npy("'\\d'", "(1,)"), "damaged array"),
    "npy of extreme times": (
        "a.npy",
        npy(FIELDS, "(2,)", struct.pack("<qHHBqHHB", -(1 << 63), 1, 1, 0, (1 << 63) - 1, 1, 1, 0)),
        "t is -9223372036854775808",
    ),
    "npz without x": ("a.npz", npz(x=b"").replace(b"x.npy", b"z.npy"), "has no array 'x'"),
    "npz sizes of 2 GB": ("a.npz", everywhere(npz(t=LARGE), 20, b"\xf0\xff\xff\x7f" * 2), "says that it holds"),
    "npz bomb": ("a.npz", npz(zipfile.ZIP_DEFLATED, **dict.fromkeys("txyp", ZEROS)), "unpack to 64,000,"),
    "npz header bomb": (
        "a.npz",
        npz(zipfile.ZIP_DEFLATED, t=b"\x93NUMPY\x02\x00" + struct.pack("<I", 3_000_000) + bytes(3_000_000)),
        "a header of 3,000,000 bytes",
    ),
    "npz of bzip2": ("a.npz", npz(zipfile.ZIP_BZIP2), "in a way that NumPy does not"),
    "npz encrypted": ("a.npz", everywhere(npz(), 8, b"\x01"), "damaged .npz archive"),
    "npz of a later version": ("a.npz", everywhere(npz(), 6, b"\xff\xff"), "damaged .npz archive"),
    "npz of parts elsewhere": ("a.npz", everywhere(npz(), 42, b"\xf0\xff\xff\xff"), "damaged .npz archive"),
    "npz of wrong checksums": ("a.npz", everywhere(npz(), 16, b"\x00\x00"), "Bad CRC-32"),
    "npz of more numbers": ("a.npz", npz(t=npy("'<i8'", "(1,)", bytes(80))), "more or fewer numbers"),
    "npz of many sides": ("a.npz", npz(t=npy("'<i8'", "(0, 4611686018427387904, 4611686018427387904)")), "no column"),
    "npz zero beyond int64": ("a.npz", npz(t0=npy("'<u8'", "()", b"\xff" * 8)), "t0 is 18446744073709551615"),
    "npz sensor not a number": ("a.npz", npz(sensor=npy("'<f8'", "(2,)", b"\xff" * 16)), "not (height, width)"),
    "npz sensor of letters": ("a.npz", npz(sensor=npy("'S2'", "(2,)", b"ab12")), "no column"),
    "npz sensor too small": ("a.npz", npz(sensor=npy("'<i8'", "(2,)", struct.pack("<2q", 1, 1))), "outside the sensor"),
    "aedat3 of 2^32 overflows": ("a.aedat", aedat3(packet(overflow=(1 << 32) - 1)), "4294967295 overflows"),
    "aedat3 of 2^32 events": (
        "a.aedat",
        aedat3(packet(capacity=(1 << 32) - 1)),
        "in the middle of 4,294,967,295 events",
    ),
    "aedat3 of more than fit": ("a.aedat", aedat3(packet(number=2)), "2 of 1 events"),
    "aedat3 events of 0 bytes": ("a.aedat", aedat3(packet(size=0, body=b"")), "events of 0 bytes"),
    "aedat3 skipping 2^64 bytes": ("a.aedat", aedat3(packet(0, (1 << 32) - 1, 0, (1 << 32) - 1)), "in the middle of"),
    "aedat3 of empty packets": ("a.aedat", aedat3(packet(capacity=0, number=0, body=b"") * 2000), None),
    "aedat3 zero beyond int64": (
        "a.aedat",
        aedat3(packet(), own=b"#spikeflip t0=9999999999999999999 height=34 width=34\r\n"),
        "t0 is 9999999999999999999",
    ),
    "aedat3 on no sensor": ("a.aedat", aedat3(own=b"#spikeflip t0=0 height=0 width=0\r\n"), "the sensor is 0 × 0"),
    "aedat2 of comments only": ("a.aedat", b"#!AER-DAT2.0\r\n" + b"#\n" * 70_000, "header without end"),
    "csv of a header only": ("a.csv", b"t,x,y,p\n", None),
    "csv of a header and blank lines": ("a.csv", b"t,x,y,p\n" + b"\n" * 9000, None),
    "csv of half µs": ("a.csv", b"t,x,y,p\n1.5,1,1,1\n", "fractions of a unit that the file does not say"),
    "csv beyond int64": ("a.csv", b"t,x,y,p\n99999999999999999999,1,1,1\n", "too large for µs"),
    "csv at the end of int64": ("a.csv", b"t,x,y,p\n-9223372036854775808,1,1,1\n", "t is -9223372036854775808"),
    "bin that begins with %": ("a.bin", bytes([37, 32, 0, 0, 5]), None),
    "bin of clocks only": ("a.bin", bytes([0, 240, 0, 0, 0]) * 99, None),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_found_out_before_they_cost_anything(tmp_path, lie):
    name, content, message = LIES[lie]
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        if message is None:
            read_recording(path)
        else:
            with pytest.raises(SpikeflipError) as caught:
                read_recording(path)
            assert message in str(caught.value)
            assert str(caught.value).count(str(path)) == 1
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 1000
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def test_events_behind_many_blank_lines_are_not_lost(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"t,x,y,p\n" + b"\n" * 9000 + b"7,1,2,1\n")
    assert read_recording(tmp_path / "a.csv").events.tolist() == [(7, 1, 2, True)]


def test_a_bin_file_whose_first_column_is_a_percent_sign_is_no_camera_file(tmp_path):
    first = Recording.from_columns([5], [ord("%")], [ord(" ")], [1], height=128, width=128)
    write_recording(first, tmp_path / "a.bin")
    assert read_recording(tmp_path / "a.bin").format == "N-MNIST bin"


def test_a_zero_that_cannot_be_counted_from_is_refused():
    with pytest.raises(SpikeflipError, match="t0 is 4611686018427387904 µs: it must be"):
        Recording.from_columns([5], [1], [1], [1], height=2, width=2, t0=1 << 62)


def test_an_archive_that_unpacks_to_much_more_than_it_says_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    header = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<i8', 'fortran_order': False, 'shape': (80000000,), }".ljust(
        117
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "txyp":
            archive.writestr(f"{name}.npy", header + b"\n" + bytes(1_000))
    tracemalloc.start()
    with pytest.raises(SpikeflipError, match="more than it can hold"):
        read_recording(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize("name", ["large.bin", "large.aedat", "large.npz"])
def test_reading_takes_less_than_three_times_the_file(tmp_path, name):
    write_recording(recording(4_000_000), tmp_path / name)
    tracemalloc.start()
    found = read_recording(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 4_000_000
    assert peak < 3 * (tmp_path / name).stat().st_size
