"""The command as a user runs it: in a process of its own where streams and exit statuses matter."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet
import pytest
import torch
from asking import ask
from processes import heed_interrupts
from safetensors.torch import load_file

import spikeflip
from spikeflip.cli.app import main
from spikeflip.runs import shard
from spikeflip.snn.coding import winner

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = ["--network", "12C3-AP2-32FC-10FC", "--updates", "40", "--dropout", "0", "--widest-dropout", "0"]


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("victims") / "digits"
    main(["train", *TINY, "--out", str(folder), "--quiet"])
    return folder


@pytest.fixture(scope="module")
def attacked(victim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "targeted"
    options = ["--samples", "4", "--target", "all", "--draws", "5", "--trace", "--out", str(folder), "--quiet"]
    main(["attack", "--victim", str(victim), *options])
    return folder


def test_run_folder_is_complete_and_consistent(attacked):
    names = {path.name for path in attacked.iterdir()}
    assert names == {
        "adversarials.safetensors",
        "config.json",
        "manifest.json",
        "outputs.safetensors",
        "report.html",
        "rows.parquet",
        "run.log",
        "summary.json",
        "trace.parquet",
    }
    summary = json.loads((attacked / "summary.json").read_text())
    rows = pyarrow.parquet.read_table(attacked / "rows.parquet").to_pydict()
    tensors = load_file(attacked / "adversarials.safetensors")
    assert summary["n"] == len(rows["sample"]) == len(tensors["adversarials"]) == 36
    right = [not wrong for wrong in rows["already_wrong"]]
    assert summary["attack_success_rate"] == pytest.approx(sum(rows["success"]) / sum(right))
    difference = (tensors["adversarials"] - tensors["originals"]).double().square().flatten(1).mean(1)
    assert rows["mse"] == pytest.approx(difference.tolist())
    for name in ("clean_accuracy", "verified_success_rate", "robust_accuracy", "mse_mean", "steps_mean"):
        assert name in summary
    assert all(
        low <= summary[rate] <= high
        for rate, (low, high) in [
            (name.removesuffix("_interval"), value) for name, value in summary.items() if name.endswith("_interval")
        ]
    )
    trace = pyarrow.parquet.read_table(attacked / "trace.parquet").to_pydict()
    assert len(trace["sample"]) == sum(rows["steps"])
    outputs = load_file(attacked / "outputs.safetensors")
    assert outputs["samples"].tolist() == rows["sample"]
    assert outputs["outputs"].shape == (36, 2, 15, 10)
    assert winner(outputs["outputs"][:, 1].float().mean(1)).tolist() == rows["prediction"]
    clean = winner(outputs["outputs"][:, 0].float().mean(1))
    assert [label != said for label, said in zip(rows["label"], clean.tolist(), strict=True)] == rows["already_wrong"]


def test_same_command_same_bytes(victim, attacked, tmp_path, run):
    again = tmp_path / "again"
    options = ("--samples", 4, "--target", "all", "--draws", 5, "--trace", "--out", again)
    status, out, err = run("attack", "--victim", victim, *options, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads((again / "summary.json").read_text())
    for name in ("rows.parquet", "adversarials.safetensors", "summary.json"):
        assert (again / name).read_bytes() == (attacked / name).read_bytes()


def test_simulated_events_are_named_so(tmp_path, run):
    data = ("--simulate-events", "--network", "4C3-AP4-16FC-10FC")
    assert run("train", *data, "--updates", 2, "--out", tmp_path / "v", "--quiet")[0] == 0
    options = ("--simulate-events", "--samples", 3, "--steps", 2, "--out", tmp_path / "r", "--quiet")
    assert run("attack", "--victim", tmp_path / "v", *options)[0] == 0
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["data"]["simulated"] is True
    assert config["data"]["name"].startswith("simulated")
    assert load_file(tmp_path / "r" / "adversarials.safetensors")["adversarials"].dtype == torch.uint8


def test_options_from_a_file_are_the_same_options(victim, tmp_path, run):
    file = tmp_path / "run.toml"
    file.write_text(f'victim = "{victim}"\nsamples = 3\nsteps = 2\ndraws = 2\nper-class = 2\n')
    status, _, err = run("attack", "-c", file, "--out", tmp_path / "r")
    assert status == 2
    assert "exclude each other" in err
    file.write_text(f'victim = "{victim}"\nsamples = 3\nsteps = 2\ndraws = 2\n')
    assert run("attack", "-c", file, "--steps", 4, "--out", tmp_path / "r", "--quiet")[0] == 0
    settings = json.loads((tmp_path / "r" / "config.json").read_text())["options"]
    assert (settings["samples"], settings["steps"]) == (3, 4)


def test_a_file_can_say_no_as_the_command_line_does(victim, tmp_path, run):
    file = tmp_path / "run.toml"
    options = f'victim = "{victim}"\nsamples = 1\nsteps = 1\ndraws = 1\n'
    file.write_text(f"{options}no-flipper = true\nno_sampling = false\n")
    assert run("attack", "-c", file, "--out", tmp_path / "r", "--quiet")[0] == 0
    settings = json.loads((tmp_path / "r" / "config.json").read_text())["settings"]
    assert (settings["flipper"], settings["sampling"]) == (False, True)
    for more, said in (
        ("no-flipper = 3", "no-flipper is 3: give true or false"),
        ("flipper = true\nno-flipper = true", "flipper is given twice, once as no-flipper"),
    ):
        file.write_text(options + more)
        status, _, err = run("attack", "-c", file, "--out", tmp_path / "s")
        assert (status, said in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list"], "list needs WHAT: choose from attacks, victims, networks, data, defences, formats"),
        (["plot", "a", "b", "--out", "x.svg"], "plot needs --kind: choose from sweep, budget, frames"),
        (["attack"], "attack needs --out: run folder to write; an unfinished run in it goes on"),
        (["runs", "--merge"], "--merge needs a value: one row for runs that differ in this option alone, such as seed"),
    ],
)
def test_what_is_missing_is_said_with_what_to_give(run, arguments, said):
    assert run(*arguments) == (2, "", f"spikeflip: {said}\n")


def test_the_file_of_a_sweep_is_none_of_options(run, tmp_path):
    (tmp_path / "sweep.toml").write_text("[base]\nsamples = 4\n")
    status, out, err = run("attack", "-c", tmp_path / "sweep.toml", "--out", tmp_path / "r")
    assert (status, out) == (2, "")
    assert "[base] is a table, as files for 'sweep' have them: write plain options" in err


def test_latency_is_a_coding_of_the_victim(tmp_path, run):
    assert run("train", "--coding", "latency", "--network", "4C3-10FC", "--updates", 3, "--out", tmp_path / "v")[0] == 0
    assert spikeflip.load_checkpoint(tmp_path / "v").network.coding == "latency"
    assert run("attack", "--victim", tmp_path / "v", "--samples", 3, "--steps", 2, "--out", tmp_path / "r")[0] == 0
    summary, config = (json.loads((tmp_path / "r" / f"{name}.json").read_text()) for name in ("summary", "config"))
    assert (summary["draws"], config["victim"]["coding"]) == (1, "latency")


def test_another_surrogate_is_another_run(victim, attacked, tmp_path, run):
    options = ["--samples", 4, "--target", "all", "--draws", 5, "--trace"]
    asked = ["--surrogate", "atan", "--surrogate-width", 2]
    assert run("attack", "--victim", victim, *options, *asked, "--out", tmp_path / "r")[0] == 0
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert [config["settings"][name] for name in ("engine", "surrogate", "surrogate_width")] == ["torch", "atan", 2]
    assert config["victim"]["surrogate_width"] == 1
    before, after = (load_file(folder / "adversarials.safetensors") for folder in (attacked, tmp_path / "r"))
    assert torch.equal(before["originals"], after["originals"])
    assert not torch.equal(before["adversarials"], after["adversarials"])
    assert run("verify", tmp_path / "r", "--victim", victim, "--samples", 5)[0] == 0
    status, _, err = run("attack", "--victim", victim, *options, "--out", tmp_path / "r")
    assert (status, "surrogate: atan -> None; surrogate_width: 2.0 -> None" in err) == (2, True)
    own = ["--surrogate", "rectangular", "--surrogate-width", 1, "--engine", "auto", "--steps", 2]
    for name, given in (("own", own), ("none", own[4:])):
        assert run("attack", "--victim", victim, *options, *given, "--out", tmp_path / name)[0] == 0
    same = [(tmp_path / name / "adversarials.safetensors").read_bytes() for name in ("own", "none")]
    assert same[0] == same[1]


def test_per_class_takes_correct_inputs_of_every_class(victim, tmp_path, run):
    options = ("--per-class", 2, "--steps", 1, "--draws", 1, "--out", tmp_path / "r", "--quiet")
    assert run("attack", "--victim", victim, *options)[0] == 0
    rows = pyarrow.parquet.read_table(tmp_path / "r" / "rows.parquet").to_pydict()
    assert sorted(rows["label"]) == sorted(list(range(10)) * 2)


def test_gradients_in_bfloat16_are_judged_in_float32(victim, tmp_path, run, monkeypatch):
    judge, judges = shard.judge, []

    def watched(network, *given, **options):
        judges.append(network)
        return judge(network, *given, **options)

    monkeypatch.setattr(shard, "judge", watched)
    settings, rows = {}, {}
    for precision in ("float32", "bf16-gradient"):
        folder = tmp_path / precision
        options = ("--samples", 20, "--steps", 2, "--draws", 1, "--precision", precision, "--out", folder, "--quiet")
        assert run("attack", "--victim", victim, *options)[0] == 0
        settings[precision] = json.loads((folder / "config.json").read_text())["settings"]
        rows[precision] = pyarrow.parquet.read_table(folder / "rows.parquet").to_pydict()
    assert settings["bf16-gradient"]["precision"] == "bf16-gradient"
    assert settings["bf16-gradient"]["engine"] == "torch"
    assert settings["float32"]["precision"] == "float32"
    for name in ("label", "already_wrong"):
        assert rows["bf16-gradient"][name] == rows["float32"][name]
    for network in judges:
        gradient = gradient_of_ones(network)
        assert torch.equal(gradient, gradient_of_ones(network.on("torch", precision="float32")))
        assert not torch.equal(gradient, gradient_of_ones(network.on("torch", precision="bf16-gradient")))
    assert len(judges) == 2


def gradient_of_ones(network):
    probe = network.probe(torch.ones(2, 3, *network.input_shape))
    return probe.input_gradient(lambda scores, rows: scores + 1, ask(torch.arange(2))).values.clone()


def test_report_of_several_runs(attacked, tmp_path, run):
    status, out, _ = run("report", attacked, attacked, "--out", tmp_path / "page.html")
    assert status == 0
    assert "page:" in out
    assert "attack success" in (tmp_path / "page.html").read_text().lower()


@pytest.mark.parametrize("what", ["attacks", "networks", "data"])
def test_lists(what, run):
    status, out, _ = run("list", what, "--json")
    assert status == 0
    assert {"attacks": "scg", "networks": "paper-image", "data": "digits"}[what] in json.loads(out)
    assert run("list", what)[0] == 0


def test_every_option_has_help(run):
    for command in ("demo", "train", "attack", "report", "reproduce"):
        status, out, _ = run(command, "--help")
        assert status == 0
        assert "--out" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frob"], 'Unknown command "frob"'),
        (["train"], "--out"),
        (["train", "--out", "{tmp}/v", "--updates", "0"], "--updates is '0'"),
        (["train", "--out", "{tmp}/v", "--learning-rate", "nan"], "--learning-rate is 'nan'"),
        (["train", "--out", "{tmp}/v", "--network", "8C3-AP9-10FC"], "cannot pool 8×8 by 9 in 'AP9'"),
        (
            ["train", "--out", "{tmp}/v", "--network", "8C3-12FC-100FC"],
            "ends with 100FC, and digits has 10 classes: end it",
        ),
        (["train", "--out", "{tmp}/v", "--validation", "5000"], "--validation is 5000"),
        (["train", "--out", "{tmp}/v", "--data", "mnist"], "--root"),
        (["train", "--out", "{tmp}/v", "--data", "mnist", "--root", "{tmp}/none"], "is not a folder"),
        (["train", "--out", "{tmp}/v", "--data", "svhn"], "--data"),
        (["train", "--out", "{tmp}/v", "--coding", "direct"], "--coding"),
        (
            ["train", "--out", "{tmp}/v", "--coding", "latency", "--simulate-events"],
            "--coding latency is for images, and --simulate-events makes recordings of them: leave one out",
        ),
        (["train", "--out", "{tmp}/v", "--twin", "--simulate-events"], "--twin is for images"),
        (["train", "--out", "{tmp}/v", "--twin", "--coding", "latency"], "--twin takes them as they are"),
        (
            ["train", "--out", "{tmp}/v", "--twin", "--initial-rate", "0.1"],
            "--initial-rate 0.1 is for spiking neurons, and --twin",
        ),
        (["train", "--out", "{tmp}/v", "--start", "{tmp}"], "there is no victim at"),
        (["train", "--out", "{tmp}/v", "--start", "{victim}", "--twin"], "--start is for spiking victims"),
        (["train", "--out", "{tmp}/v", "--start", "{victim}", "--network", "4C3-10FC"], "and this victim 4C3-10FC on"),
        (["train", "--out", "{victim}"], "already holds a victim of other options"),
        (
            ["train", "--out", "{tmp}/v", "--size", "4x4"],
            "--size 4x4 is for recordings, and --data digits is of images",
        ),
        (["train", "--out", "{tmp}/v", "--data", "mnist", "--root", "{tmp}/none", "--network", "foo"], "'foo'"),
        (["train", "--out", "/proc/none/v"], "--out /proc/none/v cannot be made or written to"),
        (["train", "-c", "{tmp}/none.toml", "--out", "{tmp}/v"], "does not exist"),
        (["train", "-c"], "has no value"),
        (["attack", "--out", "{tmp}/r"], "--victim"),
        (
            ["attack", "--out", "{tmp}/r", "--samples", "5"],
            "attack needs --victim: folder that",
        ),
        (["attack", "--out", "{tmp}/r", "--victim", "{tmp}"], "there is no victim at"),
        (["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--target", "12"], "--target 12 is out of range"),
        (
            ["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--target", "some"],
            "--target some is no class: the classes are 0 (0), 1 (1)",
        ),
        (["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--gamma", "2"], "--gamma is '2'"),
        (
            ["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--device", "tpu9"],
            "--device is 'tpu9': choose cpu, cuda or cuda:N",
        ),
        (["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--precision", "half"], "--precision"),
        (["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--surrogate", "cubic"], "--surrogate"),
        (["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--surrogate-width", "0"], "--surrogate-width is '0'"),
        (
            ["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--engine", "event", "--precision", "bf16-gradient"],
            "precision is 'bf16-gradient', but the event engine works in float32 alone: choose the engine torch",
        ),
        (
            ["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--simulate-events"],
            "give what it was trained on as --data or --input, or leave --simulate-events out",
        ),
        (
            ["attack", "--out", "{tmp}/r", "--victim", "demo-events"],
            "the victim takes (2, 16, 16): give --simulate-events, or what it was trained on as --data or --input",
        ),
        (["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--label", "3"], "--label 3 is for recordings, and"),
        (["attack", "--out", "{tmp}/r", "--victim", "{victim}", "--per-class", "999"], "999"),
        (["attack", "--out", "{victim}", "--victim", "{victim}"], "choose another folder"),
        (["attack", "--out", "{victim}/victim.json", "--victim", "{victim}"], "is a file"),
        (["report", "{tmp}"], "is no run folder"),
        (["list", "colours"], "colours"),
        (["demo", "--out", "{victim}"], "choose another folder"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(arguments, message, victim, tmp_path, run):
    filled = [argument.format(tmp=tmp_path, victim=victim) for argument in arguments]
    before = sorted(path.name for path in victim.iterdir())
    status, out, err = run(*filled)
    assert status == 2
    assert out == ""
    assert message in err
    assert err.startswith("spikeflip: ")
    assert err.count("\n") == 1
    assert sorted(path.name for path in victim.iterdir()) == before
    assert not any(path.name in ("r", "v") or "partial" in path.name for path in tmp_path.rglob("*"))


@pytest.mark.processes
def test_interrupt_leaves_nothing_half_written(victim, tmp_path):
    command = [sys.executable, "-m", "spikeflip", "attack", "--victim", str(victim), "--out", str(tmp_path / "r")]
    process = subprocess.Popen(
        [*command, "--draws", "5000"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("r/shards/*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err == (
        "spikeflip: interrupted; nothing is half-written, and train, attack, evaluate, sweep and reproduce go on when "
        "run again\n"
    )
    names = sorted(path.relative_to(tmp_path / "r").as_posix() for path in tmp_path.glob("r/**/*"))
    assert names == ["config.json", "manifest.json", "run.log", "shards"]


@pytest.mark.processes
def test_version_and_silence_away_from_a_terminal(victim, tmp_path):
    def call(*arguments):
        command = [sys.executable, "-m", "spikeflip", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "40"})

    assert call("--version").stdout.startswith(f"spikeflip {spikeflip.__version__} (event engine: ")
    options = ["--samples", "2", "--steps", "2", "--draws", "2", "--out", str(tmp_path / "r")]
    answer = call("attack", "--victim", str(victim), *options)
    assert answer.stderr == ""
    assert "attack" in answer.stdout
    assert "\x1b" not in answer.stdout
