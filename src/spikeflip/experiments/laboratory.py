"""Where an experiment's rows are measured: victims are trained once, attacks run once, both found again later."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from spikeflip.errors import SpikeflipError
from spikeflip.experiments.declaration import Case
from spikeflip.experiments.examples import typical_examples
from spikeflip.experiments.gradients import GRADIENTS_VERSION, first_gradients
from spikeflip.experiments.presets import Preset
from spikeflip.report.loading import read_json
from spikeflip.runs import AttackConfig, Execution, TrainConfig, is_finished, is_trained, run_attack, run_training
from spikeflip.runs.folder import differences
from spikeflip.runs.lock import locked
from spikeflip.runs.plan import PLACES, make_plan, open_task
from spikeflip.runs.transfer import transfer_run
from spikeflip.snn.checkpoint import DESCRIPTION
from spikeflip.snn.engines.choose import Precision
from spikeflip.writing import make_folder, write_json

Progress = Callable[[str, int, int], None]
"""Called with the stage and, after a ``|``, what it is about; and what is done of what."""

PARTS = ("victims", "runs", "measured", ".measuring")
"""The folders of a laboratory."""
_LONGEST_NAME = 100
_ROW_COLUMNS = ("already_wrong", "success", "vanished", "forwards", "backwards", "steps", "over_budget")
_MEANS = {"mse": "mse_mean", "linf": "linf_mean", "steps": "steps_mean", "vanished_steps": "vanished_mean"}


@dataclass
class Laboratory:
    """A folder with the victims, runs and measurements of one preset's experiments.

    Folders are named by what they hold and a checksum of all options, and of the victim's weights: what is declared
    otherwise has another name, and is never mixed with what was measured before.
    """

    preset: Preset
    out: Path
    root: Path | None = None
    download: bool = False
    device: str = "cpu"
    execution: Execution = field(default_factory=Execution)
    progress: Progress | None = None
    precision: Precision = "float32"
    """Of attacks on spiking victims."""

    def row(self, case: Case) -> dict[str, Any]:
        """Measure a case, or find what was measured.

        Raises:
            InUseError: another process is at it.
            SpikeflipError: the data are missing, or an option is wrong.
        """
        measured: dict[str, Any]
        if case.measure == "transfer":
            measured = self._transfer(case)
        elif case.measure == "gradients":
            measured = self._gradients(case)
        else:
            run = self.run(case)
            measured = figures(run) | {"run": run.name}
            if case.measure == "trace":
                measured |= traced(run)
            if case.examples:
                measured["examples"] = typical_examples(run)
        data = self.preset.data[case.data]
        named = {
            "data": case.data,
            "kind": data.kind,
            "in_paper": data.in_paper or case.data,
            "loss": case.loss.upper(),
            "goal": case.goal,
            **case.labels,
        }
        victim = self.victim(case)
        accuracy = read_json(victim / DESCRIPTION)["facts"]["accuracy"]
        return named | measured | {"victim": victim.name, "accuracy": accuracy}

    def victim(self, case: Case) -> Path:
        """The folder of a case's victim; it is trained if it is not there."""
        data = self.preset.data[case.data]
        options = {**data.source, **data.training, "loss": case.loss, **case.victim}
        words = f"{case.data},{_text({'loss': case.loss, **case.victim})}"
        if not data.start or options.get("twin") or case.random_start:
            return self._trained(words, options)
        twin = self._trained(f"{case.data},start", {**options, **data.start, "twin": True})
        return self._trained(words, options, twin)

    def _trained(self, words: str, options: Mapping[str, Any], start: Path | None = None) -> Path:
        # A preset's options are plain values: what is wrong with them is a mistake in the preset, not the user's.
        config = TrainConfig(root=self.root, download=self.download, device=self.device, start=start, **options)
        named = _options(config, "root", "download", "device", "start")
        folder = self.out / "victims" / _name(words, named if start is None else [named, start.name])
        if not is_trained(folder):
            run_training(
                config, folder, progress=lambda now: self._say(f"train|{folder.name}", now.update, now.updates)
            )
        _check_defaults(folder, read_json(folder / DESCRIPTION)["facts"]["config"], config)
        return folder

    def run(self, case: Case) -> Path:
        """The run folder of a case's attack; it is run if it is not there."""
        config = self.attack_config(case)
        own = _options(config, *PLACES)
        words = _text({name: value for name, value in case.attack.items() if name in own})
        folder = self.out / "runs" / self._named(case, f"{case.goal},{words}", own)
        if not is_finished(folder, page=False):
            run_attack(
                config,
                folder,
                execution=self.execution,
                page=False,
                progress=lambda stage, done, every: self._say(f"{stage}|{folder.name}", done, every),
            )
        _check_defaults(folder, read_json(folder / "config.json")["options"], config)
        return folder

    def attack_config(self, case: Case) -> AttackConfig:
        """The options of a case's attack."""
        data = self.preset.data[case.data]
        exact = self.precision == "float32" or bool(case.victim.get("twin"))
        places = {"root": self.root, "download": self.download, "device": self.device, "victim": self.victim(case)}
        options = {
            **data.source,
            **self.preset.inputs(case.data, case.goal),
            "target": "all" if case.goal == "targeted" else "none",
            "draws": data.draws[case.goal == "targeted"],
            **({"engine": data.engine} if exact else {"engine": "torch", "precision": self.precision}),
            "trace": True,
            **case.attack,
        }
        return AttackConfig(**places, **options)

    def _named(self, case: Case, words: str, options: Mapping[str, Any]) -> str:
        """The name of what is measured on a case's victim, whatever the victim's own name is."""
        victim = self.victim(case)
        weights = read_json(victim / DESCRIPTION)["weights_sha256"]
        return _name(f"{victim.name.rpartition(',')[0]},{words}", [options, weights])

    def _gradients(self, case: Case) -> dict[str, Any]:
        config = self.attack_config(case)
        name = self._named(case, "gradients", {"version": GRADIENTS_VERSION, **_options(config, *PLACES)})
        return self._kept(name, lambda: first_gradients(make_plan(open_task(config))))

    def _transfer(self, case: Case) -> dict[str, Any]:
        if case.source is None:
            raise SpikeflipError(f"the case {dict(case.labels)} transfers inputs but names no source: give one")
        run, victim = self.run(case.source), self.victim(case)
        draws = self.preset.data[case.data].draws[case.goal == "targeted"]
        name = self._named(case, f"shown,{run.name}", {"run": run.name, "draws": draws})

        def measure() -> dict[str, Any]:
            return transfer_run(run, victim, draws=draws, device=self.device, progress=self.progress)

        return _rates(self._kept(name, measure))

    def _kept(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.out / "measured" / f"{name}.json"
        if not path.exists():
            with locked(self.out / ".measuring" / name):
                # Another process may have measured it since it was looked for.
                if not path.exists():
                    make_folder(path.parent)
                    write_json(path, measure())
        return read_json(path)

    def _say(self, stage: str, done: int, every: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, every)


def _check_defaults(folder: Path, theirs: Mapping[str, Any], config: TrainConfig | AttackConfig) -> None:
    """Raise a SpikeflipError if a default, which a folder's name does not say, has changed since it was written."""
    ours = config.stored(without=PLACES)
    unsaid = sorted(theirs.keys() & ours.keys() - _options(config).keys())
    changed = differences({name: theirs[name] for name in unsaid}, {name: ours[name] for name in unsaid})
    if changed:
        raise SpikeflipError(
            f"{folder} was made with other defaults ({'; '.join(changed)}): delete it, or give another --out"
        )


def figures(run: Path) -> dict[str, Any]:
    """What a row says of a finished run."""
    summary = read_json(run / "summary.json")
    table = pyarrow.parquet.read_table((run / "rows.parquet").absolute(), columns=list(_ROW_COLUMNS), memory_map=False)
    rows = {name: table[name].to_numpy() for name in _ROW_COLUMNS}
    attacked = ~rows["already_wrong"].astype(bool)
    n, won, vanished = int(attacked.sum()), rows["success"][attacked].astype(bool), rows["vanished"][attacked] > 0
    passes = (rows["forwards"] + rows["backwards"])[attacked]
    # A step that a budget undid was made all the same.
    steps = int((rows["steps"] + rows["over_budget"])[attacked].sum())
    accuracy, robust = summary["clean_accuracy"], summary["robust_accuracy"]
    return {
        **_rates(summary),
        "accuracy_loss": None if accuracy is None else accuracy - robust,
        "vanished_first_step": summary["vanished_first_step"],
        "vanished_first_step_loss": summary["vanished_first_step_loss"],
        "vanished_first_step_output": summary["vanished_first_step_output"],
        "vanished_in_500": round(500 * summary["vanished_first_step"] / n) if n else None,
        "vanishing_failures": float((~won & vanished).mean()) if n else None,
        "other_failures": float((~won & ~vanished).mean()) if n else None,
        "passes": float(passes.mean()) if n else None,
        # The first forward pass judges the original.
        "passes_a_step": float((passes - 1).sum() / steps) if steps else None,
        **{name: summary.get(key) for name, key in _MEANS.items()},
    }


def _rates(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n": summary["attack_success_rate_n"],
        "trials": summary.get("attack_success_rate_trials"),
        "success": summary["attack_success_rate"],
        "success_interval": summary["attack_success_rate_interval"],
        "verified": summary["verified_success_rate"],
        "verified_interval": summary["verified_success_rate_interval"],
        "draws": summary["draws"],
        "clean": summary["clean_accuracy"],
    }


def traced(run: Path) -> dict[str, Any]:
    """What a row says of the penultimate layer during a finished run that was traced."""
    counts = spikes_by_iteration(run)
    ends = {"first_spikes": counts[0], "last_spikes": counts[-1]} if counts else {}
    return {"penultimate_spikes": counts, **ends}


def spikes_by_iteration(run: Path) -> list[float]:
    """The spikes of the penultimate layer at each iteration, averaged over all attacked inputs.

    An input that is done keeps its last count: the average is always over the same inputs.
    """
    table = pyarrow.parquet.read_table((run / "trace.parquet").absolute(), memory_map=False)
    samples, at = np.unique(table["sample"].to_numpy(), return_inverse=True)
    iterations = table["iteration"].to_numpy()
    counts = np.full((len(samples), int(iterations.max(initial=-1)) + 1), np.nan)
    counts[at, iterations] = table["penultimate_spikes"].to_numpy()
    for column in range(1, counts.shape[1]):
        missing = np.isnan(counts[:, column])
        counts[missing, column] = counts[missing, column - 1]
    return [float(value) for value in counts.mean(0)] if counts.size else []


def _options(config: TrainConfig | AttackConfig, *places: str) -> dict[str, Any]:
    # An option that a later version adds must not rename what was measured without it.
    return config.stored(without=places, defaults=False)


def _text(options: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in options.items())


def _name(words: str, of: object) -> str:
    """A folder's name: readable words, and a checksum that tells it from all others."""
    plain = re.sub(r"[^a-z0-9.=,-]+", "-", words.lower()).strip("-,")[:_LONGEST_NAME]
    return f"{plain},{hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:10]}"
