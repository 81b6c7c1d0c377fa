"""The command ``doctor``."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from faulty_models import X

from spikeflip import SpikingNetwork
from spikeflip.snn.checkpoint import save_checkpoint
from spikeflip.victims import doctor
from spikeflip.victims.examining.doctor import CHECKS

FACTORIES = """
import sys
import torch
from torch import nn
from spikeflip import SpikingNetwork

print("a model that talks")


class MyLIF(nn.Module):
    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def fire(self, u):
        return torch.sigmoid(4 * u) + ((u >= 0).float() - torch.sigmoid(4 * u)).detach()

    def forward(self, x):
        mem, out = 0, []
        for current in x:
            mem = 0.5 * mem + current
            out.append(self.fire(mem - self.limit))
            mem = mem * (1 - out[-1])
        return torch.stack(out)


def build():
    torch.manual_seed(0)
    print("still talking")
    return nn.Sequential(nn.Linear(20, 16), MyLIF(0.2), nn.Linear(16, 5), MyLIF(0.1))


def pair():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = build()

        def forward(self, x):
            return {"spikes": self.body(x), "rest": None}

    return Pair()


def ours():
    return SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1)


def image():
    class Repeat(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = build()[:3]  # ends with a linear layer

        def forward(self, x):
            return self.body(x.unsqueeze(0).repeat(6, 1, 1))

    return Repeat()


def function():
    return lambda x: x


def seeming():
    class Net(nn.Sequential):
        input_shape, coding, time_steps, probe = (20,), "direct", 6, None

    return Net(*build())


def raises():
    raise ValueError("no weights\\nhere")


def leaves():
    sys.exit("bye")


def needs(path):
    return None


class Box:
    build = staticmethod(build)


number, made = 3, build()
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A module in the current folder, found as ``python -m`` finds it."""
    (tmp_path / "doctored.py").write_text(FACTORIES)
    (tmp_path / "doctored_faulty.py").write_text("1 / 0\n")
    (tmp_path / "doctored_script.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "doctored_needy.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("doctored")]:
        del sys.modules[name]


MINE = ["--input-shape", "6,20", "--neurons", "MyLIF=limit,fire", "--rate", "0.5"]


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        ("build", MINE),
        ("made", MINE),
        ("Box.build", MINE),
        ("pair", [*MINE, "--output", "spikes", "--penultimate", "body.1"]),
        ("image", ["--input-shape", "20", "--layout", "static", "--neurons", "MyLIF=limit,fire"]),
        ("ours", ["--rate", "0.5"]),
        ("seeming", [*MINE, "--layout", "TB"]),
        ("build", ["--input-shape", "6,20", "--neurons", "none", "--rate", "0.5"]),
    ],
)
def test_the_command_passes_healthy_models(factory, options, factories, run):
    status, out, err = run("doctor", f"doctored:{factory}", *options)
    assert (status, out.splitlines()[-1][:25]) == (0, "the model can be attacked"[:25])
    assert "talk" not in out
    assert "✗" not in out
    assert "Traceback" not in err


def test_the_command_says_what_is_wrong_and_ends_with_status_1(factories, run):
    status, out, _ = run("doctor", "doctored:build", *MINE, "--layout", "BT")
    assert status == 1
    assert "the checks pass with layout 'TB'" in out
    assert out.splitlines()[-1] == "the model cannot be attacked: 1 check failed (✗)"
    status, out, err = run("doctor", "doctored:function", "--input-shape", "6,20")
    assert status == 1
    assert "the model is a function" in out
    assert "Traceback" not in err


def test_advice_is_in_options_of_the_command(factories, run):
    status, out, _ = run("doctor", "doctored:build", "--input-shape", "6,20", "--rate", "0.5")
    said = " ".join(out.split())
    assert status == 1
    assert "--neurons YourNeuron=threshold,spike_function" in said
    assert "--neurons none" in said
    assert "neurons={" not in said
    status, _, err = run("attack", "--victim", "doctored:pair", "--input-shape", "6,20", "--out", "r")
    assert (status, "--neurons none to attack it without thresholds" in err) == (2, True)
    assert not (factories / "r").exists()


def test_an_output_that_is_nearly_a_number(factories, run):
    status, out, _ = run("doctor", "doctored:build", *MINE, "--output=--1")
    assert status == 1
    assert "output is '--1', but the model returns a tensor" in " ".join(out.split())


def test_json_alone_on_stdout(factories, run):
    status, out, _ = run("doctor", "doctored:build", *MINE, "--json")
    found = json.loads(out)
    assert (status, found["attackable"], found["not_run"]) == (0, True, [])
    assert [v["check"] for v in found["verdicts"]] == list(CHECKS)
    assert found["verdicts"][0].keys() == {"check", "state", "finding", "fix"}
    status, out, _ = run("doctor", "doctored:build", *MINE, "--layout", "BT", "--json")
    found = json.loads(out)
    assert (status, found["attackable"]) == (1, False)
    (fault,) = [v for v in found["verdicts"] if v["state"] == "failed"]
    assert (fault["check"], fault["fix"]) == ("batch independence", "the checks pass with layout 'TB'")
    assert found["not_run"] == ["order of samples", "time matters"]


def test_the_seed_and_the_rate_make_the_inputs(factories, run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "spikeflip.victims.doctor", lambda victim, example, **_: seen.append(example) or doctor(victim, example)
    )
    for options in ([], ["--seed", "1"], ["--rate", "0.6"], []):
        run("doctor", "doctored:ours", *options)
    first, other, dense, again = seen
    assert first.shape == (8, 6, 20)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.1 < first.mean() < 0.3
    assert 0.5 < dense.mean() < 0.7


def test_a_trained_victim_and_inputs_of_a_file(factories, run):
    save_checkpoint(SpikingNetwork("16FC-5FC", (20,), time_steps=6, seed=1), factories / "victim", {"loss": "mse"})
    assert run("doctor", "--victim", "victim", "--rate", "0.5")[0] == 0
    np.save("x.npy", X.numpy().astype(np.uint8))
    assert run("doctor", "--victim", "victim", "--example", "x.npy")[0] == 0
    np.save("objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    for file in ("objects.npy", "none.npy", "doctored.py"):
        status, out, err = run("doctor", "--victim", "victim", "--example", file)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"spikeflip: --example {file} ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give PACKAGE.MODULE:FUNCTION or --victim FOLDER"),
        (["doctored:build", "--victim", "x"], "named twice"),
        (["--victim", "x"], "there is no victim at x"),
        (["doctored"], "'doctored' names no code: write PACKAGE.MODULE:FUNCTION"),
        (["a b:c"], "names no code"),
        (["doctored_none:build"], "there is no module 'doctored_none', neither installed nor in this folder"),
        (["doctored.none:build"], "there is no module 'doctored.none'"),
        (["doctored_faulty:build"], "doctored_faulty raised an error (ZeroDivisionError: division by zero): mend it"),
        (["doctored_script:build"], "importing doctored_script raised an error (SystemExit: 3): mend it"),
        (["doctored_needy:build"], "importing doctored_needy needs the module 'no_such_package': install it"),
        (["doctored:none"], "there is no 'none' in doctored"),
        (["doctored:number"], "doctored:number is a value of type int: name a function without arguments"),
        (["doctored:raises"], "doctored:raises raised an error (ValueError: no weights): mend it"),
        (["doctored:leaves"], "doctored:leaves raised an error (SystemExit: bye)"),
        (["doctored:needs"], "doctored:needs raised an error (TypeError: needs() missing 1 required positional"),
        (["doctored:build"], "--input-shape is missing"),
        (["doctored:seeming"], "--input-shape is missing"),
        (["doctored:build", "--input-shape", "6,x"], "--input-shape is '6,x': give whole numbers from 1 with commas"),
        (["doctored:build", "--input-shape", "6,0"], "--input-shape is '6,0'"),
        (["doctored:build", "--input-shape", "6"], "time steps and at least one more size"),
        (["doctored:build", "--input-shape", "6,99999,99999"], "take more than 33,554,432 values"),
        (
            ["doctored:build", "--input-shape", "6,20", "--layout", "NT"],
            "--layout is 'NT': choose from TB, BT",
        ),
        (["doctored:build", "--input-shape", "6,20", "--readout", "vote"], "readout is 'vote'"),
        (["doctored:build", "--input-shape", "6,20", "--rate", "1.5"], "--rate is 1.5"),
        (["doctored:build", "--input-shape", "6,20", "--seed", "-1"], "--seed is -1"),
        (["doctored:build", "--input-shape", "6,20", "--neurons", "MyLIF"], "CLASS=THRESHOLD,SPIKE_FUNCTION"),
        (["doctored:build", "--input-shape", "6,20", "--neurons", "LIF=a,b"], "--neurons names 'LIF'"),
        (["doctored:build", *MINE, "--penultimate", "9"], "penultimate is '9'"),
        (["doctored:ours", "--layout", "BT"], "layout is for a model, but this is a victim already, a SpikingNetwork"),
    ],
)
def test_mistakes_in_what_was_asked_are_one_sentence(arguments, words, factories, run):
    status, out, err = run("doctor", *arguments)
    err = "".join(line for line in err.splitlines(keepends=True) if "talk" not in line)
    assert (status, out) == (2, "")
    assert err.startswith("spikeflip: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_terminal_of_60_columns(factories, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("NO_COLOR", "1")
    _, out, _ = run("doctor", "doctored:build", *MINE, "--layout", "BT")
    table = re.sub(r"\x1b\[[0-9;]*m", "", out[: out.index("not run")]).splitlines()
    assert max(map(len, table)) <= 60, out
    assert "the checks pass with layout 'TB'" in " ".join(" ".join(line[20:] for line in table).split())
