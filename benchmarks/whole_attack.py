"""Time whole untargeted attacks on trained victims, against the dense limit and against other people's loops.

    python benchmarks/whole_attack.py --root DIR [--data nmnist mnist] [--width 0.25] [--victim FOLDER ...]
                                      [--samples 48] [--micro-batch 16] [--peers plain spikingjelly snntorch]
                                      [--device cuda] [--quick] [--json]
    python benchmarks/whole_attack.py --minute

An attack is SCG with 25 steps on the first test inputs that the victim classifies correctly, at the untouched and at a
tuned penultimate threshold. A victim is found in benchmarks/.victims, or trained into it. Sides take turns:

* the attack on each engine; its ``ratio_to_dense`` is its time over (its sample-iterations x the dense limit of one
  sample), where a sample-iteration is one pass through the network; the last pass of a sample judges and sends nothing
  back, so ``ratio_to_dense_by_updates`` counts the passes that did;
* the dense limit: the bare weight layers, forward and input gradient, in batches of the attack's micro-batch;
* the same attack on the same weights through peers.py: a loop that a user would write, SpikingJelly, snnTorch. Peers
  are slow and get fewer samples; ``speedup_vs_...`` compares times a sample-iteration with ours on those samples.

``--quick`` is done in ten minutes on two cores, training included. ``--minute`` needs no files: on one thread it trains
a small victim of simulated recordings and exits with 1 where an engine is slower than its bound, for CI. See README.md.
"""

import argparse
import statistics
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from measuring import Dense, engines, in_turn, machine, milliseconds, now, ratio
from peers import PEERS
from rows import parser_of, print_rows, with_device
from spikeflip import SCG, AttackResult, SpikeflipError, load_checkpoint
from spikeflip.victims import Victim
from victims import Subject, small, subject, trained

STEPS = 25
TUNED = {"nmnist": 0.7, "mnist": 1.0}
# A full micro-batch for the others, which have batches.
PEER_SAMPLES = {"plain": 4}
# Of --minute: twice the ratios to dense that are normal there, which are well above those of larger recordings. They
# hold for the best of the rounds, on one thread: what else a machine does must not fail a check.
BOUNDS = {"torch": 3.5, "event": 1.6}


@dataclass
class Attack:
    """A side that attacks some samples; every run of it is the same, up to its time."""

    victim: Victim
    settings: SCG
    subject: Subject
    samples: int
    micro_batch: int
    result: AttackResult | None = None

    def __call__(self) -> float:
        values, labels = self.subject.first(self.samples)
        started = now(self.subject.network.device)
        self.result = self.settings(self.victim, values, labels, micro_batch=self.micro_batch)
        return now(self.subject.network.device) - started

    def warm_up(self) -> None:
        values, labels = self.subject.first(min(self.samples, self.micro_batch))
        SCG(steps=1, threshold=self.settings.threshold)(self.victim, values, labels, micro_batch=self.micro_batch)

    @property
    def iterations(self) -> int:
        return int(self.result.forwards.sum())

    @property
    def updates(self) -> int:
        return int(self.result.steps.sum())

    @property
    def success(self) -> int:
        return int(self.result.success.sum())

    def an_iteration(self, seconds: Sequence[float]) -> list[float]:
        return [one / self.iterations for one in seconds]


def peer_attacks(subject: Subject, settings: SCG, names: Sequence[str], micro_batch: int) -> dict[str, Attack]:
    """The peers that are installed here."""
    found = {}
    for name in names:
        try:
            peer = PEERS[name](subject.network, tuned=settings.threshold is not None)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        samples = min(PEER_SAMPLES.get(name, micro_batch), len(subject.labels))
        found[name] = Attack(peer, settings, subject, samples, micro_batch if peer.together else 1)
    return found


def measure(
    subject: Subject, threshold: float | None, names: Sequence[str], micro_batch: int, repeats: int
) -> list[dict[str, object]]:
    """One row an engine."""
    settings = SCG(steps=STEPS, threshold=threshold, loss=subject.loss)
    ours = engines(subject.network)
    peers = peer_attacks(subject, settings, names, micro_batch)
    counts = {len(subject.labels), *(peer.samples for peer in peers.values())}
    attacks = {
        (engine, n): Attack(victim, settings, subject, n, micro_batch)
        for engine, victim in ours.items()
        for n in counts
    }
    attacks |= {(name, peer.samples): peer for name, peer in peers.items()}
    dense = Dense(subject.network, micro_batch)
    dense.seconds()
    for attack in attacks.values():
        attack.warm_up()
    times = in_turn({**attacks, "dense": dense.seconds_a_sample}, repeats)
    about = {"micro_batch": micro_batch, "repeats": repeats, **machine(subject.network.device)}
    return [subject.facts() | row(engine, subject, attacks, peers, times) | about for engine in ours]


def row(
    engine: str,
    subject: Subject,
    attacks: Mapping[tuple[str, int], Attack],
    peers: Mapping[str, Attack],
    times: Mapping[Hashable, list[float]],
) -> dict[str, object]:
    key = engine, len(subject.labels)
    whole, limit = attacks[key], times["dense"]
    an_iteration = whole.an_iteration(times[key])
    speedups: dict[str, object] = dict.fromkeys(f"speedup_vs_{name}" for name in PEERS)
    details = {}
    for name, peer in peers.items():
        same = attacks[engine, peer.samples]
        theirs, us = peer.an_iteration(times[name, peer.samples]), same.an_iteration(times[engine, peer.samples])
        speedups |= ratio(f"speedup_vs_{name}", theirs, us)
        details[name] = {
            "samples": peer.samples,
            "success": peer.success,
            "our_success": same.success,
            "sample_iterations": peer.iterations,
            "our_sample_iterations": same.iterations,
            **milliseconds("ms_per_sample_iteration", theirs),
            **milliseconds("our_ms_per_sample_iteration", us),
        }
    return {
        "engine": engine,
        "threshold": whole.settings.threshold,
        "samples": whole.samples,
        "success": whole.success,
        "sample_iterations": whole.iterations,
        "updates": whole.updates,
        **ratio("ratio_to_dense", an_iteration, limit),
        "ratio_to_dense_by_updates": round(statistics.median(times[key]) / whole.updates / statistics.median(limit), 3),
        **speedups,
        **milliseconds("attack_ms_per_sample_iteration", an_iteration),
        **milliseconds("attack_ms", times[key]),
        **milliseconds("dense_ms", limit),
        "peers": details,
    }


def subjects(options: argparse.Namespace) -> list[Subject]:
    if options.minute:
        return [subject(small(), None, options.samples)]
    if options.victim:
        checkpoints = [load_checkpoint(folder) for folder in options.victim]
    else:
        checkpoints = [trained(data, options.width, options.root, quick=options.quick) for data in options.data]
    return [subject(checkpoint, options.root, options.samples, options.device) for checkpoint in checkpoints]


def arguments() -> argparse.Namespace:
    parser = with_device(parser_of(__doc__))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--data", nargs="+", choices=sorted(TUNED), default=["nmnist"])
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--victim", nargs="+", type=Path, help="folders that 'spikeflip train' wrote, instead of both")
    parser.add_argument("--samples", type=int, help="default: 48, or 24 with --quick or --minute")
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), help="default: all, none with --minute")
    parser.add_argument("--repeats", type=int, help="default: 5, or 3 with --quick or --minute")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minute", action="store_true")
    options = parser.parse_args()
    if options.root is None and not options.minute:
        parser.error("give --root DIR, the folder that holds the data sets, or --minute")
    short = options.quick or options.minute
    options.samples = options.samples or (24 if short else 48)
    options.repeats = options.repeats or (3 if short else 5)
    if options.peers is None:
        options.peers = [] if options.minute else list(PEERS)
    return options


def main() -> None:
    options = arguments()
    if options.minute:
        torch.set_num_threads(1)
    try:
        chosen = subjects(options)
    except SpikeflipError as error:
        sys.exit(str(error))
    rows = [
        row
        for one in chosen
        for threshold in (None, TUNED.get(one.data, 0.7))
        for row in measure(one, threshold, options.peers, options.micro_batch, options.repeats)
    ]
    print_rows(rows, options.json, sentence)
    if options.minute and (sentences := too_slow(rows)):
        sys.exit("\n".join(sentences))


def sentence(row: Mapping[str, object]) -> str:
    speedups = ", ".join(f"{name} {row[f'speedup_vs_{name}']}" for name in PEERS)
    figures = (
        "{data}, {network} width {width}, threshold {threshold}, {engine}: {success} of {samples} fooled, "
        "{attack_ms_per_sample_iteration} ms a sample-iteration, {ratio_to_dense} x dense"
    )
    return f"{figures.format(**row)} (speed-up over {speedups})"


def too_slow(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """A sentence for every row that is above its bound."""
    return [
        "{engine} took {ratio_to_dense_range[0]} x dense or more at threshold {threshold}".format(**row)
        + f", {BOUNDS[row['engine']]} x is its bound: something made it slower"
        for row in rows
        if row["ratio_to_dense_range"][0] > BOUNDS[row["engine"]]
    ]


if __name__ == "__main__":
    main()
