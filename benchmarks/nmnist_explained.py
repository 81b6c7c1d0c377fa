"""Why targeted attacks on N-MNIST at the own threshold fail here more often than in the paper: data or training?

    python benchmarks/nmnist_explained.py ROOT results/nmnist-explained.json --work WORK [--victims NAME ...]
    python benchmarks/nmnist_explained.py --page results/nmnist-explained.json docs/nmnist-explained.md

The paper's victim saw 60,000 recordings; 1,000 are at hand. So victims are trained on *simulated* recordings of more
and more MNIST digits with the same number of updates, and on the real ones in several ways. Adds a row a victim to the
file: success, first gradients that are zero by cause, and the potentials of the output layer. Trained victims lie in
WORK and are found again; an interrupted training goes on. ``--page`` writes the table between the marks of a document
and draws the figure beside it. See benchmarks/README.md.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from attack_rows import rows_of, write
from few_flips_page import Row, put
from rows import parser_of
from spikeflip import SCG, SpikingNetwork, load_checkpoint, load_images, simulate_saccades
from spikeflip.attacks import AttackResult, Vanishing
from spikeflip.intervals import wilson
from spikeflip.report.pictures import styled
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.inputs import binning_of, load_inputs
from spikeflip.snn.checkpoint import DESCRIPTION, save_checkpoint
from spikeflip.snn.coding import winner
from spikeflip.snn.presets import PRESETS
from spikeflip.snn.training import Labelled, TrainingProgress, train
from spikeflip.snn.training_settings import Training

WIDTH = 0.25
SAMPLES, TARGETS = 100, (1, 4, 7)
"""Inputs that are attacked, each towards its label plus each of these."""
SIMULATED_TESTS = 1000
MARGIN, BINS, OF_ALL = 3, 15, 45
"""Digits stand in a sensor of 34 x 34 as N-MNIST's do; 15 bins of 5 ms are the first of its three saccades."""
AMPLITUDE, CONTRAST = 7.0, 0.55
"""N-MNIST's way, and the contrast at which the same share of the cells is filled as by its recordings, 3.3 %."""


@dataclass(frozen=True)
class Made:
    """How a victim is made: recordings it learns from, real or simulated, and what differs in its training."""

    recordings: int
    simulated: bool
    training: Training


_LONG = Training(updates=1000, batch_size=40, shift=2, dropout=0.15, widest_dropout=0.15)
_SIZES = (1000, 5000, 20_000, 60_000)
VICTIMS = {
    **{f"simulated {n:,}": Made(n, True, _LONG) for n in _SIZES},
    "real 1,000": Made(1000, False, _LONG),
    "real 1,000, 200 updates": Made(1000, False, replace(_LONG, updates=200)),
    "real 1,000, 3,000 updates": Made(1000, False, replace(_LONG, updates=3000)),
    "real 1,000, no dropout": Made(1000, False, replace(_LONG, dropout=0.0, widest_dropout=0.0)),
    "real 1,000, ce": Made(1000, False, replace(_LONG, loss="ce", mse_first=0.6)),
    "real 1,000, seed 1": Made(1000, False, replace(_LONG, seed=1)),
    "simulated 60,000, seed 1": Made(60_000, True, replace(_LONG, seed=1)),
    "simulated 1,000, seed 1": Made(1000, True, replace(_LONG, seed=1)),
}


@cache
def simulated(root: Path, split: str, n: int) -> Labelled:
    """The first n digits of a split as simulated recordings, a byte a cell."""
    found = load_images("mnist", split, root=root)
    values = torch.empty((min(n, len(found.images)), BINS, 2, 34, 34), dtype=torch.uint8)
    for rows in torch.arange(len(values)).split(256):
        images = F.pad(found.images[rows], (MARGIN,) * 4)
        values[rows] = simulate_saccades(images, steps=OF_ALL, amplitude=AMPLITUDE, contrast=CONTRAST)[:, :BINS].byte()
    return values, found.labels[:n]


@cache
def recorded(root: Path, split: str) -> Labelled:
    """The recordings of a split, in the paper's bins."""
    config = TrainConfig(data="nmnist", root=root)
    found = load_inputs(config, split, time_steps=BINS, binning=binning_of(config))
    return found.values, found.labels


def victim_of(name: str, root: Path, work: Path) -> SpikingNetwork:
    """The victim of that name; it is trained if it is not there."""
    made, folder = VICTIMS[name], work / name.replace(" ", "-").replace(",", "")
    if not (folder / DESCRIPTION).exists():
        data = simulated(root, "train", made.recordings) if made.simulated else recorded(root, "train")
        preset = PRESETS["paper-spike"]
        network = SpikingNetwork(
            preset.architecture,
            (2, 34, 34),
            time_steps=BINS,
            neuron=preset.neuron,
            width=WIDTH,
            seed=made.training.seed,
        )
        network = network.on(network.best_engine())
        folder.mkdir(parents=True, exist_ok=True)
        nothing = data[0][:0], data[1][:0]
        state = folder / "training.safetensors"
        history = train(network, data, nothing, made.training, progress=_say(name), state=state, fingerprint=name)
        save_checkpoint(network, folder, {"loss_at_end": history.loss[-1]})
        state.unlink(missing_ok=True)
    return load_checkpoint(folder).network


def _say(name: str) -> Any:
    def progress(now: TrainingProgress) -> None:
        if now.update % 50 == 0:
            print(f"{name}: update {now.update} of {now.updates}, loss {now.loss:.4f}", file=sys.stderr, flush=True)

    return progress


def accuracy(network: SpikingNetwork, values: Tensor, labels: Tensor) -> float:
    """The share of inputs whose class alone scores the most."""
    found = [winner(network.scores(part.float())) for part in values.split(64)]
    return float((torch.cat(found) == labels).double().mean())


def output_layer(network: SpikingNetwork, values: Tensor, labels: Tensor) -> dict[str, float]:
    """Where the potentials of the output neurons are on clean inputs, in units of the threshold, and how they fire.

    ``in_window`` is the share of neurons and steps inside the surrogate window, ``any_in_window`` that of inputs of
    which one is; ``own_distance`` and ``others_distance`` are medians of the smallest |potential - threshold| of a
    neuron over time.
    """
    potentials = torch.cat([network.engine.forward(part.float())[1][-1].clone() for part in values.split(32)])
    scores = torch.cat([network.scores(part.float()) for part in values.split(32)])
    away = (potentials - network.neuron.threshold).abs()
    inside = away < network.neuron.surrogate.width / 2
    own = F.one_hot(labels, network.classes).bool()
    nearest = away.amin(1) / network.neuron.threshold
    return {
        "in_window": float(inside.double().mean()),
        "any_in_window": float(inside.flatten(1).any(1).double().mean()),
        "own_distance": float(nearest[own].median()),
        "others_distance": float(nearest[~own].median()),
        "own_rate": float(scores[own].mean()),
        "others_rate": float(scores[~own].mean()),
    }


def share(won: Tensor) -> dict[str, object]:
    """A rate with its interval."""
    rate, n = float(won.double().mean()), len(won)
    return {"rate": round(rate, 4), "n": n, "interval": [round(end, 4) for end in wilson(rate, n)]}


def attacked(network: SpikingNetwork, values: Tensor, labels: Tensor, threshold: float | None) -> AttackResult:
    """Towards all targets."""
    targets = torch.cat([(labels + step) % network.classes for step in TARGETS])
    times = len(TARGETS)
    return SCG(threshold=threshold)(network, values.repeat(times, 1, 1, 1, 1), labels.repeat(times), targets, seed=0)


def row_of(name: str, root: Path, work: Path) -> dict[str, Any]:
    """What is measured of a victim."""
    made, started = VICTIMS[name], time.monotonic()
    network = victim_of(name, root, work)
    network = network.on(network.best_engine())
    tests = simulated(root, "test", SIMULATED_TESTS) if made.simulated else recorded(root, "test")
    values, labels = tests[0][:SAMPLES].float(), tests[1][:SAMPLES]
    right = winner(network.scores(values)) == labels
    values, labels = values[right], labels[right]
    own, raised = (attacked(network, values, labels, threshold) for threshold in (None, 0.7))
    causes = {cause.name.lower(): int((own.first_vanishing == cause).sum()) for cause in Vanishing}
    failed = ~own.success
    facts = load_checkpoint(work / name.replace(" ", "-").replace(",", "")).facts
    return {
        "victim": name,
        "attack": "scg",
        "goal": "targeted",
        "seed": made.training.seed,
        "recordings": made.recordings,
        "simulated": made.simulated,
        "training": asdict(made.training),
        **facts,
        "filled": float(tests[0].double().mean()),
        "accuracy": accuracy(network, *tests),
        "accuracy_n": len(tests[1]),
        "accuracy_of_real": accuracy(network, *recorded(root, "test")),
        "own_threshold": share(own.success),
        "raised_threshold": share(raised.success),
        "first_gradients": causes,
        "failed_with_vanished": int((failed & (own.vanished > 0)).sum()),
        "failed": int(failed.sum()),
        **{key: round(value, 4) for key, value in output_layer(network, values, labels).items()},
        "seconds": round(time.monotonic() - started, 1),
    }


def table(rows: Sequence[Row]) -> Iterator[str]:
    """A line a victim."""
    yield "| victim | accuracy | of real ones | own threshold | 0.7 | first zero | failed so | own class | others |"
    yield "|" + "---|" * 9
    for row in rows:
        rates = " | ".join(
            f"{100 * row[key]['rate']:.1f} ({100 * row[key]['interval'][0]:.0f} to {100 * row[key]['interval'][1]:.0f})"
            for key in ("own_threshold", "raised_threshold")
        )
        n = row["own_threshold"]["n"]
        gone = n - row["first_gradients"]["none"]
        yield (
            f"| {row['victim']} | {100 * row['accuracy']:.1f} | {100 * row['accuracy_of_real']:.0f} | {rates} | "
            f"{100 * gone / n:.0f} | {row['failed_with_vanished']} of {row['failed']} | {row['own_distance']:.2f} | "
            f"{row['others_distance']:.2f} |"
        )


@styled
def figure(rows: Sequence[Row]) -> Figure:
    """Success, first gradients that are zero, and the distance of output potentials, a line a victim."""
    drawn = Figure(figsize=(7.2, 0.7 + 0.26 * len(rows)), layout="constrained")
    places = list(range(len(rows)))[::-1]
    success, zero, distance = drawn.subplots(1, 3, sharey=True)
    for axes, key, label, colour, mark in (
        (success, "own_threshold", "own threshold", "#1f5f8b", "o"),
        (success, "raised_threshold", "0.7", "#c2571a", "s"),
    ):
        rates = [100 * row[key]["rate"] for row in rows]
        ends = [
            [abs(100 * row[key]["interval"][end] - rate) for row, rate in zip(rows, rates, strict=True)]
            for end in (0, 1)
        ]
        axes.errorbar(rates, places, xerr=ends, fmt=mark, color=colour, markersize=4, linewidth=1, label=label)
    gone = [100 * (1 - row["first_gradients"]["none"] / row["own_threshold"]["n"]) for row in rows]
    zero.plot(gone, places, "o", color="#1f5f8b", markersize=4)
    distance.plot([row["own_distance"] for row in rows], places, "o", color="#1f5f8b", markersize=4, label="own class")
    distance.plot([row["others_distance"] for row in rows], places, "s", color="#c2571a", markersize=4, label="others")
    success.set_yticks(places, [row["victim"] for row in rows])
    for axes, title in (
        (success, "targeted success, %"),
        (zero, "first gradients zero, %"),
        (distance, "distance, thresholds"),
    ):
        axes.set_title(title, fontsize=9.5)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    success.set_xlim(0, 102)
    zero.set_xlim(0, 102)
    distance.set_xlim(left=0)
    for axes in (success, distance):
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return drawn


def write_page(rows: Sequence[Row], page: Path) -> None:
    """The table and the figure, the victims in the order of :data:`VICTIMS`."""
    order = list(VICTIMS)
    rows = sorted(rows, key=lambda row: order.index(row["victim"]))
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    figure(rows).savefig(folder / "victims.svg", metadata={"Date": None})
    put(page, [f"![victims]({folder.name}/victims.svg)", "", *table(rows), ""])


def main() -> None:
    if sys.argv[1:2] == ["--page"]:
        write_page(rows_of(Path(sys.argv[2])), Path(sys.argv[3]))
        return
    parser = parser_of(__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--victims", nargs="+", default=list(VICTIMS), choices=list(VICTIMS))
    given = parser.parse_args()
    rows = rows_of(given.out)
    for name in given.victims:
        if name not in {row["victim"] for row in rows}:
            rows.append(row_of(name, given.root, given.work))
            write(given.out, rows)
            print(name, rows[-1]["accuracy"], rows[-1]["own_threshold"], rows[-1]["first_gradients"], file=sys.stderr)


if __name__ == "__main__":
    main()
