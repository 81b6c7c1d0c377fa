"""Every command and every piece of code of README.md and docs/ as typed, on small things in the place of real ones.

``DIR``, ``recordings/`` and the other names in the documents are folders of these names, with stand-ins for the data
sets. Presets stand for small networks, and those of ``reproduce`` for few inputs. Nothing that is typed is changed;
:data:`APPENDED` says what is added to it. That trainings learn on real data is for ``test_recipes.py`` to say.
"""

import ast
import contextlib
import glob
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from documents import ALL, ELSEWHERE, Block, blocks, commands, kind_of
from stand_ins import few_digits, small_networks, small_sizes, write_data

import spikeflip
from spikeflip.cli.app import main
from spikeflip.evaluation import SUITES
from spikeflip.experiments import EXPERIMENTS
from spikeflip.experiments.presets import SMOKE
from spikeflip.runs import sharded

APPENDED: dict[str, dict[str, str]] = {
    "train": {
        "--updates": "60",
        "--batch-size": "20",
        "--learning-rate": "0.01",
        "--dropout": "0",
        "--widest-dropout": "0",
    },
    "attack": {"--draws": "2"},
    "evaluate": {"--samples": "4", "--draws": "2"},
    "certify": {"--samples": "3", "--draws": "10"},
}
"""Options that are added to a command where it is not typed with them already: short trainings, few encodings."""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture
def here(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Path:
    """An empty folder to work in, but for what the documents say one has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    small_networks(monkeypatch)
    small_sizes(monkeypatch)
    # Processes would import everything again; tests/runs/test_resume.py starts some.
    monkeypatch.setattr(sharded, "in_processes", lambda job, _workers: sharded.in_this_process(job))
    (tmp_path / "DIR").symlink_to(data)
    (tmp_path / "recordings").mkdir()
    for label in (4, 7):
        shutil.copy(
            next((data / "NMNIST" / "Test" / str(label)).iterdir()), tmp_path / "recordings" / f"0000{label}.bin"
        )
    return tmp_path


def run(line: str | list[str]) -> None:
    """Run a command as it is typed, without the ``spikeflip``, and what is appended."""
    name, *rest = shlex.split(line) if isinstance(line, str) else line
    expanded = [part for word in rest for part in (sorted(glob.glob(word)) if "*" in word else [word])]
    missing = {} if "-c" in rest else APPENDED.get(name, {})  # a file of options is complete
    added = [part for option, value in missing.items() if option not in rest for part in (option, value)]
    out, error, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            main([name, *expanded, *added])
        except SystemExit as stop:
            status = stop.code
    assert not status, (line, error.getvalue())
    assert out.getvalue(), line
    assert "--out" not in rest or Path(rest[rest.index("--out") + 1]).exists(), line


def run_block(block: Block) -> None:
    for words in commands(block.text):
        if "cuda" not in words or torch.cuda.is_available():
            run(words)


def run_python(block: Block, names: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Run a piece of code with the names that its page supposes; returns all names, and what it prints."""
    for line in re.findall(r"made by: spikeflip (.*)$", block.text, re.MULTILINE):
        run(line)
    found, out = dict(names), io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(ast.parse(block.text), block.document, "exec"), found)
    return found, out.getvalue()


def of_kind(document: str, kind: str) -> Iterator[Block]:
    return (block for block in blocks(document) if kind_of(block) == kind)


def write_files(document: str) -> None:
    for block in of_kind(document, "file"):
        Path(block.start.removeprefix("# ")).write_text(block.text)


@pytest.mark.docs
@pytest.mark.timeout(900)
def test_readme(here, monkeypatch):
    suite = SUITES["binary-l0/1"]
    monkeypatch.setitem(SUITES, suite.name, replace(suite, members=suite.members[:2]))
    (piece,) = of_kind("README.md", "python")
    names, printed = run_python(piece, {})
    assert 0 <= float(printed) <= 1
    assert names["result"].adversarials.shape == (450, 1, 8, 8)
    (here / "sweep.toml").write_text('[base]\nvictim = "demo-digits"\nsamples = 2\n[grid]\nseed = [0, 1]\n')
    for block in of_kind("README.md", "commands"):
        run_block(block)
    assert (here / "victims" / "mnist" / "victim.json").is_file()
    assert (here / "runs" / "recordings" / "adversarial" / "00004.bin").is_file()
    assert (here / "sweeps" / "threshold" / "seed=1" / "summary.json").is_file()
    assert (here / "evaluations" / "events" / "evaluation.json").is_file()
    pages = list(here.rglob("report.html"))
    assert {page.parent.name for page in pages} >= {"untargeted", "targeted", "recordings", "threshold", here.name}


def run_page(document: str) -> tuple[dict[str, Any], str]:
    """Run the blocks of a page in order, with nothing but what they make; returns names, and what is printed."""
    names: dict[str, Any] = {}
    printed = ""
    for block in blocks(document):
        kind = kind_of(block)
        if kind == "file":
            Path(block.start.removeprefix("# ")).write_text(block.text)
        elif kind == "commands":
            run_block(block)
        elif kind == "python":
            names, out = run_python(block, names)
            printed += out
    return names, printed


@pytest.mark.docs
@pytest.mark.timeout(900)
def test_page_on_runs(here, monkeypatch):
    few_digits(monkeypatch)
    for goal, target in (("untargeted", "none"), ("targeted", "next")):
        run(f"attack --victim demo-digits --samples 3 --draws 2 --target {target} --out runs/{goal}")
    run_page("docs/runs.md")
    assert len(list(here.glob("sweeps/threshold/*/summary.json"))) == 24
    assert (here / "comparison.html").is_file()


@pytest.mark.docs
@pytest.mark.timeout(900)
def test_page_on_figures(here, monkeypatch):
    few_digits(monkeypatch)
    run_page("docs/figures.md")
    assert {path.name for path in here.glob("*.csv")} == {"budget.csv", "frames.csv", "threshold.csv"}
    run("plot runs/few --kind budget --style mine.mplstyle --out mine.svg")


@pytest.mark.docs
@pytest.mark.parametrize(
    ("document", "left"),
    [
        ("docs/start.md", "runs/first/summary.json"),
        ("docs/attacks.md", "run/summary.json"),
        ("docs/few-flips.md", "run/summary.json"),
        ("docs/reliability.md", "runs/b/summary.json"),
        ("docs/how-to/cluster.md", "runs/shared/summary.json"),
        ("docs/how-to/continue.md", "runs/long/summary.json"),
        ("docs/how-to/kubernetes.md", "runs/tried/summary.json"),
        ("docs/how-to/slurm-array.md", "sweeps/array/threshold=1.0/summary.json"),
    ],
)
def test_page(here, monkeypatch, document, left):
    few_digits(monkeypatch)
    run_page(document)
    assert (here / left).is_file()


@pytest.mark.docs
def test_page_on_event_attacks(here, monkeypatch):
    few_digits(monkeypatch)
    run("train --simulate-events --out victim")
    for block in of_kind("docs/event-attacks.md", "commands"):
        run_block(block)
    assert (here / "near" / "summary.json").is_file()


@pytest.mark.docs
@pytest.mark.usefixtures("here")
def test_page_on_masking(monkeypatch):
    few_digits(monkeypatch)
    _, printed = run_page("docs/masking.md")
    assert printed.split()[0] in ("trustworthy", "doubtful", "masked")


@pytest.mark.docs
def test_page_on_the_worst_case(here, monkeypatch):
    few_digits(monkeypatch)
    suite = SUITES["binary-l0/1"]
    monkeypatch.setitem(SUITES, suite.name, replace(suite, members=suite.members[:3]))
    found, printed = run_page("docs/evaluate.md")
    assert (here / "page.html").is_file()
    assert printed.startswith("binary-l0/1, budget 0.05: robust accuracy")
    assert found["found"].adversarials.shape == found["spikes"].shape


@pytest.mark.docs
@pytest.mark.usefixtures("here")
def test_page_on_adding(monkeypatch):
    few_digits(monkeypatch)
    _, printed = run_page("docs/how-to/extend.md")
    assert any(ast.literal_eval(printed))


@pytest.mark.docs
def test_a_sweep_finds_the_points_that_an_array_has_attacked(here, monkeypatch):
    few_digits(monkeypatch)
    for block in of_kind("docs/how-to/slurm-array.md", "file"):
        Path(block.start.removeprefix("# ")).write_text(block.text)
    array, sweep = of_kind("docs/how-to/slurm-array.md", "commands")
    run_block(array)
    rows = here / "sweeps" / "array" / "threshold=0.5" / "rows.parquet"
    written = rows.stat().st_mtime_ns
    run_block(sweep)
    assert rows.stat().st_mtime_ns == written
    assert (here / "sweeps" / "array" / "table.csv").read_text().count("\n") == 4


@pytest.mark.docs
@pytest.mark.timeout(900)
def test_page_on_reproducing(here, monkeypatch):
    few_digits(monkeypatch)
    (block,) = of_kind("docs/reproducing.md", "commands")
    run_block(block)
    assert {path.stem for path in (here / "reproduction" / "results").iterdir()} == set(EXPERIMENTS)
    (piece,) = of_kind("docs/reproducing.md", "python")
    start = "from collections.abc import Iterator\nfrom spikeflip.experiments.declaration import Case, Experiment\n"
    start += "from spikeflip.experiments.findings import Finding\nfrom spikeflip.experiments.pictures import Bars\n"
    start += "from spikeflip.experiments.presets import Preset\n"
    names: dict[str, Any] = {"_always_high": lambda rows: iter(())}
    exec(start, names)
    found, _ = run_python(piece, names)
    cases = list(found["EXPERIMENT"].cases(SMOKE))
    assert [(case.data, case.attack["seed"]) for case in cases] == [(n, 0) for n in SMOKE.names("seeds", "images")]


# --- pages that take no time ------------------------------------------------------------------------------------------


FACTORY = '''
import torch
from plain_styles import PaperNeuron
from torch import nn


class Model(nn.Module):
    """Spikes (T, N, 2, 34, 34), time first."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(2 * 34 * 34, 16), nn.Linear(16, 10)
        self.first, self.last = PaperNeuron(), PaperNeuron()

    def forward(self, x):
        return self.last(self.out(self.first(self.hidden(x.flatten(2)))))


def factory():
    torch.manual_seed(0)
    return Model()
'''


@pytest.fixture
def package(here):
    """The module that the documents name."""
    (here / "package").mkdir()
    (here / "package" / "__init__.py").touch()
    (here / "package" / "module.py").write_text(FACTORY)
    yield
    for name in ("package.module", "package", "defences"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("package")
def test_page_on_own_victims(here, monkeypatch):
    few_digits(monkeypatch)
    run_page("docs/own-victims.md")
    assert len(list(here.glob("sweeps/defended/*/summary.json"))) == 2
    stored = json.loads((here / "runs" / "mine" / "config.json").read_text())
    assert stored["data"]["frames"] == "10 bins over the duration, 34 × 34 cells, binary"
    assert stored["victim"]["source"] == "package.module:factory"


@pytest.mark.usefixtures("package")
def test_page_on_victims(monkeypatch):
    few_digits(monkeypatch)
    found, _ = run_page("docs/victims.md")
    assert found["result"].adversarials.shape == found["spikes"].shape


@pytest.mark.docs
@pytest.mark.timeout(900)
def test_page_on_defences(here, monkeypatch):
    few_digits(monkeypatch)
    suite = SUITES["binary-l0/1"]
    monkeypatch.setitem(SUITES, suite.name, replace(suite, members=suite.members[:2]))
    for block in of_kind("docs/defences.md", "commands"):
        run_block(block)
    assert json.loads((here / "runs" / "filtered" / "config.json").read_text())["victim"]["defences"]
    victim = spikeflip.load_checkpoint("victims/digits").network
    (piece,) = of_kind("docs/defences.md", "python")
    names = {"spikeflip": spikeflip, "victim": victim, "images": torch.rand(2, 1, 8, 8), "labels": torch.tensor([1, 0])}
    assert run_python(piece, names)[0]["found"].bounds.shape == (2,)


def test_page_on_training(here):
    for block in of_kind("docs/training.md", "commands"):
        run_block(block)
    assert spikeflip.load_checkpoint("victims/digits").facts["recipe"]["updates"] == 60
    assert spikeflip.load_checkpoint("victims/hardened").facts["robust_accuracy_n"]


def test_page_on_nir(here, monkeypatch):
    pytest.importorskip("nir", reason="NIR files are read and written by nir")
    few_digits(monkeypatch)
    found, _ = run_page("docs/nir.md")
    assert found["result"].adversarials.shape == found["spikes"].shape
    assert (here / "network.nir").is_file()


@pytest.mark.usefixtures("here")
def test_page_on_recordings():
    names, _ = run_page("docs/recordings.md")
    again = spikeflip.read_recording("adversarial.bin", height=16, width=16)
    frames = spikeflip.bin_events(again, spikeflip.Binning(15, time_bin=5)).frames
    assert torch.equal(frames.float(), names["result"].adversarials[0])


def test_code_is_on_these_pages_alone():
    """Every page whose commands or code are to be run has a test here, or in another place."""
    source = Path(__file__).read_text(encoding="utf-8")
    tested = {"README.md", *re.findall(r"\bdocs/\S+\.md\b", source)} | set(ELSEWHERE)
    assert {block.document for block in ALL if kind_of(block) in ("python", "commands", "file")} == tested
