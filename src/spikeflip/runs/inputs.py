"""The inputs of a run: rate-coded images, simulated recordings, or event recordings in bins."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeflip.data import (
    EVENT_SETS,
    IMAGE_SETS,
    Binning,
    EventSet,
    bin_events,
    folder_of_recordings,
    load_event_set,
    load_images,
    simulate_saccades,
)
from spikeflip.data.binning import check_frames
from spikeflip.data.event_layouts import SPLIT_WORDS
from spikeflip.errors import SpikeflipError, choose_from
from spikeflip.notices import Notice
from spikeflip.runs.config import AttackConfig, DataConfig, TrainConfig, sides
from spikeflip.runs.data_checks import (
    Seen,
    check_images,
    check_labelled_parts,
    check_labels,
    check_recordings,
    class_counts,
)
from spikeflip.runs.recordings import Recordings
from spikeflip.runs.victim import LoadedVictim, load_victim
from spikeflip.snn.checkpoint import check_cells
from spikeflip.snn.network import ReluNetwork, SpikingNetwork
from spikeflip.snn.presets import TABLE_VI

# Small images are enlarged before they are moved, so that a saccade crosses more than a few pixels.
_SMALLEST_SIMULATED = 16
_PAPER = {"nmnist": "N-MNIST", "dvsgesture": "Gesture-DVS", "cifar10dvs": "CIFAR10-DVS"}
_TIME_STEPS, _TIME_BIN = 15, 5.0


@dataclass(frozen=True)
class Inputs:
    """Images or frames of recordings with their classes, and where they came from.

    ``read`` gives the inputs at positions ``(n,)``. ``labels`` are -1 where nobody says them. ``recordings`` and
    ``binning`` are None for images and simulated events.
    """

    read: Callable[[Tensor], Tensor]
    labels: Tensor
    classes: tuple[str, ...]
    facts: dict[str, object]
    recordings: Recordings | None = None
    binning: Binning | None = None
    notices: tuple[Notice, ...] = ()
    """What was found wrong or remarkable when the data were loaded."""

    @cached_property
    def first(self) -> Tensor:
        """The first input, ``(1, ...)``; none where there is none."""
        return self.read(torch.arange(len(self.labels))[:1])

    @cached_property
    def values(self) -> Tensor:
        """All inputs at once, ``(N, ...)``."""
        return self.read(torch.arange(len(self.labels)))


def is_recordings(config: DataConfig) -> bool:
    """Whether the configured data are event recordings; a SpikeflipError for data that nobody knows."""
    if config.data in IMAGE_SETS:
        return False
    if config.data not in EVENT_SETS and not Path(config.data).is_dir():
        known = choose_from(config.data, [*IMAGE_SETS, *EVENT_SETS])
        raise SpikeflipError(f"--data {config.data} is neither a data set nor a folder of recordings: {known}")
    if config.simulate_events:
        raise SpikeflipError(f"--simulate-events turns images into events, and {config.data} has events: leave it out")
    return True


def binning_of(config: TrainConfig) -> Binning:
    """How a training bins recordings: as asked, else as Table VI of the paper, else 15 bins of 5 ms."""
    paper = TABLE_VI.get(_PAPER.get(config.data, ""))
    height, width = sides(config.size)
    if paper is not None and height is None:
        _, height, width = paper.input_shape
    time_bin = None
    if config.bins == "time" or config.time_bin is not None:
        time_bin = config.time_bin or (paper.time_bin_ms if paper else None) or _TIME_BIN
    steps = config.time_steps or (paper.time_steps if paper else _TIME_STEPS)
    return Binning(steps, config.bins, time_bin, height, width)


def load_inputs(
    config: DataConfig,
    split: str,
    *,
    time_steps: int,
    binning: Binning | None = None,
    first: int | None = None,
    keep: bool = True,
) -> Inputs:
    """Load a split of the configured data set, its ``first`` so many samples if given.

    Frames of recordings stay in memory, or are made again whenever they are asked for if ``keep`` is false.
    """
    if is_recordings(config):
        if binning is None:
            raise SpikeflipError(f"{config.data} are recordings, and the victim does not say how to bin them: train it")
        return load_recordings(_event_set(config, split), binning, first=first, keep=keep)
    pictures = load_images(config.data, split, root=config.root, download=config.download)
    images, labels, classes = pictures.images[:first], pictures.labels[:first], pictures.classes
    what = f"{SPLIT_WORDS[split]} images"
    notices = (*check_images(images, what), *check_labels(labels, classes, what))
    facts: dict[str, object] = {
        "name": f"simulated saccades over {pictures.name}" if config.simulate_events else pictures.name,
        "split": split,
        "simulated": config.simulate_events,
        "source": pictures.source,
        "sha256": pictures.sha256,
        "size": len(pictures),
        "class_counts": class_counts(labels, classes),
    }
    if config.simulate_events:
        size = max(_SMALLEST_SIMULATED, images.shape[-1])

        def simulate(rows: Tensor) -> Tensor:
            # A byte a cell: a training set of recordings as floats would not fit in memory.
            parts = [simulate_saccades(images[part], steps=time_steps, size=size) for part in rows.split(512)]
            return torch.cat([part.to(torch.uint8) for part in parts])

        return Inputs(simulate, labels, classes, facts, notices=notices)
    return Inputs(images.__getitem__, labels, classes, facts, notices=notices)


def load_recordings(found: EventSet, binning: Binning, *, first: int | None = None, keep: bool = True) -> Inputs:
    """Read and bin recordings, a byte a cell; see :func:`load_inputs`."""
    n = len(found) if first is None else min(first, len(found))
    if binning.height is None or binning.width is None:
        binning = replace(binning, height=found.height, width=found.width)
    shape = (binning.steps, 2, binning.height or 0, binning.width or 0)
    check_frames(binning.steps, *shape[2:])
    values = torch.empty((n if keep else 0, *shape), dtype=torch.uint8)
    seen, recordings = [], Recordings(found)
    for index in range(n):
        binned = bin_events(recordings.read(index), binning)
        if keep:
            values[index] = binned.frames
        seen.append(Seen.of(found.clips[index].name, binned))
    check_labelled_parts(found.clips, seen)
    labels, frames = found.labels[:n], describe_binning(binning)
    what = f"{SPLIT_WORDS[found.split]} recordings" if found.split in SPLIT_WORDS else "recordings"
    notices = check_recordings(seen, found.notices, what, frames) + check_labels(labels, found.classes, what)
    facts: dict[str, object] = {
        "name": found.name,
        "split": found.split,
        "simulated": False,
        "source": found.source,
        "sha256": found.sha256,
        "size": len(found),
        "frames": frames,
        "events": sum(one.events for one in seen),
        "events_outside": sum(one.outside for one in seen),
        "empty": sum(one.outside == one.events for one in seen),
        "class_counts": class_counts(labels, found.classes),
        "notes": list(found.notes),
    }

    def read(rows: Tensor) -> Tensor:
        if keep:
            return values[rows]
        made = torch.empty((len(rows), *shape), dtype=torch.uint8)
        for index in rows.unique().tolist():
            made[rows == index] = bin_events(recordings.read(index), binning).frames
        return made

    return Inputs(read, labels, found.classes, facts, recordings, binning, notices)


def _event_set(config: DataConfig, split: str) -> EventSet:
    height, width = sides(config.sensor)
    return load_event_set(
        config.data,
        split,
        root=config.root,
        download=config.download,
        height=height,
        width=width,
        columns=config.columns,
        time_unit=config.time_unit,
    )


def load_given(config: AttackConfig, loaded: LoadedVictim) -> Inputs:
    """The recordings of ``--input``, with ``--label`` or their sub-folders' names as labels, -1 where neither says."""
    return load_recordings(_given(config, loaded), binning_for(loaded), first=config.samples, keep=False)


def _given(config: AttackConfig, loaded: LoadedVictim) -> EventSet:
    if config.input is None:
        raise SpikeflipError("--input is not given: name a recording or a folder of recordings")
    classes = tuple(loaded.facts.get("classes") or map(str, range(loaded.victim.classes)))
    height, width = sides(config.sensor)
    return folder_of_recordings(
        config.input,
        classes,
        label=None if config.label is None else class_at(config.label, classes, "--label"),
        height=height,
        width=width,
        unsaid=stored_sensor(loaded),
        columns=config.columns,
        time_unit=config.time_unit,
    )


def class_at(wanted: int | str, classes: Sequence[str], option: str) -> int:
    """The position of a class that a user names, or numbers from 0; a name counts before a number.

    >>> class_at("Left_hand wave", ("hand clapping", "left hand wave"), "--label"), class_at(1, ("5", "7"), "--label")
    (1, 1)

    Raises:
        SpikeflipError: there is no such class.
    """
    said = str(wanted)
    is_number = said.lstrip("-").isdigit()  # whose sign is no hyphen
    for same in (str,) if is_number else (str, _plain):
        found = [at for at, name in enumerate(classes) if same(name) == same(said)]
        if len(found) == 1:
            return found[0]
    if said.isascii() and said.isdigit() and (number := int(said[:99])) < len(classes):
        return number
    what = "out of range" if is_number else "no class"
    known = ", ".join(f"{at} ({name[:40]})" for at, name in enumerate(classes[:20])) + (
        ", …" if len(classes) > 20 else ""
    )
    raise SpikeflipError(f"{option} {said[:80]} is {what}: the classes are {known}; give a name or a number")


def _plain(name: str) -> str:
    """A name as another writes it."""
    return name.casefold().replace("_", " ").replace("-", " ").strip()


def data_checksum(config: AttackConfig) -> str:
    """The checksum of what is attacked, without reading it as inputs."""
    if config.input is not None:
        return _given(config, load_victim(config)).sha256
    if is_recordings(config):
        return _event_set(config, config.split).sha256
    return load_images(config.data, config.split, root=config.root, download=config.download).sha256


def labelled_by_name(data: Inputs, loaded: LoadedVictim) -> Inputs:
    """The data with labels that are positions in the victim's classes, where it names them.

    Raises:
        SpikeflipError: the data have a class that the victim does not have.
    """
    classes = loaded.facts.get("classes")
    if not classes:
        return _labelled_by_number(data, loaded)
    unknown = [name for name in data.classes if name not in classes]
    if unknown:
        raise SpikeflipError(
            f"{data.facts['name']} has a class {unknown[0]!r}, and the victim has {', '.join(classes)[:200]}: name the "
            "sub-folders as the victim names its classes, or give --input to attack recordings of no class"
        )
    positions = torch.tensor([classes.index(name) for name in data.classes])
    return replace(data, labels=positions[data.labels], classes=tuple(classes))


def _labelled_by_number(data: Inputs, loaded: LoadedVictim) -> Inputs:
    """The data for a victim that names no classes: by their numbers, else in the order of their names.

    Raises:
        SpikeflipError: the names are no numbers of its classes, and not as many as it has.
    """
    numbers = tuple(map(str, range(loaded.victim.classes)))
    if set(data.classes) <= set(numbers):
        positions = torch.tensor([int(name) for name in data.classes])
        return replace(data, labels=positions[data.labels], classes=numbers)
    if len(data.classes) != len(numbers):
        raise SpikeflipError(
            f"{data.facts['name']} has the classes {', '.join(data.classes)[:200]}, and the victim has {len(numbers)} "
            "without names: name the sub-folders by their numbers, from 0"
        )
    said = Notice(
        "classes-by-order",
        f"the victim does not name its classes: they are taken in the order of the folders' names, {data.classes[0]} "
        f"being 0; name the folders by numbers from 0 where that is wrong",
    )
    return replace(data, notices=(*data.notices, said))


def binning_for(loaded: LoadedVictim) -> Binning:
    """How recordings become what a victim sees: as its training says, else as its user does."""
    config = loaded.config
    stored = loaded.facts.get("binning")
    if stored is not None:
        for name in ("bins", "time_bin"):
            if (value := getattr(config, name)) is not None:
                option = "--" + name.replace("_", "-")
                raise SpikeflipError(f"{option} {value} is given, and the victim says how it was trained: leave it out")
    elif len(shape := loaded.victim.input_shape) != 3 or shape[0] != 2:
        raise SpikeflipError(f"the victim takes inputs {shape}, and recordings become (2, H, W): give it images")
    elif config.bins is None and config.time_bin is None:
        raise SpikeflipError(
            "the victim does not say how recordings become its frames: give --time-bin, the ms of each, or --bins "
            "duration or events, as it was trained"
        )
    else:
        stored = {"steps": loaded.victim.time_steps, "rule": config.bins or "time", "time_bin": config.time_bin}
        stored |= dict(zip(("height", "width"), loaded.victim.input_shape[1:], strict=False))
    return _checked(stored, loaded)


def _checked(stored: object, loaded: LoadedVictim) -> Binning:
    try:
        if not isinstance(stored, dict):
            raise TypeError("it is no table")
        binning = Binning(**stored)
    except (TypeError, SpikeflipError) as error:
        if loaded.facts.get("binning") is None:
            raise SpikeflipError(f"--bins and --time-bin do not go together: {error!s:.200}") from error
        raise SpikeflipError(f"the victim's binning is damaged ({error!s:.200}): train or save it anew") from error
    if binning.counted:
        raise SpikeflipError("the victim's frames count events, and only frames of 0 and 1 are read: train it anew")
    if isinstance(loaded.plain, SpikingNetwork | ReluNetwork):
        network = loaded.plain
        try:
            check_cells(sum(weight.numel() for weight in network.weights), network.shapes, binning.steps)
        except ValueError as error:
            raise SpikeflipError(f"the victim's binning is damaged ({error}): train or save it anew") from error
    return binning


def stored_sensor(loaded: LoadedVictim) -> tuple[int, int] | None:
    """Height and width of the sensor of the victim's training data."""
    stored = loaded.facts.get("sensor")
    if isinstance(stored, Sequence) and len(stored) == 2:
        return int(stored[0]), int(stored[1])
    return None


def describe_binning(binning: Binning) -> str:
    """``15 bins of 5 ms, 34 × 34 cells, binary``."""
    rule = {"time": f"of {binning.time_bin:g} ms" if binning.time_bin else "", "duration": "over the duration"}
    how = rule.get(binning.rule, "of equally many events")
    return f"{binning.steps} bins {how}, {binning.width} × {binning.height} cells, binary"


def binning_facts(inputs: Inputs) -> dict[str, Any]:
    """What a checkpoint keeps of how its recordings were read."""
    if inputs.recordings is None or inputs.binning is None:
        return {}
    return {
        "binning": asdict(inputs.binning),
        "sensor": [inputs.recordings.found.height, inputs.recordings.found.width],
    }
