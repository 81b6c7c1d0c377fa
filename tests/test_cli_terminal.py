"""What the command shows in terminals of all kinds, and what it says once more when nothing is left to do."""

import numpy as np
import pytest

from spikeflip.cli.run_lists import print_runs
from spikeflip.cli.terminal import print_recording, print_verdicts, training_label
from spikeflip.snn.firing import Firing, LayerFiring
from spikeflip.snn.training import TrainingProgress

TINY = ["--network", "4C3-AP4-10FC", "--updates", "1", "--validation", "20", "--test-samples", "50"]


def listed_run(name, settings=None, **changed):
    figures = dict.fromkeys(("success", "verified", "mse", "steps", "passes", "seconds"), 0.5)
    bounds = {f"{rate}_{end}": at for rate in ("success", "verified") for end, at in (("low", 0.4), ("high", 0.6))}
    row = {"name": name, "runs": 1, "state": "finished", "victim": "v", "goal": "untargeted", "n": 100, "done": None}
    pooled = {"success_lowest": None, "success_highest": None}
    return row | figures | bounds | pooled | {"settings": settings or {}} | changed


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of some columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_gets_whole_lines_of_each_run(terminal, columns, capsys):
    terminal(columns)
    print_runs(
        [
            listed_run("runs/one", {"gamma": 0.1}),
            listed_run("runs/two", {"gamma": 0.2}, goal="targeted"),
            listed_run("runs/three", state="unfinished", done=0.25),
        ]
    )
    one, two, three, victim = capsys.readouterr().out.splitlines()
    assert one == "runs/one: untargeted, gamma=0.1, n = 100, success 50.0 (40.0–60.0) %, verified 50.0 (40.0–60.0) %"
    assert two.startswith("runs/two: targeted, gamma=0.2, n = 100")
    assert three == "runs/three: untargeted, unfinished, 25% done"
    assert victim == "victim: v"


def test_names_stay_whole_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "recordings/of/some/length/00004.bin"
    answer = {"file": name, "prediction": "3", "rates": {"3": 1.0, "1": 0.0}, "events": 5, "events_outside": 0}
    print_verdicts([answer | {"frames": "15 bins", "notes": [], "notices": []}])
    assert name in capsys.readouterr().out


def test_a_picture_of_colours_alone_is_left_out_without_colours(terminal, monkeypatch, capsys):
    facts = dict.fromkeys(("width", "height", "events", "on", "off", "duration_us", "first_us", "t0_us"), 1)
    facts |= {"file": "a.bin", "format": "N-MNIST bin", "events_per_second": None, "notes": []}
    terminal(80)
    print_recording(facts, np.zeros((4, 4, 3), np.uint8))
    assert "▀" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    print_recording(facts, np.zeros((4, 4, 3), np.uint8))
    assert "▀" not in capsys.readouterr().out


def test_names_with_brackets_are_no_markup(run):
    assert "needs spikeflip[events]" in " ".join(run("list", "formats")[1].split())


def test_help_names_the_file_of_options(run):
    assert "-c FILE" in " ".join(run("--help")[1].split())
    assert "-c FILE" in " ".join(run("train", "--help")[1].split())


def test_a_victim_that_is_there_is_named_again_and_not_trained(run, tmp_path):
    out = tmp_path / "v"
    first = run("train", *TINY, "--out", out)
    before = (out / "victim.json").read_bytes()
    again = run("train", *TINY, "--out", out)
    assert (first[0], again[0]) == (0, 0)
    assert again[1] == f"{out} was trained already, and the data are not read again; this is its summary\n{first[1]}"
    assert (out / "victim.json").read_bytes() == before
    assert (out / "weights.safetensors").stat().st_mode == (out / "victim.json").stat().st_mode
    status, _, err = run("train", *TINY, "--seed", 1, "--out", out)
    assert (status, "already holds a victim of other options" in err) == (2, True)


def test_the_training_bar_says_how_the_network_fires():
    layers = (LayerFiring("1 (32C3)", 0.1, 0.2, 0.0), LayerFiring("2 (10FC)", 0.1, 0.5, 0.25))
    now = TrainingProgress(5, 10, 0.08349, 0.7, Firing(layers))
    assert training_label(now) == "train|loss 0.083 val 70% silent 50% of layer 2 no output 25%"
    assert training_label(TrainingProgress(5, 10, 1.0, None, stage="twin")) == "twin|loss 1.000"
