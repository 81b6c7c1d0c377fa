"""Write the tables and draw the curves of retiming.py into the documents.

    python benchmarks/retiming_page.py results/event-attacks.json docs/event-attacks.md

What stands between the page's marks is replaced; a figure for each victim lies in a folder beside it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from attack_rows import rows_of
from few_flips_page import Row, about, curves, groups, number, put
from rows import parser_of
from spikeflip.intervals import wilson
from spikeflip.judging.distances import quartiles, success_within

SHARES = (0.5, 1, 2, 4, 8, 16)
"""Of a sample's spikes, in %."""
VICTIMS = {
    "nmnist-whole": "N-MNIST, 15 bins of 20 ms",
    "nmnist-plain": "N-MNIST, 15 bins of 5 ms",
    "gestures": "Ten gestures, 60 bins of 1 ms",
    "digits": "Simulated digits",
}
DRAWN = (
    "retiming", "retiming, 100 moves, threshold 0.7", "retiming, bins", "retiming, window 1", "retiming, window 2",
    "soft-retiming", "soft-retiming, window 1", "random-retiming",
)  # fmt: skip
AXES = {
    "": ("moved", "moved spikes, % of the sample's"),
    "-bins": ("bins", "bins moved in all, % of the sample's spikes"),
}
"""What a figure draws success against, by the end of its name: a count of the rows, and its words."""


def counts(row: Row, name: str) -> Tensor:
    """Of every sample, infinite where the attack failed."""
    return torch.tensor([math.inf if count is None else count for count in row[name]], dtype=torch.float64)


def share_of(name: str, row: Row) -> Tensor:
    """A count of every sample in % of all spikes that it has."""
    return 100 * counts(row, name) / torch.tensor(row["all_spikes"], dtype=torch.float64)


def table(found: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """A line an attack; several seeds together."""
    shares = " | ".join(f"{share:g} %" for share in SHARES)
    yield f"| attack | {shares} | all | cells | moved | bins | farthest | passes | s |"
    yield "|" + "---|" * (len(SHARES) + 8)
    for name, rows in found.items():
        only_moves = not name.startswith("gumbel")
        within = " | ".join(
            f"{100 * share:.0f}" if only_moves else "–"
            for share in success_within(torch.cat([share_of("moved", row) for row in rows]), SHARES)
        )
        won = torch.isfinite(torch.cat([counts(row, "cells") for row in rows]))
        share = float(won.double().mean())
        low, high = (100 * end for end in wilson(share, len(won) // len(rows)))  # each seed has the same inputs
        middles = [
            number(quartiles(torch.cat([counts(row, measure) for row in rows]))[1])
            for measure in ("cells", "moved", "bins", "farthest")
        ]
        middles[1:] = middles[1:] if only_moves else ["–"] * 3
        passes = sum(row["forwards"] + row["backwards"] for row in rows) / len(rows)
        seconds = sum(row["seconds"] for row in rows) / len(rows)
        yield (
            f"| {name} | {within} | **{100 * share:.0f}** ({low:.0f} to {high:.0f}) | "
            f"{' | '.join(middles)} | {passes:,.0f} | {seconds:.2f} |"
        )


def pictures(folder: Path, victim: str) -> Iterator[str]:
    """The lines that show a victim's figures."""
    for end, (_, words) in AXES.items():
        yield from (f"![success against {words}]({folder.name}/{victim}{end}.svg)", "")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    given = parser.parse_args()
    folder = given.page.with_suffix("")
    folder.mkdir(exist_ok=True)
    lines: list[str] = []
    drawn: dict[str, list[tuple[str, dict[str, list[Row]]]]] = {}
    for victim, goal, found in groups(rows_of(given.results), VICTIMS):
        if not found:
            continue
        if victim not in drawn:
            sample = next(iter(found.values()))[0]
            lines += [f"## {VICTIMS[victim]}", "", about(sample), "", *pictures(folder, victim)]
        shown = {name: found[name] for name in DRAWN if name in found}
        drawn.setdefault(victim, []).append((goal, shown))
        lines += [f"**{goal.capitalize()}**", "", *table(found), ""]
    for victim, parts in drawn.items():
        for end, (name, words) in AXES.items():
            figure = curves(parts, partial(share_of, name), words)
            figure.savefig(folder / f"{victim}{end}.svg", metadata={"Date": None})
    put(given.page, lines)


if __name__ == "__main__":
    main()
