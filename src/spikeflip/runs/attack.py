"""Attacking a victim into a run folder."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from spikeflip.attacks import ATTACKS, AttackResult, Budget, every_target, next_target
from spikeflip.data import select_per_class
from spikeflip.errors import SpikeflipError
from spikeflip.judging import judge
from spikeflip.report import write_report
from spikeflip.runs.config import AttackConfig
from spikeflip.runs.folder import check_free, manifest, new_folder, write_json, write_table
from spikeflip.runs.inputs import Inputs, is_recordings, load_given, load_inputs, stored_binning
from spikeflip.runs.recordings import Written, check_all_writable, write_adversarials
from spikeflip.snn.checkpoint import Checkpoint, load_checkpoint
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.engines.choose import EngineName, best_engine
from spikeflip.snn.inputs import kind_of
from spikeflip.snn.network import SpikingNetwork

Progress = Callable[[str, int, int], None]
"""Called with the name of the stage and the number of samples done and in all."""


def run_attack(config: AttackConfig, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Attack, save, judge what was saved, and write the run folder ``out``; returns the summary.

    Raises:
        SpikeflipError: an option is wrong, or ``out`` holds something already.
    """
    check_free(out)
    started = time.monotonic()
    checkpoint = load_checkpoint(config.victim)
    victim = _place(checkpoint.network, config.device)
    attacked = victim.on(_engine(config, victim), precision=config.precision)  # judging stays on the victim itself
    data = _inputs(config, checkpoint)
    chosen = _choose(config, victim, data)
    inputs, labels = data.values[chosen], data.labels[chosen]
    index, targets, goals = _goals(config.target, labels, victim.classes)
    inputs, labels = inputs[index].float(), labels[index]
    samples = chosen[index] * (victim.classes + 1) + goals  # one stream an input and goal
    if data.recordings is not None:
        check_all_writable(data, chosen[index])
    settings = _settings(config, checkpoint)
    attack = ATTACKS[config.attack].settings(**settings)
    result = attack(
        attacked,
        inputs,
        labels,
        targets,
        seed=config.seed,
        samples=samples,
        micro_batch=config.micro_batch,
        progress=_stage(progress, "attack"),
        trace=config.trace,
    )
    with new_folder(out) as folder:
        written = None
        if data.recordings is not None:
            written = write_adversarials(
                folder,
                data,
                chosen[index],
                targets,
                result.adversarials,
                seed=config.seed,
                samples=samples,
                progress=_stage(progress, "write"),
            )
        final = result.adversarials if written is None else written.frames
        _save_inputs(folder / "adversarials.safetensors", victim, inputs, final, samples)
        saved = load_file(folder / "adversarials.safetensors")["adversarials"].to(inputs.dtype)
        judgement = judge(
            victim,
            inputs,
            saved,
            labels,
            targets,
            result,
            draws=config.draws,
            seed=config.seed,
            samples=samples,
            progress=_stage(progress, "judge"),
        )
        goal = "untargeted" if targets is None else "targeted"
        summary = {"goal": goal, **judgement.summary()}
        summary["lost_in_judging"] = int((result.success & ~judgement.rows["success"]).sum())
        columns: dict[str, Tensor | list[str]] = {"input": chosen[index], **judgement.rows}
        if written is not None:
            columns |= {**written.counts, "file": written.files}
            summary |= _recording_facts(written, result, judgement.rows["success"])
        write_table(folder / "rows.parquet", columns)
        if result.trace is not None:
            write_table(folder / "trace.parquet", _long(result, samples))
        write_json(folder / "config.json", _describe(config, checkpoint, data, attack, goal, judgement.kind))
        write_json(folder / "manifest.json", manifest(time.monotonic() - started, victim.device))
        write_json(folder / "summary.json", summary)
        write_report([folder], folder / "report.html")
    return summary


def _place(network: SpikingNetwork, device: str) -> SpikingNetwork:
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SpikeflipError(
            f"--device {device} cannot be used ({reason}): choose cpu, or a device that is there"
        ) from error


def _engine(config: AttackConfig, victim: SpikingNetwork) -> EngineName:
    if config.engine != "auto":
        return config.engine
    return best_engine(victim.engine.chain, config.precision)


def _inputs(config: AttackConfig, checkpoint: Checkpoint) -> Inputs:
    """What to attack, labelled."""
    victim = checkpoint.network
    if config.input is not None:
        data = load_given(config, checkpoint)
    else:
        binning = stored_binning(checkpoint) if is_recordings(config) else None
        data = load_inputs(config, config.split, time_steps=victim.time_steps, binning=binning, first=config.samples)
    if not len(data.labels):
        raise SpikeflipError(f"there are no {config.split} inputs in {data.facts['name']}: try the other --split")
    kind_of(data.values, victim.input_shape)
    unlabelled = (data.labels < 0).nonzero().squeeze(1)
    labels = data.labels.clone()
    for rows in unlabelled.split(64):
        labels[rows] = victim.scores(data.values[rows].float().to(victim.device)).argmax(1).cpu()
    if len(unlabelled):
        data.facts["labels"] = f"{len(unlabelled):,} are what the victim says of the original"
    return replace(data, labels=labels)


def _choose(config: AttackConfig, victim: SpikingNetwork, data: Inputs) -> Tensor:
    """Positions of the inputs to attack: all, or the first correctly classified ones of each class."""
    if config.per_class is None:
        return torch.arange(len(data.labels))
    if config.samples is not None:
        raise SpikeflipError(
            f"--samples {config.samples} and --per-class {config.per_class} exclude each other: give one"
        )
    right = torch.zeros(len(data.labels), dtype=torch.bool)
    counts = [0] * victim.classes
    for rows in torch.arange(len(data.labels)).split(64):
        spikes = encode(data.values[rows], victim.input_shape, victim.time_steps, seed=config.seed, samples=rows)
        right[rows] = winner(victim.scores(spikes.to(victim.device))).cpu() == data.labels[rows]
        for label in data.labels[rows][right[rows]].tolist():
            counts[label] += 1
        if min(counts) >= config.per_class:
            break
    return select_per_class(data.labels, config.per_class, candidates=right)


def _goals(target: str, labels: Tensor, classes: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Which inputs to attack, towards which targets, and the goal's part of each sample id (0: untargeted)."""
    every = torch.arange(len(labels))
    if target == "none":
        return every, None, torch.zeros_like(every)
    if target == "all":
        index, targets = every_target(labels, classes)
    elif target == "next":
        index, targets = every, next_target(labels, classes)
    else:
        if int(target) >= classes:
            raise SpikeflipError(f"--target {target} is out of range: the victim has classes 0 to {classes - 1}")
        index = (labels != int(target)).nonzero().squeeze(1)
        targets = torch.full((len(index),), int(target))
    return index, targets, targets + 1


def _settings(config: AttackConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    budget = None if config.epsilon is None else Budget(config.epsilon, config.metric)
    loss = checkpoint.facts.get("loss", "mse") if config.loss == "victim" else config.loss
    shared = ("steps", "gamma", "sampling", "flipper", "output_window", "c")
    return {
        **{name: getattr(config, name) for name in shared},
        "threshold": config.threshold if config.tuning else None,
        "loss": loss,
        "budget": budget,
    }


def _save_inputs(path: Path, victim: SpikingNetwork, inputs: Tensor, adversarials: Tensor, samples: Tensor) -> None:
    spikes = kind_of(inputs, victim.input_shape) == "spikes"
    both = {"originals": inputs, "adversarials": adversarials}
    tensors = {name: (value.to(torch.uint8) if spikes else value).cpu().contiguous() for name, value in both.items()}
    save_file(tensors | {"samples": samples}, path)


def _recording_facts(written: Written, result: AttackResult, won: Tensor) -> dict[str, object]:
    """How many files there are, how many gave exactly the attacked frames, and events changed by successes."""
    exact = (written.frames == result.adversarials.cpu().to(torch.uint8)).flatten(1).all(1)
    means = {
        f"{name}_mean": float(written.counts[name][won].double().mean()) if won.any() else None
        for name in ("events", "events_added", "events_removed", "events_outside")
    }
    return {"files": len(written.files), "files_exact": int(exact.sum()), **means}


def _long(result: AttackResult, samples: Tensor) -> dict[str, Tensor]:
    """A trace as one row a sample and iteration that was run."""
    assert result.trace is not None
    sample, iteration = (result.trace.rule >= 0).nonzero(as_tuple=True)
    return {
        "sample": samples[sample],
        "iteration": iteration,
        "penultimate_spikes": result.trace.penultimate_spikes[sample, iteration],
        "rule": result.trace.rule[sample, iteration],
    }


def _describe(
    config: AttackConfig, checkpoint: Checkpoint, data: Inputs, attack: Any, goal: str, kind: str
) -> dict[str, Any]:
    network, facts = checkpoint.network, checkpoint.facts
    settings = {name: getattr(attack, name) for name in attack.__dataclass_fields__}
    budget = settings.pop("budget")
    if budget is not None:
        settings |= {"budget": budget.limit, "budget_metric": budget.metric}
    return {
        "name": f"{data.facts['name']}, {goal}",
        "attack": config.attack,
        "goal": goal,
        "kind": kind,
        "settings": settings
        | {
            "target": config.target,
            "draws": config.draws,
            "engine": _engine(config, network),
            "precision": config.precision,
        },
        "seed": config.seed,
        "data": data.facts,
        "classes": list(data.classes),
        "victim": {
            "architecture": network.architecture,
            "input_shape": list(network.input_shape),
            "steps": network.time_steps,
            "accuracy": facts.get("accuracy"),
            "accuracy_n": facts.get("accuracy_n"),
            "loss": facts.get("loss"),
            "threshold": network.neuron.threshold,
            "decay": network.neuron.decay,
            "surrogate_width": network.neuron.surrogate.width,
            "weights_sha256": checkpoint.sha256,
        },
        "options": config.model_dump(mode="json", exclude={"root", "victim", "download", "input"}),
        "options_sha256": config.digest(),
    }


def _stage(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, every: progress(name, done, every)
