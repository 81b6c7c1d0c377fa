"""Time an attack's iteration against time steps, micro-batch, width, input density and threads.

    python benchmarks/growth.py --root DIR [--width 0.25] [--victim FOLDER ...] [--axes time_steps density ...] [--json]

From one setting, each axis is varied alone. Victims are trained ones, of half, the same and twice the width (see
victims.py; or those of --victim, the first of which is varied), because gradients of untrained networks are many times
denser. Their inputs are test recordings: repeated or cut for other time steps, thinned or with random events added for
other densities, which deeper layers follow. Only the output layer is replaced, by one that nothing fools, so that all
samples of all settings do all of their iterations. The dense limit of the same setting stands beside each engine. All
are measured in turn; an iteration is half the difference between attacks of three updates and of one. See README.md.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from attack_iteration import attack_seconds
from measuring import Dense, engines, in_turn, machine, milliseconds, never_fooled, ratio
from rows import parser_of, print_rows
from spikeflip import SpikingNetwork, load_checkpoint
from spikeflip.snn.checkpoint import Checkpoint
from victims import first_inputs, trained

TIME_STEPS, MICRO_BATCHES, DENSITIES = (5, 15, 30, 60), (1, 4, 16, 32), (0.01, 0.1, 0.3)
AXES = ("time_steps", "micro_batch", "width", "density", "threads")


@dataclass(frozen=True)
class Setting:
    time_steps: int
    micro_batch: int
    width: float
    density: float
    """Of the input; what the recordings have if not varied."""
    threads: int


def settings(base: Setting, widths: list[float], axes: list[str]) -> Iterator[tuple[str, Setting]]:
    values = {
        "time_steps": TIME_STEPS,
        "micro_batch": MICRO_BATCHES,
        "width": sorted(widths),
        "density": sorted({*DENSITIES, base.density}),
        "threads": sorted({1, base.threads}),
    }
    for axis in axes:
        for value in values[axis]:
            yield axis, replace(base, **{axis: value})


def with_time_steps(spikes: Tensor, time_steps: int) -> Tensor:
    repeats = -(-time_steps // spikes.shape[1])
    return spikes.repeat(1, repeats, *[1] * (spikes.ndim - 2))[:, :time_steps]


def with_density(spikes: Tensor, density: float) -> Tensor:
    """Drop events at random, or add some, until so large a share of all cells has one."""
    now = float(spikes.mean())
    numbers = torch.rand(spikes.shape, generator=torch.Generator().manual_seed(0))
    if density < now:
        return spikes * (numbers < density / now)
    return torch.maximum(spikes, (numbers < (density - now) / (1 - now)).float())


def prepared(setting: Setting, checkpoint: Checkpoint, recordings: Tensor) -> tuple[SpikingNetwork, Tensor]:
    """A victim that nothing fools, and as many inputs that it does not stay silent at."""
    network = SpikingNetwork(
        checkpoint.network.architecture,
        checkpoint.network.input_shape,
        time_steps=setting.time_steps,
        neuron=checkpoint.network.neuron,
    )
    network.load_state_dict(checkpoint.network.state_dict())
    never_fooled(network)
    candidates = with_density(with_time_steps(recordings, setting.time_steps), setting.density)
    values = candidates[network.scores(candidates)[:, 0] > 0][: setting.micro_batch]
    if len(values) < setting.micro_batch:
        sys.exit(f"the victim stays silent at all but {len(values)} of {len(recordings)} recordings in {setting}")
    return network, values


def measure(axis: str, setting: Setting, network: SpikingNetwork, values: Tensor, repeats: int):
    """One row an engine."""
    torch.set_num_threads(setting.threads)
    dense = Dense(network, setting.micro_batch)

    def a_sample(engine: SpikingNetwork) -> float:
        # The difference of two attacks is two iterations; what a call costs once drops out.
        seconds = [attack_seconds(engine, values, steps) for steps in (3, 1)]
        return (seconds[0] - seconds[1]) / 2 / len(values)

    ours = engines(network)
    for engine in ours.values():
        attack_seconds(engine, values, 1)
    dense.seconds()
    sides = {name: (lambda engine=engine: a_sample(engine)) for name, engine in ours.items()}
    times = in_turn({**sides, "dense": dense.seconds_a_sample}, repeats)
    return [
        {
            "axis": axis,
            **asdict(setting),
            "architecture": network.architecture,
            "engine": name,
            **milliseconds("ms_per_sample_iteration", times[name]),
            **milliseconds("dense_ms", times["dense"]),
            **ratio("ratio_to_dense", times[name], times["dense"]),
            "repeats": repeats,
            **machine(),
        }
        for name in ours
    ]


def victims(options: argparse.Namespace) -> Mapping[float, Checkpoint]:
    """By width; the first is the one to vary."""
    if options.victim:
        found = [load_checkpoint(folder) for folder in options.victim]
        return {checkpoint.facts["config"]["width"]: checkpoint for checkpoint in found}
    widths = [options.width, options.width / 2, options.width * 2] if "width" in options.axes else [options.width]
    return {width: trained("nmnist", width, options.root, quick=True) for width in widths}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds the data set")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--victim", nargs="+", type=Path, help="folders that 'spikeflip train' wrote, for event data")
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=AXES)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found = victims(options)
    width, checkpoint = next(iter(found.items()))
    recordings = first_inputs(checkpoint, options.root, "test", 3 * max(MICRO_BATCHES))[0].float()
    density = round(float(recordings.mean()), 4)
    base = Setting(checkpoint.network.time_steps, 16, width, density, torch.get_num_threads())
    rows = []
    for axis, setting in settings(base, list(found), options.axes):
        rows += measure(axis, setting, *prepared(setting, found[setting.width], recordings), options.repeats)
    print_rows(rows, options.json, sentence)


def sentence(row: Mapping[str, object]) -> str:
    figures = "{ms_per_sample_iteration} ms a sample-iteration, {ratio_to_dense} x dense".format(**row)
    return f"{row['axis']} = {row[row['axis']]:g}, {row['engine']}: {figures}"


if __name__ == "__main__":
    main()
