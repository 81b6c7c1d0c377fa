"""``spikeflip reproduce`` as a user runs it."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from processes import heed_interrupts

from spikeflip.experiments import EXPERIMENTS

COMMAND = [sys.executable, "-m", "spikeflip", "reproduce"]


def test_the_list_names_every_experiment_without_pytorch(run):
    code = (
        "import sys; from spikeflip.cli.app import main; main(['reproduce', '--list']); print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, imported = answer.stdout.splitlines()
    assert imported == "False"
    assert [line.split()[0] for line in lines if line[:1].strip()] == list(EXPERIMENTS)
    status, out, _ = run("reproduce", "--list", "--json")
    assert (status, json.loads(out)["table-3"]) == (0, EXPERIMENTS["table-3"].title)


def test_findings_and_the_page_are_printed(tiny, tmp_path, run):
    out = tmp_path / "out"
    status, text, err = run("reproduce", "figure-12", "figure-13", "--preset", "smoke", "--out", out)
    assert (status, err) == (0, "")
    *findings, page = text.splitlines()
    assert page == f"page: {out / 'reproduction.md'}"
    stated = [finding for name in ("figure-12", "figure-13") for finding in EXPERIMENTS[name].findings]
    for line, finding in zip(findings, stated, strict=True):
        assert finding.text in line
    assert "figure-12 " in findings[0]
    status, text, _ = run("reproduce", "figure-13", "--preset", "smoke", "--out", out, "--json")
    assert json.loads(text)[0]["experiment"] == "figure-13"
    assert run("reproduce", "figure-13", "--preset", "smoke", "--out", out, "--quiet") == (0, "", "")


def in_terminal(code, columns):
    """What a process writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stdin=theirs, env=environment):
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            parts.append(part)
    return b"".join(parts).decode().replace("\r", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("columns", "figures"), [(60, False), (160, True)])
def test_findings_fit_the_terminal(columns, figures):
    finding = {
        "state": "held in part",
        "text": "Victims trained with CE are harder to attack than those trained with MSE.",
        "words": "MNIST, targeted: 47.8 % against 55.3 %",
    }
    results = [{"experiment": "table-7", "findings": [finding]}]
    code = f"from spikeflip.cli.terminal import print_findings; print_findings({results!r})"
    text = in_terminal(code, columns)
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].startswith("◐ held in part  table-7  Victims trained with")
    assert ("47.8 %" in text) == figures
    words = " ".join(text.split())
    assert "harder to attack than those trained with MSE." in words  # no word is torn apart


def test_options_reach_the_experiments(tiny, tmp_path, run, monkeypatch):
    given = {}

    def remember(names, out, **options):
        given.update(options, names=names, out=out)
        return []

    monkeypatch.setattr("spikeflip.experiments.reproduce", remember, raising=False)
    options = ["--preset", "paper", "--data", "N-MNIST", "MNIST, full width", "--width", 0.5, "--workers", 3]
    assert run("reproduce", "all", "table-3", *options, "--root", tmp_path, "--device", "cuda", "--download")[0] == 0
    assert given["names"] == ["all", "table-3"]
    assert given["data"] == ["N-MNIST", "MNIST, full width"]
    assert (given["preset"], given["width"], given["execution"].workers) == ("paper", 0.5, 3)
    assert (given["root"], given["device"], given["download"]) == (tmp_path, "cuda", True)
    assert str(given["out"]) == "reproduction"
    assert run("reproduce", "table-3")[0] == 0
    assert (given["preset"], given["data"], given["width"]) == ("cpu", None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no experiment is named: give all, or some of table-1, "),
        (["table-9"], "there is no experiment 'table-9': did you mean table-8? choose from all, table-1, "),
        (["table-3", "--preset", "tiny"], "--preset"),
        (
            ["table-3", "--preset", "smoke", "--data", "svhn"],
            "--data 'svhn' is none of the smoke preset's: choose from MNIST",
        ),
        (["table-3", "--width", "-1"], "--width is -1.0: give a positive factor"),
        (["table-3", "--workers", "0", "--preset", "smoke"], "--workers is 0"),
        (["table-3"], "table-3 in preset cpu: files are missing of "),
        (
            ["figure-9", "--data", "N-MNIST", "--root", "{tmp}/none"],
            'figure-9 in preset cpu: files are missing of "N-MNIST" (',
        ),
        (["figure-12", "--preset", "smoke", "--device", "tpu9"], "--device is 'tpu9': choose cpu, cuda or cuda:N"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, tiny, tmp_path, run):
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    status, out, err = run("reproduce", *filled, "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("spikeflip: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.processes
def test_an_interrupt_is_one_sentence_and_leaves_what_is_done(tmp_path):
    command = [*COMMAND, "table-3", "--preset", "smoke", "--data", "MNIST", "--out", str(tmp_path / "out")]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, preexec_fn=heed_interrupts, **streams)
    deadline = time.monotonic() + 120
    while (
        not list(tmp_path.glob("out/victims/*/training.*")) and time.monotonic() < deadline and process.poll() is None
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.startswith(
        "spikeflip: interrupted; nothing is half-written, and train, attack, evaluate, sweep and reproduce go on"
    )
    assert err.count("\n") == 1
    assert not (tmp_path / "out" / "results").exists()
