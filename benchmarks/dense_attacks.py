"""Attack victims within a ball by every gradient estimator, and say how many images each breaks, and all together.

    python benchmarks/dense_attacks.py VICTIM EPSILON DATA ROOT results/dense-attacks.json [--samples 200] [--steps 10]
                                       [--seeds 0 1 2]

Adds rows to the file, one an attack, estimator and seed; those that are there are not measured again. The width of hart
is chosen on training images. All steps are made; success is judged over 20 fresh encodings of each image. See
benchmarks/README.md.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from measuring import machine
from rows import parser_of
from spikeflip import Budget, judge, load_checkpoint, load_images
from spikeflip.attacks import APGD, PGD, SAPGD, choose_gradient
from spikeflip.attacks.stop import Judged, Verdict
from spikeflip.intervals import wilson

ATTACKS = {"pgd": PGD, "apgd": APGD, "sa-pgd": SAPGD}
ESTIMATORS = ("bptt", "rga", "hart", "pdsg", "assg")
WIDTHS = ("hart:0.25", "hart:0.5", "hart:1", "hart:2")
DRAWS = 20
TRIED = 60
"""Training images on which the width of hart is chosen."""


class LatestSuccess:
    """Use all steps, and keep the last inputs that succeed: the first may be the luck of one encoding."""

    def __call__(self, judged: Judged) -> Verdict:
        steps = judged.memory.recall("steps", torch.zeros(len(judged.success))) + 1
        judged.memory.keep("steps", steps)
        return Verdict(torch.where(judged.success, -steps.double(), torch.inf), torch.zeros_like(judged.success))


def share(values: Tensor) -> dict[str, object]:
    """A mean of shares in [0, 1] with its interval."""
    mean, n = float(values.mean()), len(values)
    return {"rate": round(mean, 4), "n": n, "interval": [round(end, 4) for end in wilson(mean, n)]}


def cells(
    folder: Path, epsilon: float, data: str, root: Path, samples: int, steps: int, seeds: list[int]
) -> Iterator[dict[str, Any]]:
    """A row an attack and estimator, and one of the worst of all of them, for each seed."""
    checkpoint = load_checkpoint(folder)
    victim, test = checkpoint.network, load_images(data, "test", root=root)
    images, labels = test.images[:samples], test.labels[:samples]
    train, budget = load_images(data, "train", root=root), Budget(epsilon, "linf")
    known = {"victim": folder.name, "architecture": victim.architecture, "epsilon": epsilon, "steps": steps}
    known |= {"accuracy": checkpoint.facts.get("accuracy"), "weights_sha256": checkpoint.sha256}
    tried = PGD(steps=steps, budget=budget)
    width = choose_gradient(tried, victim, train.images[:TRIED], train.labels[:TRIED], WIDTHS, seed=1)
    for seed in seeds:
        broken = torch.zeros(samples, dtype=torch.bool)
        right = torch.zeros(samples, dtype=torch.bool)
        for name, kind in ATTACKS.items():
            for estimator in ESTIMATORS:
                gradient = width if estimator == "hart" else estimator
                attack = kind(steps=steps, budget=budget, gradient=gradient)
                result = attack(victim, images, labels, seed=seed, micro_batch=32, stop=LatestSuccess())
                found = judge(victim, images, result.adversarials, labels, None, result, draws=DRAWS, seed=seed)
                right = ~found.rows["already_wrong"]
                most = right & (found.rows["verified"] > 0.5)
                broken |= most
                yield {
                    **known, "attack": name, "gradient": gradient, "seed": seed,
                    "verified": share(found.rows["verified"][right]), "in_most_encodings": share(most[right].double()),
                    "passes": round(float((result.forwards + result.backwards)[right].double().mean()), 1),
                }  # fmt: skip
        every = {"attack": "all", "gradient": "all", "seed": seed}
        yield {**known, **every, "in_most_encodings": share(broken[right].double())}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("victim", type=Path)
    parser.add_argument("epsilon", type=float)
    parser.add_argument("data")
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    rows = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    measured = {(row["victim"], row["epsilon"], row["seed"]) for row in rows if row["attack"] == "all"}
    seeds = [seed for seed in given.seeds if (given.victim.name, given.epsilon, seed) not in measured]
    for seed in seeds:
        new = []
        for row in cells(given.victim, given.epsilon, given.data, given.root, given.samples, given.steps, [seed]):
            new.append(row)
            print(row["victim"], row["attack"], row["gradient"], row["seed"], row["in_most_encodings"], file=sys.stderr)
        rows += new
        given.out.write_text(json.dumps({"rows": rows, **machine()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
