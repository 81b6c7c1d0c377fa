"""Time one training step against the bare layers' forward pass, input gradient and weight gradient.

    python benchmarks/training_step.py [--networks paper-spike] [--width 0.25] [--batch-size 32] [--repeats 5] [--json]
                                       [--victim FOLDER --root DIR] [--micro-batch 16] [--device cuda]

A step is all that an update does: augmentation, encoding, dropout masks, forward pass, loss, reverse pass, weight
gradients, Adam, and what an engine prepares when weights have changed. It is half the difference between trainings of
three updates and of one. Without a victim the weights are untrained and scaled until every layer fires at a rate of
trained victims, and inputs are random, as sparse as recordings; with one, training goes on with its weights on its
data. The dense side is measured in turn, in the same micro-batches. See benchmarks/README.md.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor

from measuring import Dense, engines, fire_at_rate, in_turn, machine, milliseconds, now, random_spikes, ratio
from rows import parser_of, print_rows, with_device
from spikeflip import SpikingNetwork, load_checkpoint
from spikeflip.snn.presets import PRESETS
from spikeflip.snn.training import Training, train
from victims import first_inputs

# Of N-MNIST at the input, and of hidden layers of victims trained on it.
INPUT_DENSITY, FIRING_RATE = 0.03, 0.04


def untrained(name: str, width: float, samples: int, device: str) -> tuple[SpikingNetwork, Tensor, Tensor]:
    preset = PRESETS[name]
    network = SpikingNetwork(
        preset.architecture, preset.input_shape, time_steps=preset.time_steps, neuron=preset.neuron, width=width
    ).to(device)
    values = random_spikes(samples, network.time_steps, network.input_shape, INPUT_DENSITY)
    fire_at_rate(network, values, FIRING_RATE)
    return network, values, torch.arange(samples) % network.classes


def training_seconds(network: SpikingNetwork, values: Tensor, labels: Tensor, updates: int, micro_batch: int) -> float:
    """Of a training from the weights as they are, on a copy of them."""
    settings = Training(
        updates=updates, batch_size=len(labels), shift=2, dropout=0.15, widest_dropout=0.25, micro_batch=micro_batch
    )
    network = copy.deepcopy(network)
    nothing = values[:0], labels[:0]
    started = now(network.device)
    train(network, (values, labels), nothing, settings)
    return now(network.device) - started


def measure(
    about: dict[str, object], network: SpikingNetwork, values: Tensor, labels: Tensor, micro_batch: int, repeats: int
):
    """One row an engine."""
    dense = Dense(network, min(micro_batch, len(labels)), training=True)

    def a_sample(victim: SpikingNetwork) -> float:
        seconds = [training_seconds(victim, values, labels, updates, micro_batch) for updates in (3, 1)]
        return (seconds[0] - seconds[1]) / 2 / len(labels)

    ours = engines(network)
    for victim in ours.values():
        training_seconds(victim, values, labels, 1, micro_batch)
    dense.seconds()
    sides = {name: (lambda victim=victim: a_sample(victim)) for name, victim in ours.items()}
    times = in_turn({**sides, "dense": dense.seconds_a_sample}, repeats)
    return [
        {
            **about,
            "architecture": network.architecture,
            "batch_size": len(labels),
            "micro_batch": micro_batch,
            "engine": name,
            **ratio("ratio_to_dense", times[name], times["dense"]),
            **ratio("speedup_vs_torch", times["torch"], times[name]),
            **milliseconds("step_ms_per_sample", times[name]),
            **milliseconds("dense_ms", times["dense"]),
            "repeats": repeats,
            **machine(network.device),
        }
        for name in ours
    ]


def main() -> None:
    parser = with_device(parser_of(__doc__))
    parser.add_argument("--networks", nargs="+", default=["paper-spike"], choices=sorted(PRESETS))
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--victim", type=Path, help="a folder that 'spikeflip train' wrote, instead of both")
    parser.add_argument("--root", type=Path, help="folder that holds the victim's data set")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = []
    how = options.micro_batch, options.repeats
    if options.victim:
        checkpoint = load_checkpoint(options.victim)
        values, labels = first_inputs(checkpoint, options.root, "train", options.batch_size)
        about = {"network": "trained", "data": checkpoint.facts["config"]["data"]}
        rows += measure(about, checkpoint.network.to(options.device), values, labels, *how)
    else:
        for name in options.networks:
            about = {"network": name, "width": options.width, "data": "random"}
            rows += measure(about, *untrained(name, options.width, options.batch_size, options.device), *how)
    sentence = (
        "{network}, {engine}: a step takes {step_ms_per_sample} ms a sample, {ratio_to_dense} x dense, "
        "{speedup_vs_torch} x as fast as torch"
    )
    print_rows(rows, options.json, lambda row: sentence.format(**row))


if __name__ == "__main__":
    main()
