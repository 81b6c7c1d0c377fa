"""What is written here and by hand, read by other programs where they are installed."""

import numpy as np
import pytest

from spikeflip.data import FORMATS, Recording, read_recording, write_recording


def made(span, t0=0, n=3000, side=240, seed=0):
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, span, n))
    columns = random.integers(0, side, n), random.integers(0, side - 60, n), random.integers(0, 2, n)
    return Recording.from_columns(times, *columns, height=side - 60, width=side, t0=t0)


def same(recording, t, x, y, p):
    found = recording.events
    assert np.array_equal(found["t"] + recording.t0, np.asarray(t).astype(np.int64))
    for name, theirs in (("x", x), ("y", y), ("p", p)):
        assert np.array_equal(found[name], np.asarray(theirs).astype(found[name].dtype))


SPANS = [(200_000, 0), (60_000_000, 5_000_011), (400_000_000, 123_456)]


@pytest.mark.parametrize(("span", "t0"), SPANS)
@pytest.mark.parametrize("name", ["ES", "DAT", "EVT2", "EVT3", "AEDAT4"])
def test_faery_reads_the_cameras_times(tmp_path, name, span, t0):
    faery = pytest.importorskip("faery", reason="compares with faery where it is installed")
    recording = made(span, 0 if name == "ES" else t0, 1000 if name == "ES" else 3000)
    path = tmp_path / f"a{FORMATS[name].endings[0]}"
    write_recording(recording, path, format=name)
    found = faery.events_stream_from_file(path).to_array()
    same(recording, found["t"], found["x"], found["y"], found["on"])


@pytest.mark.parametrize(("span", "t0"), SPANS)
def test_evt3_reads_the_cameras_times(tmp_path, span, t0):
    evt3 = pytest.importorskip("evt3", reason="compares with evt3 where it is installed")
    recording = made(span, t0)
    write_recording(recording, tmp_path / "a.raw", format="EVT3")
    found = evt3.decode_file(str(tmp_path / "a.raw"))
    same(recording, found.timestamp, found.x, found.y, found.polarity)


def test_random_words_are_read_as_evt3_reads_them(tmp_path):
    evt3 = pytest.importorskip("evt3", reason="compares with evt3 where it is installed")
    for seed in range(100):
        random = np.random.default_rng(seed)
        kinds = np.append([8, 0, 3], random.choice([0, 2, 3, 4, 5, 6, 8, 10, 14, 15, 7], 300))
        values = random.integers(0, 4096, len(kinds))
        values[kinds == 8] = np.sort(values[kinds == 8])
        for kind, bits in ((0, 255), (3, 0x8FF), (2, 0x9FF), (5, 255)):
            values[kinds == kind] &= bits
        words = (kinds << 12 | values).astype("<u2").tobytes()
        (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n% geometry 1280x720\n% end\n" + words)
        found = evt3.decode_file(str(tmp_path / "a.raw"))
        order = np.argsort(found.timestamp, kind="stable")
        columns = (column[order] for column in (found.timestamp, found.x, found.y, found.polarity))
        same(read_recording(tmp_path / "a.raw"), *columns)


@pytest.mark.parametrize(("span", "t0"), SPANS)
@pytest.mark.parametrize("name", ["DAT", "EVT2"])
def test_expelliarmus_reads_the_cameras_times(tmp_path, name, span, t0):
    expelliarmus = pytest.importorskip("expelliarmus", reason="compares with expelliarmus where it is installed")
    recording = made(span, t0)
    path = tmp_path / f"a{FORMATS[name].endings[0]}"
    write_recording(recording, path, format=name)
    found = expelliarmus.Wizard(encoding=name.lower()).read(path)
    same(recording, found["t"], found["x"], found["y"], found["p"])


def test_times_out_of_order_are_those_that_expelliarmus_reads(tmp_path):
    """In EVT2; in DAT and EVT3 it takes every step back for a round of the clock."""
    expelliarmus = pytest.importorskip("expelliarmus", reason="compares with expelliarmus where it is installed")
    times = [100, 5000, 4000, 9000, 8990, 70_000]
    words = [word for t in times for word in (8 << 28 | t >> 6, 1 << 28 | (t & 63) << 22 | 1 << 11 | 2)]
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 2.0\n% geometry 34x34\n% end\n" + np.array(words, "<u4").tobytes())
    assert expelliarmus.Wizard(encoding="evt2").read(path)["t"].tolist() == times
    found = read_recording(path)
    assert (found.events["t"] + found.t0).tolist() == sorted(times)


def test_times_out_of_order_are_those_that_evt3_reads(tmp_path):
    evt3 = pytest.importorskip("evt3", reason="compares with evt3 where it is installed")
    times = [100, 5000, 4000, 9000, 8990, 70_000, (1 << 24) - 9000, (1 << 24) + 9000]
    words = [word for t in times for word in (0x8000 | t >> 12 & 4095, 0x6000 | t & 4095, 2, 0x2801)]
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 3.0\n% geometry 34x34\n% end\n" + np.array(words, "<u2").tobytes())
    assert evt3.decode_file(str(path)).timestamp.tolist() == times
    found = read_recording(path)
    assert (found.events["t"] + found.t0).tolist() == sorted(times)


def test_event_stream_reads_the_same(tmp_path):
    """Its rows count from below."""
    event_stream = pytest.importorskip("event_stream", reason="compares with event_stream where it is installed")
    recording = made(3_000_000)
    write_recording(recording, tmp_path / "a.es")
    with event_stream.Decoder(str(tmp_path / "a.es")) as decoder:
        found = np.concatenate(list(decoder))
    same(recording, found["t"], found["x"], 179 - found["y"].astype(int), found["on"])


def test_dv_processing_writes_and_reads_the_same(tmp_path):
    dv = pytest.importorskip("dv_processing", reason="compares with dv-processing where it is installed")
    pytest.importorskip("faery", reason="faery writes this format")
    recording = made(3_000_000, t0=1_600_000_000_000_000)
    write_recording(recording, tmp_path / "a.aedat4")
    reader, parts = dv.io.MonoCameraRecording(str(tmp_path / "a.aedat4")), []
    while (events := reader.getNextEventBatch()) is not None:
        parts.append(events.numpy())
    found = np.concatenate(parts)
    same(recording, found["timestamp"], found["x"], found["y"], found["polarity"])
    config = dv.io.MonoCameraWriter.EventOnlyConfig("camera", (240, 180))
    writer, store = dv.io.MonoCameraWriter(str(tmp_path / "b.aedat4"), config), dv.EventStore()
    for t, x, y, p in recording.events.tolist():
        store.push_back(t + recording.t0, x, y, p)
    writer.writeEvents(store)
    del writer
    theirs = read_recording(tmp_path / "b.aedat4")
    assert np.array_equal(theirs.events["t"] + theirs.t0, recording.events["t"] + recording.t0)
    assert (theirs.width, theirs.height, theirs.notices) == (240, 180, ())
