"""How the command ends where something else ends it: signals, a closed output, no memory."""

import os
import signal
import subprocess
import sys
import time

import pytest

from spikeflip import limits
from spikeflip.cli.ending import EndedError, ends_told
from spikeflip.errors import NoMemoryError, SpikeflipError
from spikeflip.runs import executors

GOES_ON = "nothing is half-written, and train, attack, evaluate, sweep and reproduce go on when run again\n"


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_that_asks_to_end_is_told(name, status, capsys):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # nohup, under which tests may run, ignores one of them

    @ends_told()
    def wait():
        os.kill(os.getpid(), number)
        time.sleep(5)

    try:
        with pytest.raises(SystemExit) as stop:
            wait()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert stop.value.code == status
    assert capsys.readouterr().err == f"spikeflip: ended by {name}; {GOES_ON}"


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ends_told():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interruption_by_a_signal_is_in_the_log(digit_victim, run, tmp_path, monkeypatch, undrawn):
    from spikeflip.runs import sharded
    from spikeflip.snn.checkpoint import save_checkpoint

    def end(*_):
        raise EndedError(signal.SIGTERM)

    save_checkpoint(digit_victim, tmp_path / "v", {"loss": "mse"})
    monkeypatch.setattr(sharded, "in_this_process", end)
    status, out, err = run("attack", "--victim", tmp_path / "v", "--samples", 2, "--out", tmp_path / "r")
    assert (status, out, err) == (143, "", f"spikeflip: ended by SIGTERM; {GOES_ON}")
    log = (tmp_path / "r" / "run.log").read_text()
    assert "interrupted by SIGTERM; 0 of 1 shards are finished and stay" in log


MEMORY = "memory ran out: give a smaller --micro-batch"
OUT_OF_MEMORY = {
    "PyTorch": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"
    ),
    "CUDA": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "Python": MemoryError(),
    "C++": RuntimeError("std::bad_alloc"),
    "the system": OSError(12, "Cannot allocate memory"),
}


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_without_memory_the_sentence_says_what_to_lower(error, run, monkeypatch):
    monkeypatch.setattr("spikeflip.cli.app.listed", lambda _: (_ for _ in ()).throw(error))
    status, out, err = run("list", "attacks")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"spikeflip: {MEMORY}")


def test_a_sentence_that_only_guesses_at_damage_gives_way_to_the_lack_of_memory(run, monkeypatch):
    def fail(_):
        raise SpikeflipError("v is damaged (can't allocate memory): delete it") from OUT_OF_MEMORY["PyTorch"]

    monkeypatch.setattr("spikeflip.cli.app.listed", fail)
    assert run("list", "attacks")[2].startswith(f"spikeflip: {MEMORY}")

    def know(_):
        raise NoMemoryError("a.csv does not fit into memory: cut it") from MemoryError()

    monkeypatch.setattr("spikeflip.cli.app.listed", know)
    assert run("list", "attacks")[2] == "spikeflip: a.csv does not fit into memory: cut it\n"


def test_without_threads_the_sentence_says_so(run, monkeypatch):
    error = RuntimeError("can't start new thread")
    monkeypatch.setattr("spikeflip.cli.app.listed", lambda _: (_ for _ in ()).throw(error))
    assert "the system starts no more threads: give fewer --workers" in run("list", "attacks")[2]


def test_any_other_error_is_no_lack_of_memory(run, monkeypatch):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    monkeypatch.setattr("spikeflip.cli.app.listed", lambda _: (_ for _ in ()).throw(error))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run("list", "attacks")


def test_a_worker_without_memory_says_so_to_its_driver():
    assert limits.ran_out(executors.sendable(MemoryError("no room"))) == "memory"
    assert limits.ran_out(executors.sendable(OUT_OF_MEMORY["PyTorch"])) == "memory"
    assert limits.ran_out(executors.sendable(RuntimeError("another"))) is None


@pytest.mark.processes
def test_outputs_that_cannot_be_written_to():
    def shell(redirected):
        line = f"{sys.executable} -m spikeflip list networks --json {redirected}; echo $? >&2"
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stderr

    assert shell(">&-") == "0\n"
    assert shell(">/dev/full") == "spikeflip: the output: No space left on device\n2\n"
    assert shell("| true; echo ${PIPESTATUS[0]} >&2") in ("141\n0\n", "0\n0\n")  # as soon as the reader has gone


STOPPED = """
import sys

class Stop:
    def find_spec(self, name, *_):
        if name == {name!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stop())
from spikeflip.__main__ import main

sys.argv = ["spikeflip", "list", "attacks"]
main()
"""


@pytest.mark.processes
@pytest.mark.parametrize("name", ["spikeflip.cli.app", "cyclopts", "torch"])
def test_ctrl_c_while_it_is_imported(name):
    done = subprocess.run([sys.executable, "-c", STOPPED.format(name=name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"spikeflip: interrupted; {GOES_ON}")
