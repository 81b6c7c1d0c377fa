"""Hostile files: victims, images, event recordings, and paths that are no plain files."""

import gzip
import hashlib
import json
import os
import shutil
import struct

import numpy as np
import pytest
from harm import MANY, holding, linked, replaced, safetensors, tensor
from mutations import mutate, written
from own_scripts import without_scripts
from safetensors.numpy import load_file, save_file

from spikeflip import LIF, SpikingNetwork
from spikeflip.snn.checkpoint import save_checkpoint

WEIGHTS = "weights.safetensors"
QUICK = ["--samples", "2", "--steps", "1", "--draws", "1", "--quiet"]


def attack(ground, kind, victim, *more):
    return ground.meet(kind, "attack", "--victim", victim, *QUICK, *more, "--out", ground.work / "out")


# --- victims ----------------------------------------------------------------------------------------------------------


@MANY
@pytest.mark.parametrize("name", ["victim.json", "weights.safetensors"])
def test_victims_damaged_at_random(ground, many, name):
    random = np.random.default_rng(len(name))
    for _ in range(60 if many else 4):
        ground.fresh()
        victim = ground.victim()
        (victim / name).write_bytes(mutate((victim / name).read_bytes(), random))
        attack(ground, f"damaged {name}", victim)


def described(victim, **changes):
    path = victim / "victim.json"
    description = json.loads(path.read_text())
    for name, value in changes.items():
        part, _, key = name.rpartition("__")
        (description[part] if part else description)[key] = value
    path.write_text(json.dumps(description))


def saying(**changes):
    return lambda victim: described(victim, **changes)


def weighed(victim, **tensors):
    """Other weights, with the checksum that belongs to them."""
    path = victim / "weights.safetensors"
    save_file(load_file(path) | tensors, path)
    described(victim, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


HUGE = tensor("F32", [10**15], [0, 4 * 10**15])
VICTIMS = {
    **{
        f"architecture {text[:30]}": saying(architecture=text)
        for text in (
            "", "10FC", "999999999C999999999-10FC", "99999999999999999999FC", "9" * 5000 + "FC",
            "1C1-" * 250_000 + "10FC",
            "1000000C3-1000000C3-10FC", "__import__('os').system('x')", "²FC", "٣FC", "AP2-AP2-AP2-10FC", "\ud800FC",
            "16C3-AP2-64FC-1000000FC", "16C3-AP2-64FC-1FC",
        )
    },
    **{
        f"input shape {shape}": saying(input_shape=shape)
        for shape in (
            [], [0, 8, 8], [1, 8], [1, 8, 8, 8], [10**15, 8, 8], [1, 10**9, 10**9], [-1, -8, -8], ["1", "8", "8"],
            [1.5, 8, 8], [float("inf"), 8, 8], None, "188", {}, [[1], [8], [8]], [10**400, 1, 1],
        )
    },
    **{
        f"steps {steps}": saying(time_steps=steps)
        for steps in (0, -1, 10**15, 10**400, "15", None, [], float("nan"), 1.5)
    },
    **{
        f"{name} {value}": saying(**{f"neuron__{name}": value})
        for name, value in (
            ("threshold", float("nan")), ("threshold", -1), ("threshold", 10**400), ("threshold", "x"), ("decay", 2),
            ("decay", None), ("reset", "often"), ("reset", []), ("surrogate_width", 0),
            ("surrogate_width", float("inf")),
        )
    },
    **{
        f"{name} {value!s:.30}": saying(**{f"facts__{name}": value})
        for name, value in (
            ("classes", 7), ("classes", "0123456789"), ("classes", []), ("classes", [None] * 10), ("classes", {"a": 1}),
            ("classes", ["<script>alert(1)</script>"] * 10), ("classes", ["\x1b[2J\n"] * 10), ("loss", "eval"),
            ("loss", ["mse"]), ("loss", 10**400), ("binning", 7), ("sensor", "x"), ("sensor", [0, -1]),
            ("accuracy", "<b>"), ("accuracy", float("nan")), ("accuracy_n", []), ("data", None),
        )
    },
    "facts are a list": saying(facts=[1]),
    "facts are deep": lambda v: (v / "victim.json").write_text('{"facts":' * 900 + "1" + "}" * 900),
    "a description of 2 MB": saying(facts__note="x" * (2 << 20)),
    "weights elsewhere": saying(weights="../../around/precious.txt", weights_sha256="../x"),
    "another checksum": saying(weights_sha256="00"),
    "weights of nan": lambda v: weighed(v, **{"weights.1": np.full((64, 256), np.nan, np.float32)}),
    "weights of inf": lambda v: weighed(v, **{"weights.0": np.full((16, 1, 3, 3), np.inf, np.float32)}),
    "weights of bytes": lambda v: weighed(v, **{"weights.0": np.zeros((16, 1, 3, 3), np.uint8)}),
    "weights of doubles": lambda v: weighed(v, **{"weights.0": np.zeros((16, 1, 3, 3))}),
    "more weights": lambda v: weighed(v, extra=np.zeros(3)),
    "no weights": lambda v: (v / WEIGHTS).unlink(),
    "a pickle": replaced(WEIGHTS, holding(b"\x80\x04cos\nsystem\n(S'touch ../canary'\ntR." * 9_999)),
    "10^15 weights": replaced(WEIGHTS, holding(safetensors({"weights.0": HUGE}, bytes(100_000)))),
    "a header of 2^62": replaced(WEIGHTS, holding(struct.pack("<Q", 1 << 62) + bytes(100_000))),
    "a device": replaced("victim.json", linked("/dev/zero")),
    "a pipe": replaced("victim.json", os.mkfifo),
    "a secret": replaced("victim.json", linked("/etc/passwd")),
    "weights of a device": replaced(WEIGHTS, linked("/dev/zero")),
    "weights of a pipe": replaced(WEIGHTS, os.mkfifo),
    "weights of a circle": replaced(WEIGHTS, linked(WEIGHTS)),
}  # fmt: skip


@MANY
def test_victims_by_hand(ground, many):
    for n, harm in enumerate(VICTIMS.values()):
        if not many and n % 11:
            continue
        ground.fresh()
        victim = ground.victim()
        harm(victim)
        attack(ground, "victim by hand", victim)


# --- images -----------------------------------------------------------------------------------------------------------


def idx(magic, *sizes, body=b""):
    return struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + body


IDX = {
    "t10k-images-idx3-ubyte": idx(0x803, 4, 8, 8, body=bytes(range(256))),
    "t10k-labels-idx1-ubyte": idx(0x801, 4, body=bytes([0, 1, 2, 3])),
}
IMAGES = {
    "10^15 images": {"t10k-images-idx3-ubyte": idx(0x803, 1 << 31, 1 << 12, 1 << 10, body=bytes(99))},
    "no images": {"t10k-images-idx3-ubyte": idx(0x803, 0, 8, 8)},
    "images without sides": {"t10k-images-idx3-ubyte": idx(0x803, 4, 0, 8)},
    "labels of no class": {"t10k-labels-idx1-ubyte": idx(0x801, 4, body=b"\xff" * 4)},
    "fewer labels": {"t10k-labels-idx1-ubyte": idx(0x801, 2, body=bytes(2))},
    "a pickle": {"t10k-images-idx3-ubyte": b"cos\nsystem\n(S'touch canary'\ntR."},
    "packed": {"t10k-images-idx3-ubyte": gzip.compress(bytes(10_000_000))},
    "packed, nothing else": {"t10k-images-idx3-ubyte": None, "t10k-images-idx3-ubyte.gz": gzip.compress(bytes(9_999))},
    "a folder": {"t10k-images-idx3-ubyte": "folder"},
    "a pipe": {"t10k-images-idx3-ubyte": "pipe"},
    "a device": {"t10k-labels-idx1-ubyte": "/dev/zero"},
    "a secret": {"t10k-labels-idx1-ubyte": "/etc/passwd"},
}  # fmt: skip


def lay(path, content):
    if content is None:
        return
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif isinstance(content, str):
        path.symlink_to(content)
    else:
        path.write_bytes(content)


def mnist(ground, kind, files):
    folder = ground.work / "root" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in files.items():
        lay(folder / name, content)
    attack(ground, kind, ground.victim(), "--data", "mnist", "--root", ground.work / "root")


@MANY
def test_images(ground, many):
    random = np.random.default_rng(3)
    for name in list(IDX) * (30 if many else 2):
        ground.fresh()
        mnist(ground, "damaged images", IDX | {name: mutate(IDX[name], random)})
    for files in list(IMAGES.values())[:: 1 if many else 4]:
        ground.fresh()
        mnist(ground, "images by hand", IDX | files)


@MANY
def test_pickled_batches_are_not_opened(ground, many):
    pickled = b"cos\nsystem\n(S'touch " + str(ground.canary).encode() + b"'\ntR."
    for name in ("data_batch_1", "test_batch", "batches.meta")[: 3 if many else 1]:
        folder = ground.fresh() / "root" / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for other in ("data_batch_1", "test_batch", "batches.meta", name):
            (folder / other).write_bytes(pickled)
        attack(ground, "images by hand", ground.victim(), "--data", "cifar10", "--root", ground.work / "root")


# --- recordings -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def event_victim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "events"
    network = SpikingNetwork("2C3-AP2-3FC", (2, 17, 17), time_steps=3, neuron=LIF(0.05, 0.3), seed=2)
    binning = {"steps": 3, "rule": "time", "time_bin": 300.0, "height": 17, "width": 17}
    save_checkpoint(network, folder, {"binning": binning, "sensor": [34, 34], "classes": ["a", "b", "c"]})
    return folder


CAMERA = ("a.es", "a.aedat4", "a.dat", "a.raw")  # the second is written by faery


BINNINGS = [
    {"steps": 4.0}, {"steps": True}, {"steps": 10**400}, {"steps": None}, {"time_bin": "5"}, {"time_bin": True},
    {"time_bin": 1e300}, {"time_bin": 10**400}, {"time_bin": None}, {"rule": "foo"}, {"rule": "foo", "time_bin": None},
    {"rule": [], "time_bin": None}, {"height": "9"}, {"height": 9.0}, {"height": 0}, {"width": 10**400},
    {"counted": True}, {"counted": "no"}, {"x" * 2000: 1},
]  # fmt: skip


@MANY
def test_victims_of_a_damaged_binning(ground, event_victim, many):
    base = written(ground.work, "a.npz")
    for change in BINNINGS[:: 1 if many else 5]:
        path, victim = ground.fresh() / "a.npz", ground.work / "events"
        path.write_bytes(base)
        shutil.copytree(event_victim, victim)
        binning = json.loads((victim / "victim.json").read_text())["facts"]["binning"]
        described(victim, facts__binning=binning | change)
        for command in (["judge", path], ["attack", "--input", path, "--quiet", "--out", ground.work / "out"]):
            status, said = ground.meet("victim by hand", *command, "--victim", victim)
            assert (status, "the victim's" in said) == (2, True), said


@pytest.mark.parametrize(("time_bin", "allowed"), [("1e9", True), ("1.1e9", False), ("1e300", False)])
def test_time_bins_beyond_eleven_days_are_no_option(ground, time_bin, allowed):
    options = ["--data", ground.work / "gone", "--time-bin", time_bin, "--out", ground.work / "out"]
    status, said = ground.meet("value of an option", "train", *options)
    assert (status, "--time-bin is" in said) == (2, not allowed), said


@MANY
@pytest.mark.parametrize("name", ["a.bin", "a.npz", "a.npy", "a.csv", "a.aedat", "a2.aedat", *CAMERA])
def test_recordings_damaged_at_random(ground, event_victim, many, name, capfd):
    if name == "a.aedat4":
        pytest.importorskip("faery", reason="faery writes this format")
    base, random = written(ground.work, name), np.random.default_rng(13)
    for _ in range(25 if many else 2):
        path = ground.fresh() / f"a{name[name.index('.') :]}"
        path.write_bytes(mutate(base, random))
        kind = f"damaged {path.suffix}"
        ground.meet(kind, "events", path)
        ground.meet(kind, "judge", path, "--victim", event_victim)
        options = ["--victim", event_victim, "--steps", "1", "--quiet", "--out", ground.work / "out"]
        ground.meet(kind, "attack", "--input", path, *options)
    assert capfd.readouterr().err == ""  # also of libraries that write past Python


NAMES = [
    "a\nb.npz", "<script>alert(1).npz", "\x1b[2J.npz", "a\udcff.npz", "=1+1.npz", "💥\u202e.npz", "$(touch canary).npz",
    "-rf.npz", "[bold].npz", "[x].npz", "a" * 240 + ".npz",
]  # fmt: skip


@MANY
def test_recordings_of_strange_names(ground, event_victim, many):
    base = written(ground.work, "a.npz")
    for name in NAMES[: None if many else 2]:
        folder = ground.fresh() / "in" / (name[: len(name) // 2] + "x")
        folder.mkdir(parents=True)
        (folder / name).write_bytes(base)
        ground.meet("recording of a strange name", "events", folder / name)
        ground.meet("recording of a strange name", "judge", ground.work / "in", "--victim", event_victim)
        options = ["--victim", event_victim, "--steps", "1", "--out", ground.work / "out"]
        ground.meet("recording of a strange name", "attack", "--input", ground.work / "in", *options)
        page = ground.work / "out" / "report.html"
        assert not page.exists() or "<script" not in without_scripts(page.read_text("utf-8"))


def circle(folder):
    (folder / "in").symlink_to(folder)
    (folder / "on").symlink_to(folder)


FOLDERS = {
    "nothing": lambda folder: None,
    "circles": circle,
    "links to a device": lambda folder: (folder / "a.npz").symlink_to("/dev/zero"),
    "a pipe": lambda folder: os.mkfifo(folder / "a.bin"),
    "a link to nothing": lambda folder: (folder / "a.aedat").symlink_to("nowhere"),
    "folders named as files": lambda folder: (folder / "a.npz").mkdir(),
    "deep": lambda folder: (folder / "/".join(["d"] * 400)).mkdir(parents=True),
    "many": lambda folder: [(folder / f"{n}.bin").write_bytes(b"") for n in range(300)],
}


@MANY
def test_folders_of_recordings(ground, event_victim, many):
    for harm in list(FOLDERS.values())[: None if many else 3]:
        folder = ground.fresh() / "in"
        folder.mkdir()
        harm(folder)
        ground.meet("folder of recordings", "judge", folder, "--victim", event_victim)
        options = ["--victim", event_victim, "--steps", "1", "--quiet", "--out", ground.work / "out"]
        ground.meet("folder of recordings", "attack", "--input", folder, *options)
        ground.meet("folder of recordings", "attack", "--data", folder, *options)


# --- paths ------------------------------------------------------------------------------------------------------------

PATHS = [
    "/dev/null", "/dev/zero", "/dev/full", "/", "/proc/self/mem", "/proc/self/environ", ".", "..", "~", "circle",
    "pipe", "gone", "a/\nb", "x" * 300, "/root/\ud800", "a\udcff", "[/]",
    "../around/precious.txt",
]  # fmt: skip


@MANY
def test_paths_that_are_no_plain_files(ground, event_victim, many):
    cases = [
        ("events", "{}"), ("judge", "{}", "--victim", event_victim), ("judge", "in.npz", "--victim", "{}"),
        ("events", "convert", "{}", "new.npz"), ("events", "convert", "in.npz", "{}"),
        ("events", "in.npz", "--picture", "{}"), ("train", "-c", "{}", "--out", "new"),
        ("report", "{}"), ("report", "run", "--out", "{}"), ("runs", "{}"), ("verify", "{}", "--victim", "victim"),
        ("verify", "run", "--victim", "{}"), ("attack", "--victim", "{}", "--out", "new"),
        ("attack", "--victim", "victim", *QUICK, "--out", "{}"), ("attack", "-c", "{}"),
        ("attack", "--victim", "victim", "--data", "mnist", "--root", "{}", "--out", "new"),
        ("demo", "--out", "{}", "--frob"),
        ("train", "--network", "2C3-AP4-10FC", "--updates", "1", "--out", "{}", "--quiet"),
    ]  # fmt: skip
    base = written(ground.work, "a.npz")
    harmless = [path for path in PATHS if path not in (".", "..", "/", "~", "../around/precious.txt")]
    for n, (case, path) in enumerate((case, path) for case in cases for path in PATHS):
        if (not many and n % 23) or ("--out" in case[-3:] and case[0] != "report" and path not in harmless):
            continue  # writing into the folders around is what was asked for
        if case[-1] == "{}" and case[-2] in ("--picture", "--out") and path == "../around/precious.txt":
            continue  # a file to write, as asked
        if path.startswith("/dev/") and case[-1] == "{}" and case[-2] in ("--picture", "--out", "in.npz"):
            continue  # a mistake here would cost root the device
        if case[0] == "runs" and path in ("/", "~", ".."):
            continue  # looks through the whole disk, as asked
        work = ground.fresh()
        (work / "in.npz").write_bytes(base)
        (work / "circle").symlink_to("circle")
        os.mkfifo(work / "pipe")
        ground.victim(), ground.finished()
        ground.meet("path of no plain file", *(str(word).format(path) for word in case))
