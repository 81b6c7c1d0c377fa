"""Time the scores of recordings with one cell flipped against whole forward passes.

    python benchmarks/rescoring.py [--networks paper-spike] [--width 0.25 1] [--samples 4] [--candidates 64]
                                   [--repeats 5] [--json] [--victim FOLDER --root DIR]

A candidate is one flip of a random cell; ``--candidates`` of them a sample are scored in one call. A whole pass is the
time of ``scores`` of the same samples, a sample, on each engine. ``first_ms_per_sample`` is what comes before: every
layer is run once and held. Without a victim the weights are untrained and scaled until every layer fires at a rate of
trained victims, and inputs are simulated recordings of digits; with one they are its own test inputs that it classifies
correctly. ``score_changes`` says for what share of the candidates any score is another one. See benchmarks/README.md.
"""

from pathlib import Path

import torch
from torch import Tensor

from measuring import engines, fire_at_rate, in_turn, machine, milliseconds, now, ratio
from rows import parser_of, print_rows
from spikeflip import SpikingNetwork, load_checkpoint
from spikeflip.data.images import load_images
from spikeflip.data.simulate import simulate_saccades
from spikeflip.snn.presets import PRESETS
from spikeflip.snn.rescoring import rescoring
from victims import subject

FIRING_RATE = 0.04  # of hidden layers of victims trained on N-MNIST


def untrained(name: str, width: float, samples: int) -> tuple[SpikingNetwork, Tensor]:
    preset = PRESETS[name]
    network = SpikingNetwork(
        preset.architecture, preset.input_shape, time_steps=preset.time_steps, neuron=preset.neuron, width=width
    )
    images = load_images("digits").images[:samples]
    values = simulate_saccades(images, steps=preset.time_steps, size=preset.input_shape[1])
    fire_at_rate(network, values, FIRING_RATE)
    return network, values


def firing_rates(network: SpikingNetwork, values: Tensor) -> list[float]:
    """Of every layer."""
    engine = network.on("torch").engine
    return [round(float(engine.forward(values, last=i + 1)[0].mean()), 4) for i in range(engine.depth)]


def measure(about: dict[str, object], network: SpikingNetwork, values: Tensor, candidates: int, repeats: int):
    """One row."""
    ours = engines(network)
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(len(values)).repeat_interleave(candidates)
    cells = torch.randint(values[0].numel(), (len(rows), 1), generator=generator)
    fast = ours.get("event", network)

    def seconds(call, count: int) -> float:
        started = now(network.device)
        call()
        return (now(network.device) - started) / count

    everyone, nothing = torch.arange(len(values)), rows.new_empty((len(values), 0))
    held = rescoring(fast, values, 16)
    unchanged = held.scores(everyone, nothing)

    def first() -> float:
        return seconds(lambda: rescoring(fast, values, 16).scores(everyone, nothing), len(values))

    def whole(victim: SpikingNetwork) -> float:
        return seconds(lambda: victim.scores(values), len(values))

    sides = {
        "candidate": lambda: seconds(lambda: held.scores(rows, cells), len(rows)),
        **{name: (lambda victim=victim: whole(victim)) for name, victim in ours.items()},
        "first": first,
    }
    found = held.scores(rows, cells)
    for side in sides.values():
        side()
    times = in_turn(sides, repeats)
    row = {
        **about,
        "architecture": network.architecture,
        "samples": len(values),
        "candidates": candidates,
        "input_density": round(float(values.mean()), 4),
        "firing_rates": firing_rates(network, values),
        "score_changes": round(float((found != unchanged[rows]).any(1).float().mean()), 4),
    }
    for name in ours:
        row |= ratio(f"speedup_vs_{name}", times[name], times["candidate"])
    row |= milliseconds("candidate_ms", times["candidate"]) | milliseconds("first_ms_per_sample", times["first"])
    for name in ours:
        row |= milliseconds(f"{name}_ms_per_sample", times[name])
    return row | {"repeats": repeats, **machine()}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--networks", nargs="+", default=["paper-spike"], choices=sorted(PRESETS))
    parser.add_argument("--width", type=float, nargs="+", default=[0.25, 1.0])
    parser.add_argument("--victim", type=Path, nargs="+", help="folders that 'spikeflip train' wrote, instead of both")
    parser.add_argument("--root", type=Path, help="folder that holds the victims' data set")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--candidates", type=int, default=64, help="flips a sample")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    how = options.candidates, options.repeats
    rows = []
    for folder in options.victim or ():
        victim = subject(load_checkpoint(folder), options.root, options.samples)
        rows.append(measure(victim.facts(), victim.network, victim.values, *how))
    for name in options.networks if options.victim is None else ():
        for width in options.width:
            about = {"network": name, "width": width, "data": "simulated digits, weights untrained"}
            rows.append(measure(about, *untrained(name, width, options.samples), *how))
    sentence = (
        "{network}, width {width}: a flip takes {candidate_ms} ms, a pass by events {speedup_vs_event} x, "
        "by torch {speedup_vs_torch} x as long"
    )
    print_rows(rows, options.json, lambda row: sentence.format(**{"speedup_vs_event": None} | row))


if __name__ == "__main__":
    main()
