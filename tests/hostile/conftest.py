"""What every hostile input must meet: one line or a correct run, at once, nothing run, nothing written elsewhere."""

import contextlib
import io
import os
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from spikeflip.cli.app import main
from spikeflip.runs import AttackConfig, run_attack
from spikeflip.snn.checkpoint import save_checkpoint

SECONDS = 20.0
LONGEST = 1200
COUNTS = pytest.StashKey[dict[str, Counter]]()


class Ground:
    """A folder with a victim and a run to harm, files around it that must stay, a canary that must not come."""

    def __init__(self, folder, victim, finished, counts):
        self.folder, self.work = folder, folder / "work"
        self.canary = folder / "canary"
        self._victim, self._finished, self._counts = victim, finished, counts
        (folder / "around").mkdir()
        (folder / "around" / "precious.txt").write_text("keep me")
        self.work.mkdir()
        self._before = self._around()

    def fresh(self):
        """The folder to work in, emptied."""
        shutil.rmtree(self.work)
        self.work.mkdir()
        return self.work

    def victim(self):
        """A copy of the victim to harm."""
        return Path(shutil.copytree(self._victim, self.work / "victim"))

    def finished(self):
        """A copy of the run to harm."""
        return Path(shutil.copytree(self._finished, self.work / "run"))

    def meet(self, kind, *arguments):
        """Run the command on one hostile input; returns its exit status and the line it wrote."""
        out, err = io.StringIO(), io.StringIO()
        status, started, here = 0, time.monotonic(), Path.cwd()
        os.chdir(self.work)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException as error:
            error.add_note(f"of {arguments!r}"[:LONGEST])
            raise
        finally:
            os.chdir(here)
        shown = f"{arguments!r}: {status} {err.getvalue()[:2000]!r}"
        assert time.monotonic() - started < SECONDS, shown
        assert status in (0, 1, 2), shown
        assert status != 1 or arguments[0] == "verify", shown
        *notes, last = err.getvalue().split("\n")
        assert last == "", shown
        assert len(notes) == 1 if status == 2 else len(notes) < 3, shown
        for line in notes:  # of a run that goes on there are notes, such as of a shard that is attacked again
            assert line.startswith("spikeflip: "), shown
            assert line.isprintable(), shown
            assert len(line) < LONGEST, shown
        assert "\x1b" not in out.getvalue(), shown
        assert not self.canary.exists(), shown
        assert self._around() == self._before, shown
        self._counts.setdefault(kind, Counter())["refused" if status == 2 else "done"] += 1
        return status, err.getvalue()

    def _around(self):
        return sorted(
            (path.relative_to(self.folder).as_posix(), path.lstat().st_size)
            for path in self.folder.rglob("*")
            if self.work not in (path, *path.parents)
        )


@pytest.fixture(scope="session")
def small_victim(digit_victim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "victim"
    save_checkpoint(digit_victim, folder, {"loss": "mse", "classes": list("0123456789"), "accuracy": 0.9})
    return folder


@pytest.fixture(scope="session")
def small_run(small_victim, tmp_path_factory):
    out = tmp_path_factory.mktemp("hostile") / "run"
    run_attack(AttackConfig(victim=small_victim, samples=3, steps=2, draws=2), out)
    return out


@pytest.fixture
def ground(tmp_path, small_victim, small_run, request):
    return Ground(tmp_path, small_victim, small_run, request.config.stash.setdefault(COUNTS, {}))


def pytest_terminal_summary(terminalreporter, config):
    """The table of docs/reliability.md."""
    counts = config.stash.get(COUNTS, {})
    if not counts:
        return
    terminalreporter.section("hostile inputs")
    terminalreporter.line("| hostile input | tried | refused in one line | done correctly |")
    terminalreporter.line("|---|---:|---:|---:|")
    for kind, found in counts.items():
        line = f"| {kind} | {found.total():,} | {found['refused']:,} | {found['done']:,} |"
        terminalreporter.line(line)
    every = sum(counts.values(), Counter())
    terminalreporter.line(f"| **all** | {every.total():,} | {every['refused']:,} | {every['done']:,} |")
