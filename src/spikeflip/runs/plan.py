"""What a run will do, decided before anything is written: which inputs, towards which targets, in which shards."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeflip.attacks import ATTACKS, Budget, every_target, next_target
from spikeflip.data import select_per_class
from spikeflip.errors import SpikeflipError
from spikeflip.runs.config import AttackConfig
from spikeflip.runs.inputs import Inputs, is_recordings, load_given, load_inputs, stored_binning
from spikeflip.runs.recordings import check_all_writable
from spikeflip.runs.shard import Shard, Work
from spikeflip.snn.checkpoint import DESCRIPTION, WEIGHTS, Checkpoint, load_checkpoint
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.engines.choose import EngineName, best_engine
from spikeflip.snn.inputs import Kind, kind_of
from spikeflip.snn.network import SpikingNetwork

PLACES = {"root", "victim", "download", "input"}
"""Options that say where something is: checksums say what it is."""


@dataclass(frozen=True)
class Task:
    """A configuration with the victim and the data that it names."""

    config: AttackConfig
    checkpoint: Checkpoint
    victim: SpikingNetwork
    """On its device."""
    engine: EngineName
    data: Inputs

    @property
    def kind(self) -> Kind:
        """Whether images or spikes are attacked."""
        return kind_of(self.data.read(torch.arange(1)), self.victim.input_shape)

    @property
    def identity(self) -> dict[str, Any]:
        """All that results depend on beside versions and machine: runs that agree in it can go on one another."""
        return self.config.model_dump(mode="json", exclude=PLACES) | {
            "engine": self.engine,
            "victim's weights": self.checkpoint.sha256,
            "data's checksum": self.data.facts["sha256"],
        }


@dataclass(frozen=True)
class Plan:
    """The rows of a run, one an input and target, in order."""

    task: Task
    settings: Mapping[str, Any]
    """Of the attack."""
    rows: Tensor
    """``(n,)`` positions in the data."""
    labels: Tensor
    targets: Tensor | None
    samples: Tensor
    """``(n,)`` ids that name the random streams: one an input and goal."""

    @property
    def shards(self) -> int:
        """How many shards there are; at least one, which may be empty."""
        return max(1, -(-len(self.rows) // self.task.config.shard_size))

    def work(self) -> Work:
        """What is done to every shard."""
        config = self.task.config
        return Work(
            victim={name: np.fromfile(config.victim / name, np.uint8) for name in (DESCRIPTION, WEIGHTS)},
            attack=config.attack,
            settings=self.settings,
            engine=self.task.engine,
            precision=config.precision,
            device=config.device,
            draws=config.draws,
            seed=config.seed,
            micro_batch=config.micro_batch,
            trace=config.trace,
            binning=self.task.data.binning,
        )

    def shard(self, number: int) -> Shard:
        """Read the inputs of a shard."""
        size, data = self.task.config.shard_size, self.task.data
        part = slice(number * size, (number + 1) * size)
        inputs, recordings = self.rows[part], data.recordings
        unique, clips = inputs.unique(return_inverse=True)
        if recordings is not None:
            recordings = replace(recordings, clips=tuple(recordings.clips[row] for row in unique.tolist()))
        return Shard(
            number=number,
            inputs=inputs.numpy(),
            values=data.read(unique)[clips].numpy(),
            labels=self.labels[part].numpy(),
            targets=None if self.targets is None else self.targets[part].numpy(),
            samples=self.samples[part].numpy(),
            recordings=recordings,
            clips=clips.numpy(),
        )

    def describe(self) -> dict[str, Any]:
        """What a run folder's ``config.json`` holds."""
        config, data = self.task.config, self.task.data
        attack = ATTACKS[config.attack].settings(**self.settings)
        settings = {name: getattr(attack, name) for name in attack.__dataclass_fields__}
        budget = settings.pop("budget")
        if budget is not None:
            settings |= {"budget": budget.limit, "budget_metric": budget.metric}
        goal = "untargeted" if self.targets is None else "targeted"
        run = {
            "target": config.target,
            "draws": config.draws,
            "engine": self.task.engine,
            "precision": config.precision,
        }
        return {
            "name": f"{data.facts['name']}, {goal}",
            "attack": config.attack,
            "goal": goal,
            "kind": self.task.kind,
            "rows": len(self.rows),
            "settings": settings | run,
            "seed": config.seed,
            "data": data.facts,
            "classes": list(data.classes),
            "victim": _describe_victim(self.task.checkpoint),
            "options": config.model_dump(mode="json", exclude=PLACES),
            "identity": self.task.identity,
        }


def open_task(config: AttackConfig) -> Task:
    """Load a victim and its data.

    Raises:
        SpikeflipError: one of both cannot be used, or they do not fit each other.
    """
    checkpoint = load_checkpoint(config.victim)
    victim = _place(checkpoint.network, config.device)
    for position, weight in enumerate(victim.weights, 1):
        if not bool(torch.isfinite(weight).all()):
            raise SpikeflipError(f"weights {position} of the victim {config.victim} are not finite: train it again")
    engine = best_engine(victim.engine.chain, config.precision) if config.engine == "auto" else config.engine
    victim.on(engine, precision=config.precision)
    if config.input is not None:
        data = load_given(config, checkpoint)
    else:
        binning = stored_binning(checkpoint) if is_recordings(config) else None
        data = load_inputs(
            config, config.split, time_steps=victim.time_steps, binning=binning, first=config.samples, keep=False
        )
    if not len(data.labels):
        raise SpikeflipError(f"there are no {config.split} inputs in {data.facts['name']}: try the other --split")
    first = data.read(torch.arange(1))
    kind_of(first.expand(len(data.labels), *first.shape[1:]), victim.input_shape)
    return Task(config, checkpoint, victim, engine, data)


def make_plan(task: Task) -> Plan:
    """Choose what is attacked, and check that it can be.

    Raises:
        SpikeflipError: an option is out of range, or a recording could not be written back.
    """
    config, victim = task.config, task.victim
    task = replace(task, data=_labelled(victim, task.data))
    chosen = _choose(config, victim, task.data)
    index, targets, goals = _goals(config.target, task.data.labels[chosen], victim.classes)
    rows = chosen[index]
    plan = Plan(
        task,
        settings=_settings(config, task.checkpoint),
        rows=rows,
        labels=task.data.labels[rows],
        targets=targets,
        samples=rows * (victim.classes + 1) + goals,
    )
    if task.data.recordings is not None:
        check_all_writable(task.data.recordings, rows)
    attack, nothing = ATTACKS[config.attack].settings(**plan.settings), torch.arange(0)
    attack(victim, task.data.read(torch.arange(1))[:0].float(), nothing, None if targets is None else nothing)
    return plan


def _place(network: SpikingNetwork, device: str) -> SpikingNetwork:
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SpikeflipError(
            f"--device {device} cannot be used ({reason}): choose cpu, or a device that is there"
        ) from error


def _labelled(victim: SpikingNetwork, data: Inputs) -> Inputs:
    """The data, where nobody says a label with what the victim says."""
    unlabelled = (data.labels < 0).nonzero().squeeze(1)
    if not len(unlabelled):
        return data
    labels = data.labels.clone()
    for rows in unlabelled.split(64):
        labels[rows] = victim.scores(data.read(rows).float().to(victim.device)).argmax(1).cpu()
    facts = data.facts | {"labels": f"{len(unlabelled):,} are what the victim says of the original"}
    return replace(data, labels=labels, facts=facts)


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
        spikes = encode(data.read(rows), victim.input_shape, victim.time_steps, seed=config.seed, samples=rows)
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


def _describe_victim(checkpoint: Checkpoint) -> dict[str, Any]:
    network, facts = checkpoint.network, checkpoint.facts
    return {
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
    }


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What two identities differ in: ``gamma: 0.05 -> 0.1``."""
    names = dict.fromkeys((*theirs, *ours))
    return [
        f"{name}: {_short(theirs.get(name))} -> {_short(ours.get(name))}"
        for name in names
        if theirs.get(name) != ours.get(name)
    ]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
