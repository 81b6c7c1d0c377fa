"""Evaluate victims within every threat model that fits them: robust accuracy, verdict, cost.

    python benchmarks/worst_case_table.py VICTIMS ROOT results/worst-case.json --work WORK [--only digits-images ...]
                                          [--threats timing ...] [--samples 100] [--workers 2]
    python benchmarks/worst_case_table.py --page results/worst-case.json docs/evaluate.md

VICTIMS holds a folder of `train` for each name of the table; one that is not there is left out. An evaluation goes on
where it was in WORK, and a row of the results file is not measured again. `--page` writes the table between the marks
of a document.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import machine
from rows import parser_of
from spikeflip.runs import EvaluateConfig, Execution, run_evaluation

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


@dataclass(frozen=True)
class Subject:
    """A victim of the table: its words, its data, and the budget within each threat."""

    words: str
    data: Mapping[str, Any]
    budgets: Mapping[str, float]


_IMAGES = {"image-linf": 0.1, "image-mse": 0.005}
_SPIKES = {"binary-l0": 0.02, "timing": 0.05}
_RECORDINGS = {"binary-l0": 0.005, "events": 0.005, "timing": 0.02}
SUBJECTS = {
    "digits-images": Subject("digits, images", {"data": "digits"}, _IMAGES),
    "digits-images-hard": Subject("the same, adversarially trained", {"data": "digits"}, _IMAGES),
    "digits-events": Subject("digits, simulated events", {"data": "digits", "simulate_events": True}, _SPIKES),
    "digits-events-hard": Subject(
        "the same, adversarially trained", {"data": "digits", "simulate_events": True}, _SPIKES
    ),
    "nmnist-plain": Subject("N-MNIST, quarter width", {"data": "nmnist"}, _RECORDINGS),
    "nmnist-hard": Subject("the same, adversarially trained", {"data": "nmnist"}, _RECORDINGS),
}

Row = Mapping[str, Any]


def measured(given: Any, known: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The rows that are not known yet, those of one victim after the other."""
    done = {(row["victim"], row["threat"]) for row in known}
    for name in given.only:
        subject = SUBJECTS[name]
        if not (given.victims / name / "victim.json").is_file():
            print(f"{name}: no victim in {given.victims}", file=sys.stderr)
            continue
        for threat, budget in subject.budgets.items():
            if threat in given.threats and (name, threat) not in done:
                yield row_of(name, threat, evaluated(given, name, threat, budget))


def evaluated(given: Any, name: str, threat: str, budget: float) -> dict[str, Any]:
    """The summary of an evaluation, which may be there already."""
    data = dict(SUBJECTS[name].data)
    if data["data"] == "nmnist":
        data["root"] = given.root
    config = EvaluateConfig(
        victim=given.victims / name, threat=threat, budget=budget, verdict=True, samples=given.samples, **data
    )
    out = given.work / f"{name}-{threat}"
    summary = run_evaluation(config, out, execution=Execution(workers=given.workers))
    return summary | {"manifest": json.loads((out / "manifest.json").read_text())}


def row_of(name: str, threat: str, summary: Row) -> dict[str, Any]:
    """What the table needs of an evaluation."""
    verdict, members = summary["verdict"], summary["members"]
    strongest = max((one for one in members if one["view"] != "control"), key=lambda one: one["broken"])
    seconds = sum(one["seconds"] for one in members)
    return {
        "victim": name,
        "threat": threat,
        **{key: summary[key] for key in ("suite", "budget", "n", "clean_accuracy", "robust_accuracy")},
        "robust_accuracy_interval": summary["robust_accuracy_interval"],
        "broken_by_controls": max(one["broken"] for one in members if one["view"] == "control"),
        "most_by": strongest["name"] if strongest["broken"] else None,
        "verdict": None if verdict is None else verdict["word"],
        "findings": [] if verdict is None else verdict["findings"],
        "passes": sum(one["forwards"] + one["backwards"] for one in members),
        "verdict_passes": 0 if verdict is None else verdict["forwards"] + verdict["backwards"],
        "seconds": round(seconds, 1),
        "left_out": [one["name"] for one in members if one["left_out"] is not None],
        "workers": summary["manifest"].get("workers"),
        **machine(),
    }


def table(rows: Sequence[Row]) -> list[str]:
    """The table's lines, victims and threats in the order of :data:`SUBJECTS`."""
    lines = [
        "| victim | threat, budget | n | clean | robust | verdict | most by | passes an input |",
        "|---|---|---|---|---|---|---|---|",
    ]
    by = {(row["victim"], row["threat"]): row for row in rows}
    for name, subject in SUBJECTS.items():
        words = subject.words
        for threat in subject.budgets:
            if (row := by.get((name, threat))) is not None:
                lines.append(f"| {words} | {line_of(row)} |")
                words = ""
    return lines


def line_of(row: Row) -> str:
    low, high = row["robust_accuracy_interval"]
    cells = (
        f"`{row['suite']}`, {row['budget']:g}",
        f"{row['n']:,}",
        f"{row['clean_accuracy']:.0%}",
        f"**{row['robust_accuracy']:.0%}** ({low:.0%}–{high:.0%})",
        row["verdict"] or "–",
        f"`{row['most_by']}`" if row["most_by"] else "nothing",
        f"{(row['passes'] + row['verdict_passes']) / row['n']:,.0f}",
    )
    return " | ".join(cells)


def write_page(results: Path, page: Path) -> None:
    text = page.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text("\n".join([before + BEGIN, *table(rows_of(results)), END + after]))


def rows_of(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text())["rows"]) if file.exists() else []


def write(file: Path, rows: Sequence[Row]) -> None:
    file.write_text(json.dumps({"rows": list(rows)}, indent=1) + "\n")


def main() -> None:
    if sys.argv[1:2] == ["--page"]:
        write_page(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    threats = sorted({threat for subject in SUBJECTS.values() for threat in subject.budgets})
    parser = parser_of(__doc__)
    parser.add_argument("victims", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--threats", nargs="+", default=threats, choices=threats)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    rows = rows_of(given.out)
    for row in measured(given, rows):
        rows.append(row)
        print(f"{row['victim']}: {line_of(row)}", file=sys.stderr)
        write(given.out, rows)


if __name__ == "__main__":
    main()
