"""Tables of events as people have them: read where there is one reading, else one sentence that names the options."""

import numpy as np
import pytest
from raw_files import events_of

from spikeflip import SpikeflipError
from spikeflip.data import load_event_set, read_recording
from spikeflip.data.formats.columns import check_columns, whole_times

_random = np.random.default_rng(0)
N = 200
T = np.sort(_random.integers(0, 3_000_000, N))
X, Y, P = _random.integers(0, 240, N), _random.integers(0, 180, N), _random.integers(0, 2, N)
EVENTS = list(zip(T.tolist(), X.tolist(), Y.tolist(), (P == 1).tolist(), strict=True))


def table(order, mark=",", unit="%d", polarities=(0, 1)):
    cells = {"t": [unit % (t / 1e6 if "f" in unit else t) for t in T], "x": X, "y": Y, "p": np.array(polarities)[P]}
    return "".join(mark.join(str(cells[name][row]) for name in order) + "\n" for row in range(N))


def read(tmp_path, content, name="a.txt", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_recording(path, **options)


def codes(found):
    return [notice.code for notice in found.notices]


GUESSED = ["columns-found", "sensor-guessed"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (table("txyp", " ", "%.6f"), ["columns-found", "time-unit", "sensor-guessed"]),  # RPG
        ("240 180\n" + table("txyp", " ", "%.9f"), ["columns-found", "time-unit"]),  # RPG's e2vid
        ("# made by a simulator\n" + table("txyp", "  ", "%.6f"), ["columns-found", "time-unit", "sensor-guessed"]),
        (table("xypt", "\t"), GUESSED),  # DSEC
        (table("xypt"), GUESSED),  # Prophesee
        ("%geometry:240,180\n" + table("xypt"), ["columns-found"]),
        ("# resolution: 240 x 180\n" + table("xytp", "; "), ["columns-found"]),
        (table("txyp", polarities=(-1, 1)), GUESSED),
        ("timestamp [us];x;y;polarity\n" + table("txyp", ";"), ["sensor-guessed"]),
        ("x y pol time_s\n" + table("xypt", " ", "%.6f"), ["sensor-guessed"]),
        ("\ufefft,x,y,p\n" + table("txyp"), ["sensor-guessed"]),
    ],
    ids=range(11),
)  # fmt: skip
def test_plain_tables_are_read(tmp_path, content, said):
    found = read(tmp_path, content)
    assert events_of(found) == EVENTS
    assert (found.format, found.height, found.width, codes(found)) == ("csv", 180, 240, said)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_is_read(tmp_path, encoding):
    mark = b"\xfe\xff" if encoding.endswith("be") else b""
    assert events_of(read(tmp_path, mark + ("t,x,y,p\r\n" + table("txyp")).encode(encoding), "a.csv")) == EVENTS
    with pytest.raises(SpikeflipError, match="is not the utf-16 text that its first bytes promise"):
        read(tmp_path, b"\xff\xfe" + "t,x,y,p\n1,2,3,1\n".encode("utf-16-le") + b"\x00\xdc", "a.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("5,1,2,1\n7,3,4,0\n", r"can be t,x,y,p or x,y,t,p \(column 1: whole numbers 5 to 7, growing; .*\)"),
        ("1,0,1,1\n", "can be t,x,y,p or t,p,x,y or x,y,t,p"),
        ("1,2,3,4\n5,6,7,8\n", "can be no order of t, x, y and p"),
        ("1,2,3,0.5\n5,6,7,0.25\n", "can be no order of t, x, y and p"),
        ("0,5,1,2,1\n1,7,3,4,0\n", "its lines have 5 columns without names"),
        ("5,1,2,on\n7,3,4,off\n", "its line '5,1,2,on' is no event and does not name"),
        ("t,x,y\n1,2,3\n", "there is no column 'p' in its first line, 't,x,y'"),
        ("t,time,x,y,p\n1,2,3,4,1\n", "is no event and does not name"),
        ("t,x,y,p\n1,2,3\n", r"has 3 columns, and 4 are named \(t, x, y, p\)"),
    ],
)
def test_tables_of_several_readings_or_none_are_refused(tmp_path, content, message):
    with pytest.raises(SpikeflipError, match=message) as caught:
        read(tmp_path, content)
    assert "--columns t,x,y,p and --time-unit s (columns=, time_unit=)" in str(caught.value)


def test_a_maker_that_is_named_has_its_order(tmp_path):
    assert events_of(read(tmp_path, "%geometry:34,34\n1,0,1,1\n", "a.csv")) == [(1, 1, 0, True)]


@pytest.mark.parametrize(
    ("content", "columns", "unit", "event"),
    [
        ("5,1,2,1\n", "t,x,y,p", None, (5, 1, 2, True)),
        ("5,1,2,1\n", "x,y,t,polarity", None, (2, 5, 1, True)),
        ("9 5 1 2 1\n", "-,t,x,y,p", None, (5, 1, 2, True)),
        ("a,b,c,d\n1,2,0,7\n", "x,y,p,t", "ms", (7000, 1, 2, False)),
        ("t,x,y,p\n0.25,1,2,1\n", None, "s", (250_000, 1, 2, True)),
        ("x,y,p,t\n1,2,1,3000\n", None, "ns", (3, 1, 2, True)),
    ],
)
def test_columns_and_unit_of_the_user_count(tmp_path, content, columns, unit, event):
    assert events_of(read(tmp_path, content, columns=columns, time_unit=unit)) == [event]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "t,x,y"}, "columns are 't,x,y': name each of t, x, y and p once"),
        ({"columns": "t,x,y,p,t"}, "name each of t, x, y and p once"),
        ({"columns": "t,x,y,p,-"}, "has 4 columns, and 5 are named"),
        ({"time_unit": "h"}, "time unit is 'h': give one of s, ms, us, ns"),
        ({"time_unit": "s"}, "too large"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    with pytest.raises(SpikeflipError, match=message):
        read(tmp_path, f"t,x,y,p\n{1 << 61},1,2,1\n", **options)
    (tmp_path / "a.bin").write_bytes(bytes(5))
    with pytest.raises(SpikeflipError, match=r"which says its own (columns|unit of time)"):
        read_recording(tmp_path / "a.bin", **options)


@pytest.mark.parametrize("value", ["1.5", "0.125", "1600000000000000000", "1234.56789"])
def test_a_unit_that_could_be_another_is_asked_for(tmp_path, value):
    with pytest.raises(SpikeflipError, match=r"give it with --time-unit s, ms, us or ns \(time_unit=\)"):
        read(tmp_path, f"t,x,y,p\n0.0,1,2,1\n{value},1,2,1\n")


def test_a_unit_that_shows_late_is_asked_for(tmp_path):
    content = "t,x,y,p\n" + "0.0,1,2,1\n" * 5000 + "0.000123,1,2,1\n"
    with pytest.raises(SpikeflipError, match="has 1 times with fractions, of a unit that it does not say"):
        read(tmp_path, content)
    assert read(tmp_path, content, time_unit="s").duration == 123


def test_what_is_not_read_is_said(tmp_path):
    found = read(tmp_path, "id,t_s,x,y,p\n0,0.0000015,1,2,1\n1,0.000002,1,2,1\n")
    assert found.events["t"].tolist() == [2, 2]
    assert found.notes[:2] == (
        "1 times are finer than 1 µs: rounded to whole µs",
        "columns other than t, x, y and p are not read: 'id'",
    )
    clock = read(tmp_path, "t,x,y,p\n1600000000.123456,1,2,1\n1600000000.123457,1,2,1\n")
    assert (clock.events["t"] + clock.t0).tolist() == [1_600_000_000_123_456, 1_600_000_000_123_457]
    assert "times-rounded" not in codes(clock)


def test_whole_times_are_exact_where_they_are_whole():
    assert whole_times(np.array([1_600_000_000_000_000_499, 1_600_000_000_000_000_500]), "ns")[0].tolist() == [
        1_600_000_000_000_000,
        1_600_000_000_000_001,
    ]
    assert whole_times(np.array([7]), "s") == (np.array([7_000_000]), 0)
    assert check_columns("X, Y ,pol,Timestamp") == ("x", "y", "p", "t")


def test_arrays_know_the_same_names(tmp_path):
    names = {"timestamp": [5, 6], "x": [1, 2], "y": [3, 4], "polarity": [0, 1]}
    np.savez(tmp_path / "a.npz", **names)
    faerys = np.zeros(2, dtype=[("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")])
    for name, values in zip(("t", "x", "y", "on"), names.values(), strict=True):
        faerys[name] = values
    np.save(tmp_path / "b.npy", faerys)
    np.savez(tmp_path / "c.npz", events=faerys)
    np.savez(tmp_path / "d.npz", **{**names, "timestamp": [5e-6, 6e-6], "x": [1.0, 2.0]})
    for name, options in (("a.npz", {}), ("b.npy", {}), ("c.npz", {}), ("d.npz", {"time_unit": "s"})):
        assert events_of(read_recording(tmp_path / name, **options)) == [(5, 1, 3, False), (6, 2, 4, True)]
    with pytest.raises(SpikeflipError, match=r"t is 5e-06 in one event: .* give the unit of times with --time-unit"):
        read_recording(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", ts=[1], time=[2], x=[1], y=[1], p=[1])
    with pytest.raises(SpikeflipError, match="its arrays 'ts' and 'time' may both be t"):
        read_recording(tmp_path / "e.npz")
    np.savez(tmp_path / "f.npz", x=[1], y=[1], p=[1])
    with pytest.raises(SpikeflipError, match="has no array 't'"):
        read_recording(tmp_path / "f.npz")


def test_folders_of_text_take_the_options(tmp_path):
    for name in ("a/1.txt", "a/2.txt", "b/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("5 1 2 1\n")
    found = load_event_set(tmp_path, "train", columns="x,y,t,p", time_unit="ms")
    assert [events_of(recording) for recording in found] == [[(2000, 5, 1, True)]] * 3
    with pytest.raises(SpikeflipError, match="nmnist has no text files: leave out --columns"):
        load_event_set("nmnist", root=tmp_path, columns="x,y,t,p")
