"""Small files that ask for much memory: what a command takes beside its imports stays below 1 GB."""

import json
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from harm import MANY
from measured import Commands

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.report.loading import read_whole_rows
from spikeflip.snn.checkpoint import save_checkpoint

MOST = 1 << 30
SMALL = 1 << 16


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    started = Commands(tmp_path_factory.mktemp("commands"))
    yield started
    started.close()


def victim(folder, architecture="4C3-AP2-3FC", shape=(2, 8, 8), **changes):
    """A victim of small files whose description says something else than its network."""
    network = SpikingNetwork(architecture, shape, time_steps=3, neuron=LIF(0.3, 0.3))
    binning = {"steps": 3, "rule": "time", "time_bin": 300.0, "height": shape[1], "width": shape[2]}
    facts = {"classes": [str(k) for k in range(network.classes)], "sensor": [34, 34]}
    facts |= {"binning": binning | changes.pop("binning", {})} if shape[0] == 2 else {}
    save_checkpoint(network, folder / "victim", facts)
    path = folder / "victim" / "victim.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder / "victim"


def recording(folder, text="0,3,3,1\n10,2,1,0\n"):
    (folder / "a.csv").write_text(text)
    return folder / "a.csv"


def events(text, *more):
    return lambda folder: ["events", recording(folder, text), *more]


def judged(**changes):
    return lambda folder: ["judge", recording(folder), "--victim", victim(folder, **changes)]


def attacked(*options, **changes):
    return lambda folder: [
        *("attack", "--victim", victim(folder, **changes), "--attack", "random", "--samples", 40, "--draws", 1),
        *(*options, "--quiet", "--out", folder / "run"),
    ]


def examined(**changes):
    return lambda folder: ["doctor", "--victim", victim(folder, **changes)]


def images(magic, *sizes):
    def make(folder):
        raw = folder / "root" / "MNIST" / "raw"
        raw.mkdir(parents=True)
        header = b"".join(size.to_bytes(4, "big") for size in (magic, *sizes))
        (raw / "t10k-images-idx3-ubyte").write_bytes(header + bytes(9_000))
        (raw / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\1\0")
        return [
            "attack",
            "--victim",
            victim(folder),
            "--data",
            "mnist",
            "--root",
            folder / "root",
            "--out",
            folder / "r",
        ]

    return make


def trained(text):
    def make(folder):
        (folder / "data" / "a").mkdir(parents=True)
        (folder / "data" / "b").mkdir()
        for name in ("a/1", "b/2"):
            (folder / "data" / f"{name}.csv").write_text(text)
        return ["train", "--data", folder / "data", "--updates", 1, "--quiet", "--out", folder / "v"]

    return make


def grid(folder):
    values = ", ".join(map(str, range(1, 200)))
    names = ("steps", "draws", "candidates", "block", "top-k", "seed")
    (folder / "sweep.toml").write_text("[grid]\n" + "".join(f"{name} = [{values}]\n" for name in names))
    return ["sweep", folder / "sweep.toml", "--out", folder / "sweep"]


FAR = "0,16383,16383,1\n"
DIGITS = {"architecture": "4C3-AP2-10FC", "shape": (1, 8, 8)}
WIDE = {"architecture": "AP5-AP10-AP10-3FC", "shape": (2, 1000, 1000)}
FILES = {
    "a pixel far away": events(FAR),
    "a pixel as far as can be": events("0,65535,65535,1\n"),
    "a picture of it": events(FAR, "--picture", "p.png"),
    "a training on it": trained(FAR),
    "10^6 bins": judged(binning={"steps": 10**6}),
    "10^9 bins": judged(binning={"steps": 10**9}),
    "10^9 bins attacked": lambda folder: [
        *("attack", "--input", recording(folder), "--victim", victim(folder, binning={"steps": 10**9})),
        *("--out", folder / "run"),
    ],
    "10^4 bins of large frames": judged(**WIDE, binning={"steps": 10**4}),
    "10^4 time steps": attacked(**DIGITS, time_steps=10**4),
    "2000 time steps": attacked(**DIGITS, time_steps=2000),
    "10^9 time steps": attacked(**DIGITS, time_steps=10**9),
    "large inputs examined": examined(**WIDE, time_steps=10**4),
    "many inputs examined": examined(**WIDE, time_steps=8),
    "many steps examined": examined(**DIGITS, time_steps=10**4),
    "images without end": images(0x803, 1 << 31, 1 << 12, 1 << 12),
    "one large image": images(0x803, 1, 30_000, 30_000),
    "a grid without end": grid,
}
FEW = ("a pixel far away", "a training on it", "10^9 bins")


@MANY
def test_what_a_command_takes_for_a_small_file(commands, tmp_path, many):
    for name, make in FILES.items() if many else ((name, FILES[name]) for name in FEW):
        folder = tmp_path / "case"
        folder.mkdir()
        arguments = make(folder)
        assert all(path.stat().st_size < SMALL for path in folder.rglob("*") if path.is_file()), name
        found = commands.run(*arguments)
        shown = f"{name}: {found}"
        assert found.status in (0, 1, 2), shown
        assert found.said.count("\n") <= 1, shown
        assert "memory ran out" not in found.said, shown
        assert 0 <= found.grew < MOST, shown
        shutil.rmtree(folder)


def words(path, rows, word, **options):
    zeros = pyarrow.array(np.zeros(rows, np.int32))
    table = pyarrow.table({"n": zeros, "file": pyarrow.DictionaryArray.from_arrays(zeros, pyarrow.array([word]))})
    # Without Arrow's own schema, a reader takes the column for plain words.
    pyarrow.parquet.write_table(table, path, store_schema=False, **options)


def test_one_long_word_for_many_rows_is_not_unpacked(tmp_path):
    words(tmp_path / "rows.parquet", 5_000, "x" * 200_000)
    assert (tmp_path / "rows.parquet").stat().st_size < SMALL
    usual = pyarrow.default_memory_pool()
    counted = pyarrow.proxy_memory_pool(usual)
    pyarrow.set_memory_pool(counted)
    try:
        with pytest.raises(SpikeflipError, match="column file has a word of more than 4,096 characters"):
            read_whole_rows(tmp_path, [4, 4_000])
    finally:
        pyarrow.set_memory_pool(usual)
    assert counted.max_memory() < 300 << 20  # 1 GB in all


def test_rows_that_are_asked_for_come_from_any_part_of_the_file(tmp_path):
    names = [f"{row}.npz" for row in range(1000)]
    table = pyarrow.table({"n": np.arange(1000), "file": names})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=300)
    at = [0, 255, 256, 299, 300, 999]
    assert read_whole_rows(tmp_path, at) == {"n": at, "file": [names[row] for row in at]}


@pytest.mark.parametrize("codec", ["zstd", "gzip", "brotli"])
def test_rows_packed_more_tightly_than_a_run_packs_them_are_refused(tmp_path, codec):
    words(tmp_path / "rows.parquet", 5, "x", compression=codec)
    with pytest.raises(SpikeflipError, match=f"packed by {codec.upper()}, which can unpack to any size"):
        read_whole_rows(tmp_path, [0])
