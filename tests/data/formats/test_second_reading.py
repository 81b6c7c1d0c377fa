"""Whatever a file's bytes are, a read gives the events of a plain second reading, says what is odd, or refuses."""

from collections import Counter

import numpy as np
import pytest
from mutations import mutate, recording
from plain_decoders import DECODERS, Held

from spikeflip import SpikeflipError, read_recording, write_recording
from spikeflip.data import FORMATS

FILES = [60, pytest.param(2_000, marks=pytest.mark.hostile)]
#: Where the second reading goes another way, or none: the recording must say which way it went.
SAID = {"columns-found", "time-unit"}


def base_of(tmp_path, name):
    path = tmp_path / f"base{FORMATS[name].endings[0]}"
    if name != "AEDAT4":
        write_recording(recording(), path, format=name)
        return path.read_bytes()
    faery = pytest.importorskip("faery", reason="faery writes this format")
    from spikeflip.data.formats import aedat4

    class Uncompressed:
        """faery's encoder, without compression, so that what is damaged is the events."""

        LZ4_DEFAULT = None
        DescriptionNode, DescriptionAttribute = faery.aedat.DescriptionNode, faery.aedat.DescriptionAttribute
        Encoder = faery.aedat.Encoder

    class Faery:
        aedat = Uncompressed

    events = np.empty(300, dtype=faery.EVENTS_DTYPE)
    for field, source in (("t", "t"), ("x", "x"), ("y", "y"), ("on", "p")):
        events[field] = recording().events[source]
    aedat4._encode(Faery, events, (34, 34), 0, path)
    return path.read_bytes()


def second(name, data):
    try:
        return DECODERS[name](data)
    except Exception as error:  # a plain reading of damaged bytes may end anywhere
        return error


def check(path, name, data):
    """How the read ended; a failure where it agrees with the second reading in nothing, and says nothing."""
    path.write_bytes(data)
    try:
        found = read_recording(path)
    except SpikeflipError:
        return "refused"
    codes = {notice.code for notice in found.notices}
    if found.format != name:  # the first bytes are another format's; its own tests judge that
        assert found.format in ("N-MNIST bin", "DAT", "EVT2", "EVT3", "csv")
        return "other"
    if codes & SAID:
        return "noted"
    held = second(name, data)
    assert isinstance(held, Held), (held, found.notes)
    clock = found.events["t"] + found.t0
    events = list(zip(clock.tolist(), *(found.events[field].tolist() for field in "xyp"), strict=True))
    assert events == held.sorted()
    assert held.noted <= codes, (held.noted, found.notes)
    if held.size is not None:
        assert (found.width, found.height) == held.size
    return "noted" if codes - {"sensor-guessed"} else "equal"


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("name", DECODERS)
def test_damaged_files_are_read_as_their_bytes_say_or_refused(tmp_path, name, files):
    base, random = base_of(tmp_path, name), np.random.default_rng(11)
    path = tmp_path / f"damaged{FORMATS[name].endings[0]}"
    assert check(path, name, base) == "equal"
    ends = Counter(check(path, name, mutate(base, random)) for _ in range(files))
    assert ends["refused"] > files / 20
    assert ends["equal"] + ends["noted"] > files / 20


@pytest.mark.parametrize("name", ["DAT", "EVT2", "EVT3"])
def test_headers_of_cameras_that_are_damaged(tmp_path, name):
    """Flips in the text alone, where the sensor, the zero and the order of bytes are said."""
    base, random = base_of(tmp_path, name), np.random.default_rng(3)
    path = tmp_path / f"damaged{FORMATS[name].endings[0]}"
    ends = Counter()
    for _ in range(100):
        data = bytearray(base)
        data[random.integers(0, 90)] ^= 1 << random.integers(0, 8)
        ends[check(path, name, bytes(data))] += 1
    assert ends["equal"] > 10
