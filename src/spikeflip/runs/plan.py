"""What a run will do, decided before anything is written: which inputs, towards which targets, in which shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from spikeflip.attacks import Attack, Pattern, Recorded, Verified, every_target, load_pattern, next_target
from spikeflip.attacks.iterated import Options
from spikeflip.data import EVENT_SETS, IMAGE_SETS, select_per_class
from spikeflip.errors import SpikeflipError
from spikeflip.interop import EVERY_ATTACK
from spikeflip.judging import fresh_draws
from spikeflip.limits import ran_out
from spikeflip.runs.attack_options import settings_of
from spikeflip.runs.config import AttackConfig, VictimConfig
from spikeflip.runs.inputs import (
    Inputs,
    binning_for,
    class_at,
    is_recordings,
    labelled_by_name,
    load_given,
    load_inputs,
)
from spikeflip.runs.shard import AttackWork
from spikeflip.runs.victim import LoadedVictim, files_of, load_victim
from spikeflip.runs.work import Shard
from spikeflip.snn.coding import encode_for, winner
from spikeflip.snn.engines.choose import EngineName
from spikeflip.snn.network import ReluNetwork, SpikingNetwork
from spikeflip.snn.surrogate import Surrogate
from spikeflip.snn.validation import Kind, at_a_time, kind_of
from spikeflip.victims import Victim, WrappedModel
from spikeflip.victims.examining.checks import batch_independence, raised, same_call_twice
from spikeflip.victims.victim import check_victim

PLACES = {"root", "victim", "download", "input", "pattern"}
"""Options that say where something is: checksums say what it is."""


@dataclass(frozen=True)
class Task:
    """A configuration with the victim and the data that it names."""

    config: AttackConfig
    loaded: LoadedVictim
    engine: EngineName
    surrogate: Surrogate | None
    """In the attack's gradients; the victim's own where None."""
    data: Inputs
    pattern: Pattern | None = None
    """What the attack puts on every input, where it takes one from a file."""

    @property
    def victim(self) -> Victim:
        """The victim as it is judged, on its device."""
        return self.loaded.victim

    @property
    def kind(self) -> Kind:
        """Whether images or spikes are attacked."""
        return kind_of(self.data.first, self.victim.input_shape, self.victim.coding)

    @property
    def batches_matter(self) -> bool:
        """Whether results depend on which inputs are attacked together.

        The layers of foreign models round by how many samples there are, and attacks of other libraries see batches.
        """
        return not (self.loaded.is_network and EVERY_ATTACK[self.config.attack].settings.alone)

    @property
    def identity(self) -> dict[str, Any]:
        """All that results depend on beside versions and machine: runs that agree in it can go on one another."""
        places = PLACES if self.batches_matter else {*PLACES, "micro_batch"}
        return self.config.stored(without=places) | {
            "engine": self.engine,
            "victim's weights": self.loaded.sha256,
            "victim's description": self.loaded.description_sha256,
            "data's checksum": self.data.facts["sha256"],
            **pattern_identity(self.pattern),
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
    own_labels: int = 0
    """How many rows have what the victim says as their label, since nobody else says one."""

    @property
    def attack(self) -> Attack:
        """What is run."""
        return EVERY_ATTACK[self.task.config.attack].settings(**self.settings)

    @property
    def shards(self) -> int:
        """How many shards there are; at least one, which may be empty."""
        return max(1, -(-len(self.rows) // self.task.config.shard_size))

    @property
    def goal(self) -> Literal["untargeted", "targeted"]:
        """Whether there are targets."""
        return "untargeted" if self.targets is None else "targeted"

    @property
    def draws(self) -> int:
        """Fresh encodings that verify each input."""
        return fresh_draws(self.task.kind, self.task.victim.coding, self.task.config.draws)

    def size(self, number: int) -> int:
        """How many rows a shard has."""
        size = self.task.config.shard_size
        return len(self.rows[number * size : (number + 1) * size])

    def work(self) -> AttackWork:
        """What is done to every shard."""
        config = self.task.config
        return AttackWork(
            victim=VictimConfig(**{name: getattr(config, name) for name in VictimConfig.model_fields}),
            files=files_of(config),
            expected=(self.task.loaded.sha256, self.task.loaded.description_sha256),
            attack=config.attack,
            settings=self.settings,
            engine=self.task.engine,
            precision=config.precision,
            surrogate=self.task.surrogate,
            device=config.device,
            confidence=config.confidence,
            restarts=config.restarts,
            reduce=config.reduce,
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
        inputs = self.rows[part]
        unique, clips = inputs.unique(return_inverse=True)
        if data.recordings is None or data.binning is None:
            recordings, values = None, data.read(unique)
        else:
            recordings = data.recordings.carried(unique)
            frames = [one.frames for one in recordings.binned(data.binning)]
            values = torch.stack(frames) if frames else data.first[:0]
        return Shard(
            number=number,
            inputs=inputs.numpy(),
            values=values[clips].numpy(),
            labels=self.labels[part].numpy(),
            targets=None if self.targets is None else self.targets[part].numpy(),
            samples=self.samples[part].numpy(),
            recordings=recordings,
            clips=clips.numpy(),
        )

    def describe(self) -> dict[str, Any]:
        """What a run folder's ``config.json`` holds."""
        config, data = self.task.config, self.task.data
        attack = self.attack
        settings = {field.name: getattr(attack, field.name) for field in fields(attack)}
        budget = settings.pop("budget", None)
        if budget is not None:
            settings |= {"budget": budget.limit, "budget_metric": budget.metric}
        if self.task.pattern is not None:
            settings["pattern"] = str(self.task.pattern)
        run = {
            "target": config.target,
            "draws": config.draws,
            **({} if config.confidence is None else {"confidence": config.confidence}),
            **({} if config.restarts == 1 else {"restarts": config.restarts}),
            **({} if config.reduce is None else {"reduce": config.reduce}),
            "engine": self.task.engine,
            "precision": config.precision,
            "surrogate": config.surrogate,
            "surrogate_width": config.surrogate_width,
        }
        return {
            "name": f"{data.facts['name']}, {self.goal}",
            "attack": config.attack,
            "goal": self.goal,
            "kind": self.task.kind,
            "rows": len(self.rows),
            "settings": settings | run,
            "seed": config.seed,
            "data": data.facts,
            "classes": list(data.classes),
            "victim": dict(self.task.loaded.description),
            **({} if self.task.pattern is None else {"pattern": dict(self.task.pattern.facts)}),
            "options": config.stored(without=PLACES),
            "given": _given(config),
            "source": EVERY_ATTACK[config.attack].source,
            "identity": self.task.identity,
        }


def open_task(config: AttackConfig, loaded: LoadedVictim | None = None) -> Task:
    """Load the data, and the victim where it is not.

    Raises:
        SpikeflipError: one of both cannot be used, they do not fit each other, or the attack lacks an option given.
    """
    recordings = config.input is not None or is_recordings(config)
    for name in () if recordings else ("label", "sensor", "columns", "time_unit", "bins", "time_bin"):
        if (value := getattr(config, name)) is not None:
            option = "--" + name.replace("_", "-")
            raise SpikeflipError(
                f"{option} {value} is for recordings, and --data {config.data} is of images: leave it out"
            )
    loaded = load_victim(config, config.device) if loaded is None else loaded
    victim = loaded.victim
    check_victim(victim)
    surrogate = loaded.surrogate(config.surrogate, config.surrogate_width)
    engine = loaded.best_engine(config.precision, surrogate) if config.engine == "auto" else config.engine
    loaded.attacked(engine, config.precision, surrogate)
    if config.input is not None:
        data = load_given(config, loaded)
    else:
        binning = binning_for(loaded) if recordings else None
        data = load_inputs(
            config, config.split, time_steps=victim.time_steps, binning=binning, first=config.samples, keep=False
        )
        # A folder may hold some of the victim's classes alone; other data sets have theirs in an order of their own.
        if binning is not None and config.data not in EVENT_SETS:
            data = labelled_by_name(data, loaded)
    if not len(data.labels):
        raise SpikeflipError(f"there are no {config.split} inputs in {data.facts['name']}: try the other --split")
    first = data.first
    try:
        kind_of(first, victim.input_shape, victim.coding)
    except SpikeflipError as error:
        of_events = config.input is None and config.data in IMAGE_SETS and victim.input_shape[:1] == (2,)
        fix = "what it was trained on as --data or --input"
        if config.simulate_events:
            fix += ", or leave --simulate-events out"
        elif of_events:
            fix = f"--simulate-events, or {fix}"
        raise SpikeflipError(
            f"{data.facts['name']} gives inputs {tuple(first.shape[1:])}, the victim takes {victim.input_shape}: give "
            f"{fix}"
        ) from error
    task = Task(config, loaded, engine, surrogate, data, pattern_of(config))
    if loaded.defences or not isinstance(loaded.plain, SpikingNetwork | ReluNetwork | WrappedModel):
        _try(task)
    return task


def _try(task: Task) -> None:
    """Raise a SpikeflipError if a victim that is the user's own code does not answer alike what is alike.

    Models are tried when they are wrapped, and own networks need not be.
    """
    rows = torch.arange(len(task.data.labels))[:3]
    victim = task.victim
    seen = encode_for(victim, task.data.read(rows).float(), seed=task.config.seed, samples=rows).to(victim.device)
    try:
        for check in (same_call_twice, batch_independence):
            if not (verdict := check(victim, seen)):
                raise SpikeflipError(f"the victim, behind its defences, is not to be judged: {verdict.finding}")
    except SpikeflipError:
        raise
    except Exception as error:
        if ran_out(error):
            raise
        raise SpikeflipError(f"the victim's code raised an error ({raised(error)}): mend it") from error


def make_plan(task: Task) -> Plan:
    """Choose what is attacked, and check that it can be.

    Raises:
        SpikeflipError: an option is out of range, or a recording could not be written back.
    """
    config, victim = task.config, task.victim
    _check_inputs(config, task.kind)
    unlabelled = task.data.labels < 0
    task = replace(task, data=_labelled(victim, task.data))
    chosen = _choose(config, victim, task.data)
    names = task.data.classes if len(task.data.classes) == victim.classes else tuple(map(str, range(victim.classes)))
    index, targets, goals = _goals(config.target, task.data.labels[chosen], names)
    rows = chosen[index]
    plan = Plan(
        task,
        settings=settings_of(
            config.attack,
            config.settings,
            victim_loss=task.loaded.facts.get("loss", "mse"),
            tunable=victim.penultimate_threshold is not None,
        )
        | ({} if task.pattern is None else {"pattern": task.pattern}),
        rows=rows,
        labels=task.data.labels[rows],
        targets=targets,
        samples=rows * (victim.classes + 1) + goals,
        own_labels=int(unlabelled[rows].sum()),
    )
    if task.data.recordings is not None:
        task.data.recordings.check_writable(rows)
    nothing = torch.arange(0)
    options: Options = {
        "stop": None if config.confidence is None else Verified(config.confidence),
        "restarts": config.restarts,
        "reduce": config.reduce,
        "trace": config.trace,
    }
    if task.data.recordings is not None:
        options["recorded"] = Recorded.of([])
    plan.attack(victim, task.data.first[:0].float(), nothing, None if targets is None else nothing, **options)
    return plan


def _labelled(victim: Victim, data: Inputs) -> Inputs:
    """The data, where nobody says a label with what the victim says."""
    unlabelled = (data.labels < 0).nonzero().squeeze(1)
    if not len(unlabelled):
        return data
    labels = data.labels.clone()
    for rows in unlabelled.split(at_a_time(victim, data.read(unlabelled[:1]), 64)):
        labels[rows] = victim.scores(data.read(rows).float().to(victim.device)).argmax(1).cpu()
    facts = data.facts | {"labels": f"{len(unlabelled):,} are what the victim says of the original"}
    return replace(data, labels=labels, facts=facts)


def _choose(config: AttackConfig, victim: Victim, data: Inputs) -> Tensor:
    """Positions of the inputs to attack: all, or the first correctly classified ones of each class."""
    if config.per_class is None:
        return torch.arange(len(data.labels))
    right = torch.zeros(len(data.labels), dtype=torch.bool)
    counts = [0] * victim.classes
    for rows in torch.arange(len(data.labels)).split(at_a_time(victim, data.first, 64)):
        seen = encode_for(victim, data.read(rows), seed=config.seed, samples=rows)
        right[rows] = winner(victim.scores(seen.to(victim.device))).cpu() == data.labels[rows]
        for label in data.labels[rows][right[rows]].tolist():
            counts[label] += 1
        if min(counts) >= config.per_class:
            break
    return select_per_class(data.labels, config.per_class, candidates=right)


def _goals(target: str, labels: Tensor, classes: Sequence[str]) -> tuple[Tensor, Tensor | None, Tensor]:
    """Which inputs to attack, towards which targets, and the goal's part of each sample id (0: untargeted)."""
    every = torch.arange(len(labels))
    if target == "none":
        return every, None, torch.zeros_like(every)
    if target == "all":
        index, targets = every_target(labels, len(classes))
    elif target == "next":
        index, targets = every, next_target(labels, len(classes))
    else:
        wanted = class_at(target, classes, "--target")
        index = (labels != wanted).nonzero().squeeze(1)
        targets = torch.full((len(index),), wanted)
    return index, targets, targets + 1


def pattern_of(config: AttackConfig) -> Pattern | None:
    """The pattern in the file that a configuration names, if it does."""
    path = config.settings.get("pattern")
    return None if path is None else load_pattern(path)


def pattern_identity(pattern: Pattern | None) -> dict[str, str]:
    """What a run's identity has of a pattern: what it is, wherever it lies."""
    return {} if pattern is None else {"pattern's checksum": pattern.sha256}


def _given(config: AttackConfig) -> dict[str, Any]:
    """The options that are not at their default, for who repeats the run; of places only that they were given."""
    places = {name: name.upper() for name in ("victim", "root", "input") if getattr(config, name) is not None}
    if config.settings.get("pattern") is not None:
        places["pattern"] = "PATTERN"
    return {"attack": config.attack} | places | config.stored(without=PLACES, defaults=False)


def _check_inputs(config: AttackConfig, kind: Kind) -> None:
    """Raise a SpikeflipError if the attack is not defined on such inputs, or has no such goal."""
    info, goal = EVERY_ATTACK[config.attack], "untargeted" if config.target == "none" else "targeted"
    for asked, can in ((kind, info.inputs), (goal, info.goals)):
        if asked not in can:
            able = [name for name, other in EVERY_ATTACK.items() if kind in other.inputs and goal in other.goals]
            what = f"attacks {' and '.join(can)}, not {asked}" if asked == kind else f"is {' or '.join(can)} only"
            raise SpikeflipError(f"--attack {config.attack} {what}: choose from {', '.join(able)}")
