"""The command on event recordings: trained, attacked, written back, and judged from the files."""

import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from spikeflip.cli.app import main
from spikeflip.data import Binning, Recording, bin_events, read_recording, write_recording

pytestmark = pytest.mark.usefixtures("undrawn")

SIDE, LAST = 16, 50_000
BINNING = Binning(8, time_bin=5, height=SIDE, width=SIDE)
CLASSES = ("down", "left", "right")


def moving_bar(direction, seed):
    """A bar that crosses the sensor in 50 ms, with noise."""
    random = np.random.default_rng(seed)
    n, noise = 600, 60
    t = np.sort(random.integers(0, LAST, n))
    across, along = random.integers(0, SIDE, n), (t * SIDE // LAST) % SIDE
    x, y = {"right": (along, across), "left": (SIDE - 1 - along, across), "down": (across, along)}[direction]
    p = random.integers(0, 2, n)
    where = random.integers(0, n, noise)
    x[where], y[where] = random.integers(0, SIDE, noise), random.integers(0, SIDE, noise)
    return Recording.from_columns(t, x, y, p, height=SIDE, width=SIDE, t0=7_000_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 recordings a class, of three formats."""
    root = tmp_path_factory.mktemp("bars")
    for label, direction in enumerate(CLASSES):
        (root / direction).mkdir()
        for n in range(30):
            ending = (".npz", ".aedat", ".bin")[n % 3]
            write_recording(moving_bar(direction, 100 * label + n), root / direction / f"{n}{ending}")
    return root


@pytest.fixture(scope="module")
def victim(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("victims") / "bars"
    network = ["--network", "8C3-AP2-32FC-3FC", "--updates", "40", "--learning-rate", "0.01", "--batch-size", "16"]
    bins = ["--time-steps", "8", "--time-bin", "5", "--sensor", f"{SIDE}x{SIDE}"]
    still = ["--dropout", "0", "--widest-dropout", "0", "--shift", "1", "--initial-rate", "0.05", "--validation", "18"]
    main(["train", "--data", str(folder), *network, *bins, *still, "--out", str(out), "--quiet"])
    return out


@pytest.fixture(scope="module")
def attacked(folder, victim, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "bars"
    main(["attack", "--victim", str(victim), "--input", str(folder), "--out", str(out), "--quiet"])
    return out


def rows_of(run_folder):
    return pyarrow.parquet.read_table(run_folder / "rows.parquet").to_pydict()


def test_the_victim_says_how_it_was_trained(victim):
    facts = json.loads((victim / "victim.json").read_text())
    facts = facts.get("facts", facts)
    assert facts["accuracy"] >= 0.9
    assert facts["accuracy_n"] == 18  # every fifth of 30, three classes
    assert facts["binning"] == {
        "steps": 8, "rule": "time", "time_bin": 5.0, "height": SIDE, "width": SIDE, "counted": False
    }  # fmt: skip
    assert facts["sensor"] == [SIDE, SIDE]
    assert facts["data"]["simulated"] is False
    assert facts["data"]["events"] > facts["data"]["events_outside"] > 0


def test_every_file_comes_back_under_its_name_and_format(folder, attacked):
    before = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    after = {path.relative_to(attacked / "adversarial").as_posix() for path in (attacked / "adversarial").rglob("*.*")}
    assert before == after
    assert set(rows_of(attacked)["file"]) == {f"adversarial/{name}" for name in before}
    for name in ("down/0.npz", "left/1.aedat", "right/2.bin"):
        original, adversarial = (read_recording(path / name) for path in (folder, attacked / "adversarial"))
        assert adversarial.format == original.format
        assert adversarial.t0 == original.t0
        window = BINNING.steps * 5_000
        late = original.events[original.events["t"] >= window]
        assert np.array_equal(adversarial.events[adversarial.events["t"] >= window], late)


def test_files_read_afresh_are_the_frames_that_were_judged(attacked):
    tensors, rows = load_file(attacked / "adversarials.safetensors"), rows_of(attacked)
    for file, frames in zip(rows["file"], tensors["adversarials"], strict=True):
        found = read_recording(attacked / file, height=SIDE, width=SIDE)
        assert torch.equal(bin_events(found, BINNING).frames, frames)
    summary = json.loads((attacked / "summary.json").read_text())
    assert summary["files"] == summary["files_exact"] == 90
    assert summary["attack_success_rate"] == summary["verified_success_rate"] > 0.9
    assert summary["events_added_mean"] > 0


def test_counts_of_events_are_those_of_the_files(folder, attacked):
    rows = rows_of(attacked)
    for i in range(0, 90, 7):
        name = rows["file"][i].removeprefix("adversarial/")
        original, adversarial = read_recording(folder / name), read_recording(attacked / rows["file"][i])
        assert rows["events"][i] == len(original)
        assert len(adversarial) == len(original) + rows["events_added"][i] - rows["events_removed"][i]
        assert rows["events_outside"][i] == (original.events["t"] >= 40_000).sum()


def test_judge_agrees_with_the_run(run, victim, attacked):
    rows = rows_of(attacked)
    files = [attacked / file for file in rows["file"][:12]]
    status, out, err = run("judge", "--victim", victim, *files, "--json")
    assert (status, err) == (0, "")
    said = [answer["prediction"] for answer in json.loads(out)]
    assert said == [None if k < 0 else CLASSES[k] for k in rows["prediction"][:12]]
    status, out, _ = run("judge", "--victim", victim, *files)
    assert status == 0
    assert "8 bins of 5 ms, 16 × 16 cells, binary" in out


def test_judging_is_of_the_file_not_of_the_attack(run, folder, victim, attacked):
    file = rows_of(attacked)["file"][0]
    (clean,) = json.loads(run("judge", "--victim", victim, folder / file.removeprefix("adversarial/"), "--json")[1])
    (fooled,) = json.loads(run("judge", "--victim", victim, attacked / file, "--json")[1])
    assert clean["prediction"] != fooled["prediction"]


def test_same_command_same_files(run, folder, victim, attacked, tmp_path):
    single = folder / "left" / "1.aedat"
    for out in ("a", "b"):
        options = ("--input", single, "--label", 1, "--out", tmp_path / out)
        assert run("attack", "--victim", victim, *options)[0] == 0
    first, second = (tmp_path / out / "adversarial" / "1.aedat" for out in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_single_file_without_label_is_attacked_away_from_what_the_victim_says(run, folder, victim, tmp_path):
    options = ("--input", folder / "left" / "1.aedat", "--out", tmp_path / "run")
    status, out, _ = run("attack", "--victim", victim, *options)
    assert status == 0
    assert "events:" in out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["labels"] == "1 are what the victim says of the original"
    assert rows_of(tmp_path / "run")["label"] == [1]


def test_targets_have_a_folder_each(run, folder, victim, tmp_path):
    options = ("--input", folder / "down" / "0.npz", "--label", 0, "--target", "all", "--out", tmp_path / "run")
    assert run("attack", "--victim", victim, *options)[0] == 0
    found = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*.npz")}
    assert found == {"adversarial/to-1/0.npz", "adversarial/to-2/0.npz"}


def test_a_data_set_is_attacked_like_a_folder(run, folder, victim, tmp_path):
    options = ("--data", folder, "--samples", 3, "--sensor", "16x16", "--out", tmp_path / "run")
    assert run("attack", "--victim", victim, *options)[0] == 0
    rows = rows_of(tmp_path / "run")
    assert rows["label"] == [0, 1, 2]  # the first of each class
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Events added" in page
    assert "simulated" not in page.lower().replace("&nbsp;", " ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--input", "missing.npz"], "missing.npz is no recording and no folder with any"),
        (["--input", "empty"], "empty is no recording and no folder with any"),
        (["--input", "{folder}/left/1.aedat", "--label", "3"], "--label 3 is out of range: the classes are 0 ("),
        (["--input", "{folder}/left/1.aedat", "--sensor", "16"], "--sensor is '16'"),
        (
            ["--data", "nowhere"],
            "nor a folder of recordings: choose from digits, mnist, cifar10",
        ),
        (["--data", "nmnist"], "nmnist is read from files and no root was given"),
        (["--data", "{folder}", "--simulate-events"], "--simulate-events turns images into events"),
    ],
)
def test_mistakes_are_one_sentence(run, folder, victim, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    change = [part.format(folder=folder) for part in change]
    status, out, err = run("attack", "--victim", victim, *change, "--out", tmp_path / "run")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_recording_that_could_not_be_written_back_is_refused_before_the_attack(run, victim, tmp_path):
    early = moving_bar("left", 1)
    early.events["t"] -= 8_000_000  # before the zero of AEDAT's clock
    write_recording(early, tmp_path / "early.npz")
    (tmp_path / "early").mkdir()
    shutil.copy(tmp_path / "early.npz", tmp_path / "early" / "early.npz")
    assert run("events", "convert", tmp_path / "early.npz", tmp_path / "early.aedat")[0] == 2
    assert not (tmp_path / "early.aedat").exists()


def test_an_empty_recording_is_a_tie_and_not_attacked(run, victim, tmp_path):
    write_recording(Recording.from_columns([], [], [], [], height=SIDE, width=SIDE), tmp_path / "empty.npz")
    status, out, _ = run("judge", "--victim", victim, tmp_path / "empty.npz", "--json")
    assert status == 0
    assert json.loads(out)[0]["prediction"] is None
    status, _, _ = run("attack", "--victim", victim, "--input", tmp_path / "empty.npz", "--out", tmp_path / "r")
    assert status == 0
    assert rows_of(tmp_path / "r")["already_wrong"] == [True]


def test_an_image_victim_says_that_it_cannot_judge_recordings(run, folder, tmp_path):
    out = tmp_path / "digits"
    main(["train", "--network", "4C3-AP2-10FC", "--updates", "2", "--out", str(out), "--quiet"])
    status, _, err = run("judge", "--victim", out, folder / "left" / "1.aedat")
    assert status == 2
    assert "the victim takes inputs (1, 8, 8), and recordings become (2, H, W): give it images" in err


def test_a_set_without_test_recordings_is_trained_and_says_so(run, tmp_path):
    for direction in ("left", "right"):
        (tmp_path / "bars" / direction).mkdir(parents=True)
        for n in range(4):
            write_recording(moving_bar(direction, n), tmp_path / "bars" / direction / f"{n}.npz")
    options = ("--network", "4C3-AP2-2FC", "--updates", 3, "--validation", 0, "--out", tmp_path / "victim")
    status, out, _ = run("train", "--data", tmp_path / "bars", *options)
    assert status == 0
    assert "no test inputs" in out
    attack = ("--victim", tmp_path / "victim", "--data", tmp_path / "bars")
    status, _, err = run("attack", *attack, "--out", tmp_path / "run")
    assert status == 2
    assert "try the other --split" in err
    assert run("attack", *attack, "--split", "train", "--samples", 2, "--out", tmp_path / "run")[0] == 0


# --- events -----------------------------------------------------------------------------------------------------------


def test_events_describes_a_recording(run, folder, tmp_path):
    status, out, err = run("events", folder / "left" / "1.aedat", "--picture", tmp_path / "left.png")
    assert (status, err) == (0, "")
    for words in ("AEDAT 3.1", "16 × 16", "600 (", "7,000,000 µs", "events a second"):
        assert words in out
    assert (tmp_path / "left.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = run("events", folder / "right" / "2.bin", "--json")
    facts = json.loads(out)
    assert (facts["events"], facts["on"] + facts["off"]) == (600, 600)
    assert facts["width"] == 34  # guessed, and said
    assert "does not say the sensor's size" in facts["notes"][0]


def test_events_converts_event_for_event(run, folder, tmp_path):
    source = folder / "left" / "1.aedat"
    status, out, _ = run("events", "convert", source, tmp_path / "left.csv")
    assert status == 0
    assert "csv does not hold t0 = 7,000,000 µs" in out
    assert np.array_equal(read_recording(tmp_path / "left.csv").events, read_recording(source).events)
    status, _, err = run("events", "convert", source, tmp_path / "left.csv")
    assert status == 2
    assert "exists" in err
    status, _, err = run("events", "convert", source, tmp_path / "left.mp4")
    assert status == 2
    assert "cannot be written: choose one of N-MNIST bin" in err


def test_formats_and_data_are_listed(run):
    _, out, _ = run("list", "formats", "--json")
    assert {"N-MNIST bin", "npz", "AEDAT 3.1", "EVT3"} <= json.loads(out).keys()
    _, out, _ = run("list", "data", "--json")
    assert {"nmnist", "dvsgesture", "cifar10dvs", "digits"} <= json.loads(out).keys()
