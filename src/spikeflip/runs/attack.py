"""Attacking a victim into a run folder."""

import time
from collections.abc import Callable
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
from spikeflip.runs.inputs import Inputs, load_inputs
from spikeflip.snn.checkpoint import Checkpoint, load_checkpoint
from spikeflip.snn.coding import encode, winner
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
    data = _inputs(config, victim)
    chosen = _choose(config, victim, data)
    inputs, labels = data.values[chosen], data.labels[chosen]
    index, targets, goals = _goals(config.target, labels, victim.classes)
    inputs, labels = inputs[index].float(), labels[index]
    samples = chosen[index] * (victim.classes + 1) + goals  # one stream an input and goal
    settings = _settings(config, checkpoint)
    attack = ATTACKS[config.attack].settings(**settings)
    result = attack(
        victim,
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
        _save_inputs(folder / "adversarials.safetensors", victim, inputs, result, samples)
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
        write_table(folder / "rows.parquet", {"input": chosen[index], **judgement.rows})
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


def _inputs(config: AttackConfig, victim: SpikingNetwork) -> Inputs:
    data = load_inputs(config, "test", time_steps=victim.time_steps, first=config.samples)
    kind_of(data.values, victim.input_shape)
    return data


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


def _save_inputs(path: Path, victim: SpikingNetwork, inputs: Tensor, result: AttackResult, samples: Tensor) -> None:
    spikes = kind_of(inputs, victim.input_shape) == "spikes"
    both = {"originals": inputs, "adversarials": result.adversarials}
    tensors = {name: (value.to(torch.uint8) if spikes else value).cpu().contiguous() for name, value in both.items()}
    save_file(tensors | {"samples": samples}, path)


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
        "settings": settings | {"target": config.target, "draws": config.draws},
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
        "options": config.model_dump(mode="json", exclude={"root", "victim", "download"}),
        "options_sha256": config.digest(),
    }


def _stage(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, every: progress(name, done, every)
