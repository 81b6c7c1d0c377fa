"""Running experiments: what is missing is trained and attacked, rows and findings are written beside the paper's."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch

from spikeflip.data import IMAGE_SETS, load_event_set, load_images
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.experiments.at_hand import remarks
from spikeflip.experiments.declaration import Case, Experiment
from spikeflip.experiments.laboratory import PARTS, Laboratory, Progress
from spikeflip.experiments.page import HEADING, write_page
from spikeflip.experiments.presets import IN_PAPER, PRESETS, Preset, PresetName
from spikeflip.experiments.registry import EXPERIMENTS
from spikeflip.experiments.rows import Rows
from spikeflip.reading import may_replace
from spikeflip.report.loading import read_json
from spikeflip.runs import Execution
from spikeflip.runs.folder import check_no_links, check_plain, manifest, write_trouble
from spikeflip.runs.lock import InUseError, locked
from spikeflip.snn.checkpoint import DESCRIPTION
from spikeflip.snn.engines.choose import Precision
from spikeflip.writing import remove_partial, write_json

RESULTS, PAGE = "results", "reproduction.md"
_MOST_NAMED = 3
_PAUSE = 5.0
"""Seconds until what another process is at is looked at again."""


def reproduce(
    names: Sequence[str],
    out: Path,
    *,
    preset: PresetName = "cpu",
    root: Path | None = None,
    data: Sequence[str] | None = None,
    width: float | None = None,
    download: bool = False,
    device: str = "cpu",
    precision: Precision = "float32",
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Run experiments of the paper and write their results.

    What was trained or attacked in ``out`` before is found again; an interrupted experiment goes on where it was.
    Several processes may work in one ``out``: each takes what no other is at.

    Args:
        names: of experiments, or ``["all"]``.
        out: gets ``victims/``, ``runs/``, ``results/<experiment>.json`` and ``reproduction.md`` with its figures.
        preset: at what size.
        root: folder with the data sets' files; not needed for ``smoke``.
        data: some of the preset's data sets; all when not given.
        width: factor on the victims' hidden layers instead of the preset's.
        download: fetch missing data sets into ``root``.
        device: where victims are trained and attacked.
        precision: of attacks on spiking victims, as :meth:`spikeflip.SpikingNetwork.on` has it.
        execution: where shards are attacked.
        progress: called with the stage, and what is done of what.

    Returns:
        What each result file holds, in the order of ``names``.

    Raises:
        SpikeflipError: an experiment, preset or data set is unknown, data are missing, or ``out`` holds links or files
            that would be written over and that ``reproduce`` did not write.
    """
    chosen = _experiments(names)
    size = _preset(preset, data, width)
    cases = [case for experiment in chosen for case in experiment.cases(size)]
    _check_data(size, cases, [experiment.name for experiment in chosen], root, download)
    _check_folder(out)
    laboratory = Laboratory(size, out, root, download, device, execution or Execution(), progress, precision)
    written = []
    with _writable(out):
        for number, experiment in enumerate(chosen):
            if progress is not None:
                progress(f"experiments|{experiment.name}", number, len(chosen))
            result = _result(experiment, laboratory, width)
            with _alone(out / RESULTS):
                write_json(out / RESULTS / f"{experiment.name}.json", result)
            written.append(result)
        if progress is not None:
            progress("experiments", len(chosen), len(chosen))
        with _alone(out / RESULTS):
            write_page(out / RESULTS, out / PAGE)
            _tidy(out)
    return written


def _check_folder(out: Path) -> None:
    """Raise a SpikeflipError if ``out`` holds links, or files that are written over and that are not ours."""
    figures = Path(PAGE).stem
    check_plain(out, [RESULTS, figures, PAGE])
    for part in PARTS:  # what is in a victim or run is looked at when it is gone on with
        check_no_links([out / part, *(out / part).glob("*")])
    results = [path for name in EXPERIMENTS if (path := out / RESULTS / f"{name}.json").exists()]
    for path in results:
        if read_json(path).get("experiment") != path.stem:
            raise SpikeflipError(f"{path} is not a result that reproduce wrote: give another folder, or move it")
    if not results and (found := [name for name in (PAGE, figures) if (out / name).exists()]):
        raise SpikeflipError(
            f"--out {out} holds a {found[0]} and no results that it is made of: give another folder, or move it"
        )
    if not may_replace(out / PAGE, HEADING.encode()):
        raise SpikeflipError(f"{out / PAGE} is not a page that reproduce wrote: give another folder, or move it")


def _tidy(out: Path) -> None:
    """Remove what a killed process has left of the files that are whole now."""
    remove_partial(out, {PAGE})
    for folder in (out / RESULTS, out / Path(PAGE).stem):
        if folder.exists():
            remove_partial(folder, {path.name for path in folder.iterdir()})


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Say what helps where results cannot be written."""
    try:
        yield
    except OSError as error:
        raise SpikeflipError(f"{write_trouble(error, out)}; what was measured stays") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is not there yet; wait for it where another process does."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(folder))
                break
            except InUseError:
                time.sleep(_PAUSE)
        yield


def _experiments(names: Sequence[str]) -> list[Experiment]:
    if not names:
        raise SpikeflipError(f"no experiment is named: give all, or some of {', '.join(EXPERIMENTS)}")
    for name in names:
        if name != "all" and name not in EXPERIMENTS:
            raise SpikeflipError(f"there is no experiment {name!r}: {choose_from(name, ['all', *EXPERIMENTS])}")
    return [found for name, found in EXPERIMENTS.items() if name in names or "all" in names]


def _preset(name: str, data: Sequence[str] | None, width: float | None) -> Preset:
    if name not in get_args(PresetName):
        raise SpikeflipError(f"--preset is {name!r}: {choose_from(name, get_args(PresetName))}")
    preset = PRESETS[name]  # type: ignore[index]
    if data is not None:
        for wanted in data:
            if wanted not in preset.data:
                known = choose_from(wanted, preset.data)
                raise SpikeflipError(f"--data {wanted!r} is none of the {name} preset's: {known}")
        preset = preset.only(data)
    if width is not None:
        if not 0 < width <= 1000:
            raise SpikeflipError(f"--width is {width}: give a positive factor, such as 0.25")
        preset = preset.at_width(width)
    return preset


def _check_data(preset: Preset, cases: Sequence[Case], names: Sequence[str], root: Path | None, download: bool) -> None:
    """Raise a SpikeflipError that names data sets that are missing or have too few inputs, before a training."""
    used = sorted({case.data for case in cases})
    missing: dict[str, list[str]] = {}  # by what is wrong
    needed: dict[str, Counter[str]] = {name: Counter() for name in used}
    for case in cases:
        needed[case.data] |= _attacked(preset, case)
    few: dict[str, str] = {}
    for name in used:
        try:
            few |= _too_few(name, str(preset.data[name].source["data"]), needed[name], root, download)
        except SpikeflipError as error:
            missing.setdefault(str(error), []).append(name)
    which = ", ".join(names) if len(names) <= _MOST_NAMED else f"{len(names)} experiments"
    lacking = [name for of in missing.values() for name in of]
    if missing:
        needs = f"{which} in preset {preset.name}: files are missing of {_quoted(lacking)}"
        if root is None:
            raise SpikeflipError(
                f"{needs}; give their folder with --root DIR, --download fetches some{_instead(used, lacking)}"
            )
        raise SpikeflipError(f"{needs} ({'; '.join(missing)}){_instead(used, lacking)}")
    if few:
        raise SpikeflipError(
            f"{which} in preset {preset.name}: there are too few inputs ({'; '.join(few.values())}): add some"
            f"{_instead(used, [*few])}"
        )


def _attacked(preset: Preset, case: Case) -> Counter[str]:
    """How many inputs of each class a case attacks, by their split; where it attacks the first ones, one at least."""
    options = {**preset.inputs(case.data, case.goal), **case.attack}
    return Counter({options.get("split", "test"): options.get("per_class") or 1})


def _too_few(name: str, source: str, needed: Mapping[str, int], root: Path | None, download: bool) -> dict[str, str]:
    """What a data set has too few inputs for, by its name; a SpikeflipError where it is not there."""
    if source not in IMAGE_SETS:
        load_event_set(source, "train", root=root, download=download)
    said = {}
    for split, number in needed.items():
        load = load_images if source in IMAGE_SETS else load_event_set
        fewest = min(Counter(load(source, split, root=root, download=download).labels.tolist()).values(), default=0)
        if fewest < number:
            said[name] = f'"{name}" has {fewest:,} of a class for {split} and needs {number:,}'
    return said


def _instead(used: Sequence[str], lacking: Sequence[str]) -> str:
    """How to do without some data sets."""
    rest = [name for name in used if name not in lacking]
    return f", or leave them out: --data {_quoted(rest, ' ')}" if rest else ", or take --preset smoke"


def _quoted(names: Sequence[str], between: str = ", ") -> str:
    return between.join(f'"{name}"' for name in names)


def _result(experiment: Experiment, laboratory: Laboratory, width: float | None) -> dict[str, Any]:
    preset, cases = laboratory.preset, list(experiment.cases(laboratory.preset))
    rows = Rows(_measure(cases, laboratory))
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "about": experiment.about,
        "preset": preset.name,
        "preset_summary": preset.summary,
        "width": width,
        "precision": laboratory.precision,
        "notes": remarks(rows, preset, laboratory.out),
        "left_out": [name for name in IN_PAPER if name not in preset.data],
        "columns": list(experiment.columns),
        "rows": [dict(row) for row in rows],
        "paper": [asdict(printed) for printed in experiment.paper],
        "trend": experiment.trend,
        "findings": [
            {"text": finding.text, "ours": finding.ours, **asdict(finding.check(rows))}
            for finding in experiment.findings
        ],
        "victims": {name: _victim(laboratory.out / "victims" / name) for name in rows.values("victim")},
        "manifest": manifest(torch.device(laboratory.device)),
    }


def _measure(cases: Sequence[Case], laboratory: Laboratory) -> list[dict[str, Any]]:
    """The rows of the cases, in order; those that another process is at are waited for."""
    found: dict[int, dict[str, Any]] = {}
    while len(found) < len(cases):
        before = len(found)
        for number, case in enumerate(cases):
            if number in found:
                continue
            try:
                found[number] = laboratory.row(case)
            except InUseError:
                continue
            if laboratory.progress is not None:
                laboratory.progress("rows", len(found), len(cases))
        if len(found) == before:
            time.sleep(_PAUSE)
    return [found[number] for number in range(len(cases))]


def _victim(folder: Path) -> dict[str, Any]:
    description = read_json(folder / DESCRIPTION)
    facts = description["facts"]
    names = ("loss", "accuracy", "accuracy_n", "config", "recipe")
    return {
        "architecture": description["architecture"],
        "time_steps": description.get("time_steps", 1),
        **{name: facts.get(name) for name in names},
        "weights_sha256": description["weights_sha256"],
        "trained_with": facts.get("manifest", {}).get("versions"),
    }
