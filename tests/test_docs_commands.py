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
from documents import DOCUMENTS, HOME, Block, blocks, commands, inline, lines_of
from stand_ins import few_digits, recording_by_place, small_networks, small_sizes, write_data

import spikeflip
from spikeflip.cli.app import app, main, take_options
from spikeflip.cli.command_line import split_options
from spikeflip.data import write_recording
from spikeflip.evaluation import SUITES
from spikeflip.experiments import EXPERIMENTS
from spikeflip.experiments.presets import SMOKE
from spikeflip.interop import EVERY_ATTACK
from spikeflip.runs import attack

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
}
"""Options that are added to a command where it is not typed with them already: short trainings, few encodings."""

NOT_RUN = {
    "pip install . && spikeflip demo": "run by .ci/run, in a fresh environment",
    "pip install -e '.[test]' && pytest -n auto": "run by .ci/run, in a fresh environment",
    "#!/bin/bash": "needs Slurm and Ray",
    "export RAY_AUTH_MODE=token": "needs Ray on several machines",
    "helm repo add kuberay https://ray-project.github.io/kuberay-helm/": "needs Kubernetes",
    "snn/        networks: neuron, surrogate, coding, architecture string, network and its ReLU twin, training, "
    "checkpoint, engines/": "lists what there is: test_the_folders_that_are_listed_are_there",
}
"""Blocks by their first line, and why they are not run here; ``spikeflip`` in them must still be right."""

ELSEWHERE = {"docs/interop.md": "tests/interop/test_page.py"}
"""Documents whose code another test runs."""

OF_OTHERS = {"--help", "--no-build-isolation", "--no-deps", "--requeue", "--write"}
"""Options in the text that are not of a command of ours, or of all."""

ALL = [block for document in DOCUMENTS for block in blocks(document)]


def kind_of(block: Block) -> str | None:
    """What is done with a block; None for one that nobody thought of."""
    if block.language.startswith("{"):
        return "directive"  # for Sphinx, which warns of a wrong one
    if block.start in NOT_RUN:
        return "not run"
    if re.fullmatch(r"# \S+\.(toml|py)", block.start):
        return "file"
    if block.language == "python":
        return "python"
    if block.language == "" and all(words[0] == "spikeflip" for words in lines_of(block.text)):
        return "commands"
    return None


def test_every_block_is_known():
    assert [f"{block.document}: {block.start}" for block in ALL if kind_of(block) is None] == []
    assert {block.start for block in ALL if kind_of(block) == "not run"} == set(NOT_RUN)
    assert all((HOME / test).is_file() and blocks(document) for document, test in ELSEWHERE.items())


def test_the_folders_that_are_listed_are_there():
    (tree,) = (block for block in blocks("docs/architecture.md") if kind_of(block) == "not run")
    names = re.findall(r"^(\w+/|(?:\w+\.py(?:, )?)+)", tree.text, re.MULTILINE)
    for name in (part.strip() for line in names for part in line.split(",")):
        assert (HOME / "src" / "spikeflip" / name).exists(), name


# --- in form ----------------------------------------------------------------------------------------------------------


def understood(words: list[str], folder: Path) -> None:
    """Raise what the command would raise of its arguments."""
    rest, file = split_options(words)
    if file is not None:
        (folder / "run.toml").write_text('victim = "victims/digits"\n')
        file = folder / "run.toml"
    take_options(rest, file)
    try:
        app.parse_args(rest, exit_on_error=False, print_error=False)
    finally:
        app.config = ()


@pytest.mark.parametrize("document", [*DOCUMENTS, "results/README.md"])
def test_all_that_is_typed_is_understood(document, tmp_path):
    shell = [b for b in blocks(document) if b.language in ("", "bash") and not b.start.startswith("snn/")]
    typed = [words for block in shell for words in commands(block.text)]
    pieces = [piece for piece in inline(document) if re.match(r"spikeflip \w+ .", piece)]  # not a command's name alone
    typed += [words for piece in pieces for words in commands(piece)]
    for words in typed:
        understood(words, tmp_path)


def test_options_and_commands_in_the_text_exist():
    known, missing = set(OF_OTHERS), []
    for one in EVERY_ATTACK:
        take_options(["attack", "--attack", one], None)
        for argument in app["attack"].assemble_argument_collection():
            known.update(argument.names)
    names = {name for name in app if not name.startswith("-")}
    for name in names:
        for argument in app[name].assemble_argument_collection():
            known.update(argument.names)
    for document in DOCUMENTS:
        for piece in inline(document):
            options = re.findall(r"(?<![\w-])--[a-z][a-z-]*", piece)
            found = re.findall(r"^spikeflip ([a-z]\S*)", piece)
            missing += [(document, word) for word in options if word not in known]
            missing += [(document, word) for word in found if word not in names]
    assert missing == []


def test_a_wrong_line_is_found_out(tmp_path):
    for line in ("attack --victim v --out r --dat mnist", "train --out v --updates many", "attack -c run.toml"):
        with pytest.raises(Exception, match=r"(?i)unknown option|valid integer|requires an argument"):
            understood(line.split(), tmp_path)
    odd = Block("README.md", "", "make install\n")
    assert kind_of(odd) is None
    assert kind_of(Block("README.md", "yaml", "a: 1\n")) is None
    typed = "spikeflip train --out v \\\n  --seed 1  # again\nsrun x -- \\\n  spikeflip runs && spikeflip list data\n"
    assert list(commands(typed)) == [["train", "--out", "v", "--seed", "1"], ["runs"], ["list", "data"]]


# --- run --------------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(attack, "in_processes", lambda job, _workers: attack.in_this_process(job))
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
    added = [part for option, value in APPENDED.get(name, {}).items() if option not in rest for part in (option, value)]
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
def test_readme(here):
    (piece,) = of_kind("README.md", "python")
    names, printed = run_python(piece, {})
    assert 0 <= float(printed) <= 1
    assert names["result"].adversarials.shape == (450, 1, 8, 8)
    (here / "sweep.toml").write_text('[base]\nvictim = "victims/digits"\nsamples = 2\n[grid]\nseed = [0, 1]\n')
    for block in of_kind("README.md", "commands"):
        run_block(block)
    assert (here / "victims" / "mnist" / "victim.json").is_file()
    assert (here / "runs" / "recordings" / "adversarial" / "00004.bin").is_file()
    assert (here / "sweeps" / "threshold" / "seed=1" / "summary.json").is_file()
    pages = list(here.rglob("report.html"))
    assert {page.parent.name for page in pages} >= {"untargeted", "targeted", "recordings", "threshold", here.name}


@pytest.mark.docs
@pytest.mark.timeout(900)
def test_page_on_runs(here, monkeypatch):
    few_digits(monkeypatch)
    run("train --out victims/digits")
    for goal, target in (("untargeted", "none"), ("targeted", "next")):
        run(f"attack --victim victims/digits --samples 3 --draws 2 --target {target} --out runs/{goal}")
    write_files("docs/runs.md")
    for block in of_kind("docs/runs.md", "commands"):
        run_block(block)
    assert len(list(here.glob("sweeps/threshold/*/summary.json"))) == 24
    assert (here / "comparison.html").is_file()


@pytest.mark.docs
def test_page_on_attacks(here, monkeypatch):
    few_digits(monkeypatch)
    run("train --simulate-events --out victim")
    for block in of_kind("docs/attacks.md", "commands"):
        run_block(block)
    assert (here / "run" / "summary.json").is_file()


@pytest.mark.docs
def test_page_on_few_flips(here, monkeypatch):
    few_digits(monkeypatch)
    run("train --simulate-events --out victim")
    for block in of_kind("docs/few-flips.md", "commands"):
        run_block(block)
    assert (here / "run" / "summary.json").is_file()


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
    run("train --simulate-events --updates 60 --out victim")
    victim = spikeflip.load_checkpoint("victim").network
    spikes = spikeflip.simulate_saccades(spikeflip.load_images("digits", "test").images[:40], size=16)
    (piece,) = of_kind("docs/masking.md", "python")
    _, printed = run_python(piece, {"victim": victim, "spikes": spikes, "labels": victim.scores(spikes).argmax(1)})
    assert printed.split()[0] in ("trustworthy", "doubtful", "masked")


@pytest.mark.docs
def test_page_on_the_worst_case(here, monkeypatch):
    few_digits(monkeypatch)
    suite = SUITES["binary-l0/1"]
    monkeypatch.setitem(SUITES, suite.name, replace(suite, members=suite.members[:3]))
    run("train --simulate-events --out victim")
    for block in of_kind("docs/evaluate.md", "commands"):
        run_block(block)
    assert (here / "page.html").is_file()
    (piece,) = of_kind("docs/evaluate.md", "python")
    victim, spikes = spike_network(), some_frames(3, 15)
    names = {"spikeflip": spikeflip, "victim": victim, "spikes": spikes, "labels": victim.scores(spikes).argmax(1)}
    found, printed = run_python(piece, names)
    assert printed.startswith("binary-l0/1, budget 0.05: robust accuracy")
    assert found["found"].adversarials.shape == spikes.shape


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


def test_page_on_reliability(here):
    run("train --data mnist --root DIR --width 0.25 --out victims/mnist")
    for seed, name in enumerate(("a", "b")):
        run(f"attack --victim victims/mnist --data mnist --root DIR --samples 4 --seed {seed} --out runs/{name}")
    (block,) = of_kind("docs/reliability.md", "commands")
    run_block(block)


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


def spike_network() -> spikeflip.SpikingNetwork:
    return spikeflip.SpikingNetwork("16FC-10FC", (2, 34, 34), time_steps=15, neuron=spikeflip.LIF(0.3, 0.3))


def some_frames(n: int, steps: int) -> torch.Tensor:
    return (torch.rand((n, steps, 2, 34, 34), generator=torch.Generator().manual_seed(0)) < 0.2).float()


@pytest.fixture
def package(here):
    """The module that the documents name."""
    (here / "package").mkdir()
    (here / "package" / "__init__.py").touch()
    (here / "package" / "module.py").write_text(FACTORY)
    yield
    for name in ("package.module", "package", "defences"):
        sys.modules.pop(name, None)


def test_page_on_own_victims(here, package, monkeypatch):
    few_digits(monkeypatch)
    run("train --out victims/digits")
    write_files("docs/own-victims.md")
    for block in of_kind("docs/own-victims.md", "commands"):
        run_block(block)
    assert len(list(here.glob("sweeps/defended/*/summary.json"))) == 2
    stored = json.loads((here / "runs" / "mine" / "config.json").read_text())
    assert stored["data"]["frames"] == "10 bins over the duration, 34 × 34 cells, binary"
    assert stored["victim"]["source"] == "package.module:factory"


def test_page_on_victims(here, package):
    (block,) = of_kind("docs/victims.md", "commands")
    run_block(block)
    from package.module import factory  # type: ignore[import-not-found]

    (piece,) = of_kind("docs/victims.md", "python")
    spikes, labels = some_frames(6, 10), torch.arange(6)
    found, _ = run_python(piece, {"spikeflip": spikeflip, "model": factory(), "spikes": spikes, "labels": labels})
    assert found["result"].adversarials.shape == spikes.shape


def test_page_on_training(here):
    for block in of_kind("docs/training.md", "commands"):
        run_block(block)
    assert spikeflip.load_checkpoint("victims/digits").facts["recipe"]["updates"] == 60
    assert spikeflip.load_checkpoint("victims/hardened").facts["robust_accuracy_n"]


def test_page_on_nir(here):
    pytest.importorskip("nir", reason="NIR files are read and written by nir")
    network, spikes = spike_network(), some_frames(3, 25)
    spikeflip.save_nir(network, "model.nir")
    (piece,) = of_kind("docs/nir.md", "python")
    names = {"network": network, "spikes": spikes, "labels": torch.arange(3)}
    found, _ = run_python(piece, names)
    assert found["result"].adversarials.shape == spikes.shape
    assert (here / "network.nir").is_file()


def test_page_on_recordings(here):
    recording = recording_by_place(4, 34, 0)
    write_recording(recording, here / "00004.bin")
    (piece,) = of_kind("docs/recordings.md", "python")
    network = spike_network()
    names, _ = run_python(piece, {"network": network, "labels": network.scores(some_frames(1, 15)).argmax(1)})
    again = spikeflip.bin_events(spikeflip.read_recording("adversarial.bin"), spikeflip.Binning(15, time_bin=5))
    assert torch.equal(again.frames.float(), names["result"].adversarials[0])


def test_code_is_on_these_pages_alone():
    """Every page whose commands or code are to be run has a test here, or in another place."""
    tested = {"README.md", *(f"docs/{name}.md" for name in ("attacks", "runs", "reliability", "reproducing"))}
    tested |= {f"docs/{name}.md" for name in ("victims", "own-victims", "training", "nir", "recordings", "evaluate")}
    tested |= {"docs/few-flips.md", "docs/event-attacks.md", "docs/masking.md"}
    tested |= set(ELSEWHERE)
    assert {block.document for block in ALL if kind_of(block) in ("python", "commands", "file")} == tested
