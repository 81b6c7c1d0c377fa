"""Write the tables and draw the curves of few_flips.py into the documents.

    python benchmarks/few_flips_page.py results/binary-l0.json docs/few-flips.md

What stands between the page's marks is replaced; a figure for each victim lies in a folder beside it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from attack_rows import rows_of
from rows import parser_of
from spikeflip.intervals import wilson
from spikeflip.judging.distances import alone, optimality, quartiles, success_within
from spikeflip.report.pictures import styled

SHARES = (0.1, 0.25, 0.5, 1, 2, 4, 8)
"""Of a sample's events, in %."""
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
VICTIMS = {"digits": "Simulated digits", "nmnist-plain": "N-MNIST", "nmnist-hard": "N-MNIST, adversarially trained"}
COLOURS = ("#1f5f8b", "#c2571a", "#3d8168", "#8a4f9e", "#8c6d1f", "#a3344a", "#50607a", "#5d8a1f", "#111111", "#d17fb0")
NOT_DRAWN = ("scg own", "scg 0.7")

Row = Mapping[str, Any]


def events_of(row: Row) -> Tensor:
    """Changed events of every sample in % of all it has, infinite where the attack failed."""
    changed = [math.inf if count is None else count for count in row["events"]]
    return 100 * torch.tensor(changed, dtype=torch.float64) / torch.tensor(row["all_events"], dtype=torch.float64)


def cells_of(row: Row) -> Tensor:
    """Changed cells of every sample."""
    return torch.tensor([math.inf if count is None else count for count in row["cells"]], dtype=torch.float64)


def groups(
    rows: Sequence[Row], victims: Iterable[str] = tuple(VICTIMS)
) -> Iterator[tuple[str, str, dict[str, list[Row]]]]:
    """Of each victim and goal the rows of every attack."""
    for victim in [name for name in victims if any(row["victim"] == name for row in rows)]:
        for goal in ("untargeted", "targeted"):
            found: dict[str, list[Row]] = {}
            for row in rows:
                if (row["victim"], row["goal"]) == (victim, goal):
                    found.setdefault(row["attack"], []).append(row)
            yield victim, goal, found


def number(value: float) -> str:
    return "–" if math.isinf(value) else f"{value:.0f}"


def table(found: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """A line an attack; several seeds together."""
    first = {name: cells_of(rows[0]) for name, rows in found.items()}
    near, only = optimality(first), alone(first)
    yield (
        "| attack | "
        + " | ".join(f"{share:g} %" for share in SHARES)
        + " | all | cells | optimality | only it | passes | s |"
    )
    yield "|" + "---|" * (len(SHARES) + 7)
    order = sorted(found, key=lambda name: -near[name])
    for name in order:
        rows = found[name]
        events, cells = torch.cat([events_of(row) for row in rows]), torch.cat([cells_of(row) for row in rows])
        within = " | ".join(f"{100 * share:.0f}" for share in success_within(events, SHARES))
        every = float(torch.isfinite(cells).double().mean())
        low, high = (100 * end for end in wilson(every, len(cells) // len(rows)))  # each seed has the same inputs
        lower, median, upper = (number(value) for value in quartiles(cells))
        passes = sum(row["forwards"] + row["backwards"] for row in rows) / len(rows)
        seconds = sum(row["seconds"] for row in rows) / len(rows)
        seeds = "" if len(rows) > 1 else " ¹"
        yield (
            f"| {name}{seeds} | {within} | {100 * every:.0f} ({low:.0f} to {high:.0f}) | "
            f"**{median}** ({lower} to {upper}) | {near[name]:.2f} | {only[name]} | {passes:,.0f} | {seconds:.2f} |"
        )


@styled
def curves(
    parts: Sequence[tuple[str, Mapping[str, Sequence[Row]]]],
    changed: Callable[[Row], Tensor] = events_of,
    axis: str = "changed events, % of the sample's",
) -> Figure:
    """Success against what was changed, a panel a goal."""
    figure = Figure(figsize=(7.2, 3.3), layout="constrained")
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    names = sorted({name for _, found in parts for name in found} - {*NOT_DRAWN})
    if len(names) > len(COLOURS):
        raise ValueError(f"{len(names)} attacks are to be drawn, and there are {len(COLOURS)} colours")
    for axes, (goal, found) in zip(panels, parts, strict=True):
        for colour, name in zip(COLOURS, names, strict=False):
            if name not in found:
                continue
            events = torch.cat([changed(row) for row in found[name]]).sort().values
            heights = 100 * torch.arange(1, len(events) + 1) / len(events)
            shown = torch.isfinite(events)
            dashes = "--" if name.startswith("random") else "-"
            axes.step(
                events[shown], heights[shown], where="post", color=colour, linestyle=dashes, linewidth=1.5, label=name
            )
        axes.set_xscale("log")
        axes.set_xlim(0.1, 500)
        axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        axes.set_ylim(0, 102)
        axes.set_title(goal, fontsize=9.5)
        axes.set_xlabel(axis)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("fooled, % of attacked")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    return figure


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path)
    given = parser.parse_args()
    folder = given.page.with_suffix("")
    folder.mkdir(exist_ok=True)
    lines: list[str] = []
    drawn: dict[str, list[tuple[str, Mapping[str, Sequence[Row]]]]] = {}
    for victim, goal, found in groups(rows_of(given.results)):
        if not found:
            continue
        if victim not in drawn:
            sample = next(iter(found.values()))[0]
            lines += [f"## {VICTIMS[victim]}", "", about(sample), "", f"![curves]({folder.name}/{victim}.svg)", ""]
        drawn.setdefault(victim, []).append((goal, found))
        lines += [f"**{goal.capitalize()}**", "", *table(found), ""]
    for victim, parts in drawn.items():
        figure = curves(parts)
        figure.savefig(folder / f"{victim}.svg", metadata={"Date": None})
    put(given.page, lines)


def put(page: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + "\n\n" + "\n".join(lines) + END + after)


def about(row: Row) -> str:
    """What the victim and its inputs are."""
    spikes, events = (torch.tensor(row[key]).double() for key in ("all_spikes", "all_events"))
    counts = f"{len(spikes)} inputs that it has right, of {spikes.median():,.0f} spikes in the median"
    more = "" if torch.equal(spikes, events) else f", {events.median():,.0f} events"
    right = "" if row["accuracy"] is None else f", {100 * row['accuracy']:.1f} % right"
    return f"`{row['architecture']}`{right}; {counts}{more}."


if __name__ == "__main__":
    main()
