"""Whose a folder is: what a run did not write stays as it is, and no link leads a writer elsewhere."""

import json
import os
import subprocess
import sys

import pytest
from disturbances import small_config, stop_after
from PIL import Image

from spikeflip import writing
from spikeflip.data import Recording, write_recording
from spikeflip.errors import SpikeflipError
from spikeflip.experiments import reproduce
from spikeflip.report import write_report
from spikeflip.runs import folder as run_folder
from spikeflip.runs import run_attack
from spikeflip.runs.folder import new_folder
from spikeflip.runs.lock import locked

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")
TRAIN = ["train", "--network", "4C3-AP2-10FC", "--updates", "1", "--quiet", "--out"]


def tree(folder):
    """All that is in a folder, with its content; links as such."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


FOREIGN = {
    "a file in shards": ["shards/mine.tar"],
    "a partial folder": [".x.partial/mine"],
    "a partial file": [".x.partial"],
    "a partial file of our naming": [".mine.txt.0123abcd.partial"],
    "a log": ["run.log"],
    "a page": ["report.html"],
    "a shard": ["shards/00000/rows.parquet"],
    "a lock with something in it": [".lock"],
    "a configuration": ["config.json"],
    "weights": ["weights.safetensors"],
    "a state": ["training.safetensors"],
    "a claim": ["training.json"],
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_what_somebody_else_put_there_stays(command, run, tmp_path, files):
    for name in files:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text("mine")
    before = tree(tmp_path)
    for words in (command, TRAIN, ["demo", "--quiet", "--out"]):
        status, out, err = run(*words, tmp_path / "d")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert tree(tmp_path) == before


def test_what_is_put_into_a_run_stays(command, undisturbed, results, run, tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    assert run(*command, tmp_path / "run")[0] == 130
    monkeypatch.undo()
    mine = ["shards/mine.tar", ".x.partial/mine", "shards/.x.partial", "notes.txt", ".rows.txt.0123abcd.partial"]
    for name in mine:
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
    assert run(*command, tmp_path / "run") == (0, "", "")
    assert results(tmp_path / "run") == results(undisturbed)
    assert all((tmp_path / "run" / name).read_text() == "mine" for name in mine)
    assert "was finished already" in run(*(part for part in command if part != "--quiet"), tmp_path / "run")[1]


def test_a_file_in_a_finished_shard_is_named(command, run, tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    assert run(*command, tmp_path / "run")[0] == 130
    monkeypatch.undo()
    (tmp_path / "run" / "shards" / "00001" / "mine.txt").write_text("mine")
    assert "00001 holds other files than a shard's: move them elsewhere" in run(*command, tmp_path / "run")[2]
    assert (tmp_path / "run" / "shards" / "00001" / "mine.txt").read_text() == "mine"


def test_a_new_folder_takes_the_place_of_an_empty_one_alone(tmp_path):
    (tmp_path / "d" / ".x.partial").mkdir(parents=True)
    with pytest.raises(SpikeflipError, match="already holds other files"), new_folder(tmp_path / "d"):
        pytest.fail("it was made")
    assert (tmp_path / "d" / ".x.partial").is_dir()


# --- links ------------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("name", [".lock", "run.log", "shards", "training.safetensors", "weights.safetensors", "x"])
def test_no_link_is_followed_by_attack_and_train(command, run, tmp_path, name):
    for there in (True, False):
        for words in (command, TRAIN):
            home = tmp_path / f"{there}-{words[0]}"
            (home / "d").mkdir(parents=True)
            if there:
                (home / "precious").write_text("keep me")
            (home / "d" / name).symlink_to(home / "precious")
            before = tree(home)
            status, out, err = run(*words, home / "d")
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert tree(home) == before


@posix
@pytest.mark.parametrize("name", [".lock", "table.csv", "pooled.csv", "report.html", "gamma=0.1"])
def test_no_link_is_followed_by_sweep(small_victim, run, tmp_path, name):
    (tmp_path / "s.toml").write_text(f'[base]\nvictim = "{small_victim}"\nsamples = 1\n[grid]\ngamma = [0.1]\n')
    (tmp_path / "precious").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).symlink_to(tmp_path / "precious")
    before = tree(tmp_path)
    status, out, err = run("sweep", tmp_path / "s.toml", "--quiet", "--out", tmp_path / "d")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert tree(tmp_path) == before


@posix
@pytest.mark.parametrize("name", ["results", "victims", "runs", "measured", ".measuring", "reproduction", "results/x"])
def test_no_link_is_followed_by_reproduce(run, tmp_path, name):
    (tmp_path / "precious").mkdir()
    (tmp_path / "d" / name).parent.mkdir(parents=True)
    (tmp_path / "d" / name).symlink_to(tmp_path / "precious")
    before = tree(tmp_path)
    status, out, err = run("reproduce", "table-7", "--preset", "smoke", "--quiet", "--out", tmp_path / "d")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "is a link" in err
    assert tree(tmp_path) == before


@posix
def test_the_writer_replaces_a_link_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "precious").write_text("keep me")
    (tmp_path / "precious").chmod(0o666)
    (tmp_path / "name").symlink_to(tmp_path / "precious")
    writing.write_bytes(tmp_path / "name", b"new")
    assert (tmp_path / "precious").read_text() == "keep me"
    assert not (tmp_path / "name").is_symlink()
    assert (tmp_path / "name").read_bytes() == b"new"


@posix
@pytest.mark.parametrize("make", [lambda p: p.symlink_to("precious"), os.mkfifo, lambda p: p.write_text("mine")])
def test_a_lock_that_is_not_one_is_left_alone(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(SpikeflipError, match="is not the lock of a run"), locked(tmp_path):
        pytest.fail("it was taken")
    assert os.path.lexists(tmp_path / ".lock")
    assert not (tmp_path / "precious").exists()


# --- what is written over ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["table.csv", "report.html"])
def test_sweep_writes_over_its_own_files_alone(small_victim, run, tmp_path, name):
    (tmp_path / "s.toml").write_text(
        f'[base]\nvictim = "{small_victim}"\nsamples = 1\nsteps = 1\ndraws = 1\n[grid]\ngamma = [0.1]\n'
    )
    words = ["sweep", tmp_path / "s.toml", "--quiet", "--out", tmp_path / "d"]
    assert run(*words) == (0, "", "")
    assert run(*words) == (0, "", "")
    (tmp_path / "d" / name).write_text("mine")
    status, _, err = run(*words)
    assert (status, (tmp_path / "d" / name).read_text()) == (2, "mine")
    assert f"holds a {name} that no sweep wrote: give a folder of its own" in err


def test_report_writes_over_pages_alone(undisturbed, tmp_path):
    for _ in range(2):
        write_report([undisturbed], tmp_path / "page.html")
    before = (undisturbed / "rows.parquet").read_bytes()
    with pytest.raises(SpikeflipError, match=r"rows\.parquet exists and is not a page of spikeflip: give another name"):
        write_report([undisturbed], undisturbed / "rows.parquet")
    assert (undisturbed / "rows.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reproduction.md", "holds a reproduction.md and no results that it is made of"),
        ("reproduction/notes.txt", "holds a reproduction and no results that it is made of"),
        ("results/table-7.json", "table-7.json is not a result that reproduce wrote"),
    ],
)
def test_reproduce_writes_over_its_own_files_alone(tmp_path, name, message):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    with pytest.raises(SpikeflipError, match=message):
        reproduce(["table-7"], tmp_path, preset="smoke")
    assert tree(tmp_path) == {**dict.fromkeys([name.partition("/")[0]], None), name: b"{}"}


def test_a_page_of_a_reproduction_that_somebody_wrote_stays(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table-7.json").write_text('{"experiment": "table-7"}')
    (tmp_path / "reproduction.md").write_text("mine")
    with pytest.raises(SpikeflipError, match="is not a page that reproduce wrote"):
        reproduce(["table-7"], tmp_path, preset="smoke")


def test_a_picture_is_not_written_over_a_recording(run, tmp_path):
    write_recording(Recording.from_columns([1], [2], [3], [1], height=8, width=8), tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()
    status, _, err = run("events", tmp_path / "a.npz", "--picture", tmp_path / "a.npz")
    assert (status, (tmp_path / "a.npz").read_bytes()) == (2, before)
    assert "exists and is not a PNG picture: give another name, or delete it" in err
    for _ in range(2):
        assert run("events", tmp_path / "a.npz", "--picture", tmp_path / "a.png")[0] == 0
    assert Image.open(tmp_path / "a.png").format == "PNG"


@posix
def test_recordings_pictures_and_pages_follow_the_umask(undisturbed, run, tmp_path):
    before = os.umask(0o027)
    try:
        write_recording(Recording.from_columns([1], [2], [3], [1], height=8, width=8), tmp_path / "a.npz")
        run("events", tmp_path / "a.npz", "--picture", tmp_path / "a.png")
        write_report([undisturbed], tmp_path / "page.html")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


# --- what a manifest says ---------------------------------------------------------------------------------------------


def test_a_manifest_lists_every_way_in_which_a_run_went_on(small_victim, undisturbed, results, tmp_path, monkeypatch):
    config, out = small_config(small_victim), tmp_path / "run"
    for version in ("9.1", "9.1", "9.2", "9.3"):
        monkeypatch.setattr(run_folder, "__version__", version)
        stop_after(monkeypatch, 1)
        with pytest.raises(KeyboardInterrupt):
            run_attack(config, out)
        monkeypatch.undo()
    run_attack(config, out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["versions"]["spikeflip"] == "9.1"
    assert [one["versions"]["spikeflip"] for one in manifest["continued"]][:2] == ["9.2", "9.3"]
    assert len(manifest["continued"]) == 3
    assert "continued" not in json.loads((undisturbed / "manifest.json").read_text())
    assert results(out) == results(undisturbed)


def test_the_commit_is_of_our_own_tree_alone(tmp_path, monkeypatch):
    """Not of somebody's project that an environment with the package lies in."""
    package = tmp_path / "src" / "spikeflip" / "runs"
    package.mkdir(parents=True)
    monkeypatch.setattr(run_folder, "__file__", str(package / "folder.py"))
    run_folder._commit.cache_clear()
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)
    for text, told in ((None, False), ('[project]\nname = "mine"\n', False), ('[project]\nname = "spikeflip"\n', True)):
        if text is not None:
            (tmp_path / "pyproject.toml").write_text(text)
        run_folder._commit.cache_clear()
        assert (run_folder._commit() is not None) is told
    run_folder._commit.cache_clear()


def test_a_run_of_a_version_with_fewer_options_goes_on(command, undisturbed, results, run, tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    assert run(*command, tmp_path / "run")[0] == 130
    monkeypatch.undo()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    for part in ("options", "identity"):
        del config[part]["surrogate_width"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    status, _, err = run(*command, tmp_path / "run", "--surrogate-width", "2")
    assert (status, "surrogate_width: None -> 2.0" in err) == (2, True)
    assert run(*command, tmp_path / "run") == (0, "", "")
    assert results(tmp_path / "run") == results(undisturbed)


def test_no_rows_are_a_result(small_recordings, run, tmp_path):
    victim, data = small_recordings
    words = ["attack", "--victim", victim, "--input", data / "left" / "0.npz", "--label", "1", "--target", "1"]
    for out, more in (("a", []), ("b", ["--trace"])):
        assert run(*words, *more, "--quiet", "--out", tmp_path / out)[0] == 0
        assert json.loads((tmp_path / out / "summary.json").read_text())["n"] == 0
        assert run("verify", tmp_path / out, "--victim", victim, "--input", data / "left" / "0.npz", "--quiet")[0] == 0
        assert run("runs", tmp_path / out, "--format", "csv")[1].splitlines()[1].startswith(str(tmp_path / out))
        assert run("transfer", tmp_path / out, "--victim", victim, "--quiet")[0] == 0


def test_an_evaluation_is_named_where_a_run_would_go(command, run, tmp_path):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "config.json").write_text('{"suite": "binary-l0/1", "identity": {"threat": "binary-l0"}}')
    said = f"spikeflip: --out {tmp_path / 'e'} holds an evaluation, and no run of attack: give another folder\n"
    assert run(*command, tmp_path / "e") == (2, "", said)
