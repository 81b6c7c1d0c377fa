"""Runs side by side: what is pooled is what all inputs together give, and what is damaged is one line."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from synthetic import write_run

from spikeflip import SpikeflipError
from spikeflip.judging import wilson
from spikeflip.report.tables import to_csv
from spikeflip.runs import compare_runs, list_runs

EVIL = "<script>alert(1)</script>|`x`\x1b]0;owned\x07\n=cmd()"


def rows_of(run):
    return pyarrow.parquet.read_table(run / "rows.parquet").to_pydict()


def test_runs_are_found_below_and_show_what_differs(tmp_path):
    write_run(tmp_path / "study" / "a", options={"gamma": 0.05})
    write_run(tmp_path / "study" / "deep" / "b", options={"gamma": 0.1}, seed=1)
    (tmp_path / "study" / ".hidden.1.partial").mkdir()
    write_run(tmp_path / "study" / ".hidden.1.partial" / "c")
    (tmp_path / "study" / "model").mkdir()
    (tmp_path / "study" / "model" / "config.json").write_text("{}")  # of some other program
    rows = list_runs([tmp_path / "study"])
    assert [row["name"] for row in rows] == [str(tmp_path / "study" / name) for name in ("a", "deep/b")]
    assert [row["settings"] for row in rows] == [{"gamma": 0.05, "seed": 0}, {"gamma": 0.1, "seed": 1}]
    assert list_runs([tmp_path / "study" / "a", tmp_path / "study"])[0]["settings"] == rows[0]["settings"]


def test_what_was_given_is_known_of_a_run_and_no_column_of_its_own(tmp_path):
    for name, given in (("a", {"attack": "scg", "victim": "VICTIM", "gamma": 0.1}), ("b", {"attack": "scg", "c": 0.5})):
        config = json.loads((write_run(tmp_path / name, seed=name == "b") / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps(config | {"given": given}))
    rows = list_runs([tmp_path])
    assert [row["given"] for row in rows] == [["attack", "victim", "gamma"], ["attack", "c"]]
    (pooled,) = list_runs([tmp_path], merge=["seed"])
    assert pooled["given"] == ["attack", "victim", "gamma", "c"]
    config.pop("given", None)
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    assert list_runs([tmp_path])[1]["given"] is None
    assert "given" not in to_csv(rows).splitlines()[0]


def test_a_budget_is_listed_once(tmp_path):
    """As ``epsilon``, where it was given as that."""
    for name, epsilon in (("a", 0.08), ("b", None)):
        config = json.loads((write_run(tmp_path / name) / "config.json").read_text())
        config["options"]["epsilon"] = epsilon
        config["settings"]["budget"] = epsilon or 0.03
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    assert [row["settings"] for row in list_runs([tmp_path])] == [
        {"epsilon": 0.08, "budget": None},
        {"epsilon": None, "budget": 0.03},
    ]


@pytest.mark.parametrize("worth", [0, -3, 1000, float("nan"), "9"])
def test_trials_that_cannot_be_are_as_many_as_there_are(tmp_path, worth):
    run = write_run(tmp_path / "a", 100)
    before = list_runs([run])
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"attack_success_rate_trials": worth}))
    assert list_runs([run]) == before


def test_figures_are_those_of_the_rows(tmp_path):
    run = write_run(tmp_path / "a", 100)
    (row,) = list_runs([run])
    rows = rows_of(run)
    right = ~np.array(rows["already_wrong"])
    won = np.array(rows["success"])[right]
    assert row["success"] == pytest.approx(won.mean())
    assert [row["success_low"], row["success_high"]] == pytest.approx(wilson(won.mean(), len(won)))
    assert row["verified"] == pytest.approx(np.array(rows["verified"])[right].mean())
    assert row["mse"] == pytest.approx(np.array(rows["mse"])[np.array(rows["success"])].mean())
    assert row["settings"] == {}


def test_targets_of_an_input_are_no_trials_of_their_own(small_victim, run, tmp_path):
    """Where none succeeds, nothing shows that those of an input do not go together."""
    command = ["attack", "--victim", small_victim, "--samples", "8", "--target", "all", "--draws", "5", "--steps", "1"]
    command += ["--epsilon", "1e-9"]
    found = []
    for seed in (0, 1):
        assert run(*command, "--seed", seed, "--quiet", "--out", tmp_path / str(seed))[0] == 0
        found.append(json.loads((tmp_path / str(seed) / "summary.json").read_text()))
    for row, summary in zip(list_runs([tmp_path]), found, strict=True):
        assert summary["attack_success_rate_trials"] <= 8 < row["success_n"]
        ends = [row["success_low"], row["success_high"]]
        assert ends == pytest.approx(summary["attack_success_rate_interval"])
    (pooled,) = list_runs([tmp_path], merge=["seed"])
    most = max(summary["attack_success_rate_trials"] for summary in found)
    assert [pooled["success_low"], pooled["success_high"]] == pytest.approx(wilson(pooled["success"], most))


def test_seeds_are_pooled_over_all_their_inputs(tmp_path):
    runs = [write_run(tmp_path / str(seed), n, seed=seed) for seed, n in enumerate((16, 40, 64))]
    for run in runs:  # the same options but for the seed
        config = json.loads((run / "config.json").read_text())
        config["options"]["samples"] = None
        (run / "config.json").write_text(json.dumps(config))
    other = write_run(tmp_path / "other", 16, seed=5, options={"gamma": 0.2, "samples": None})
    merged, alone = list_runs([*runs, other], merge=["seed"])
    tables = [rows_of(run) for run in runs]
    right = ~np.concatenate([table["already_wrong"] for table in tables])
    won = np.concatenate([table["success"] for table in tables])
    most = max(int((~np.array(table["already_wrong"])).sum()) for table in tables)  # the same inputs are no new trials
    assert (merged["runs"], merged["n"], alone["runs"]) == (3, 120, 1)
    assert merged["settings"]["seed"] == [0, 1, 2]
    assert merged["success"] == pytest.approx(won[right].mean())
    assert [merged["success_low"], merged["success_high"]] == pytest.approx(wilson(won[right].mean(), most))
    for name in ("mse", "steps"):
        every = np.concatenate([table[name] for table in tables])
        assert merged[name] == pytest.approx(every[won].mean())
    rates = [row["success"] for row in list_runs(runs)]
    assert (merged["success_lowest"], merged["success_highest"]) == (min(rates), max(rates))
    assert merged["seconds"] == 37.5


def test_a_run_is_pooled_once(tmp_path):
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    with pytest.raises(SpikeflipError, match="have the same options, also seed"):
        list_runs(runs, merge=["seed"])
    assert len(list_runs([runs[0], runs[0]], merge=["seed"])) == 1
    with pytest.raises(SpikeflipError, match="--merge colour is no option of these runs: choose from attack, data"):
        list_runs(runs, merge=["colour"])


def test_unfinished_runs_say_how_far_they_are(tmp_path):
    run = write_run(tmp_path / "a", 12, config={"rows": 48})
    (run / "summary.json").unlink()
    shard = run / "shards" / "00000"
    shard.mkdir(parents=True)
    (run / "rows.parquet").rename(shard / "rows.parquet")
    (run / "shards" / "00001").mkdir()
    (run / "shards" / "00001" / "rows.parquet").write_bytes(b"half")
    (row,) = list_runs([run])
    assert (row["state"], row["done"], row["success"]) == ("unfinished", 0.25, None)
    assert list_runs([write_run(tmp_path / "b"), run], merge=["seed"])[1]["state"] == "unfinished"


def test_two_runs_are_compared_input_by_input(tmp_path):
    a, b = write_run(tmp_path / "a", 40, success=0.3), write_run(tmp_path / "b", 64, success=0.9, seed=3)
    found = compare_runs(a, b)
    first, second = (rows_of(run)["success"] for run in (a, b))
    shared = [at for at in range(40) if at % 8 != 7]
    assert (found["shared"], found["attacked"]) == (40, len(shared))
    assert found["only_second"] == sum(second[at] and not first[at] for at in shared)
    assert found["both"] + found["only_first"] + found["only_second"] + found["neither"] == len(shared)
    assert found["success"] == pytest.approx([np.mean([run[at] for at in shared]) for run in (first, second)])
    assert found["second_better_low"] > 0.5
    assert found["settings"] == {"samples": [40, 64], "seed": [0, 3]}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({"n": -1}, "n is -1"),
        ({"n": True}, "n is True"),
        ({"attack_success_rate": 1.5}, "attack_success_rate is 1.5"),
        ({"attack_success_rate_n": "many"}, "attack_success_rate is "),
        ({"n": 10**400}, "n is inf"),
    ],
)
def test_a_damaged_run_is_one_line_beside_the_others(tmp_path, harm, message, run):
    write_run(tmp_path / "a")
    bad = write_run(tmp_path / "b")
    summary = json.loads((bad / "summary.json").read_text())
    (bad / "summary.json").write_text(json.dumps(summary | harm))
    good, damaged = list_runs([tmp_path])
    assert (good["state"], damaged["state"]) == ("finished", "damaged")
    assert message in damaged["note"]
    status, out, err = run("runs", tmp_path)
    assert (status, err) == (0, "")
    assert out.count("damaged: ") == 1


def test_nothing_to_list_is_one_sentence(tmp_path, run):
    for folder, message in ((tmp_path / "none", "is no folder"), (tmp_path, "holds no run")):
        status, out, err = run("runs", folder)
        assert (status, out) == (2, "")
        assert message in err
    a = write_run(tmp_path / "a")
    other = write_run(tmp_path / "b", config={"data": {"name": "mnist", "sha256": "c"}})
    assert "attacked other data" in run("runs", "--compare", a, other)[2]
    assert "--compare takes two run folders" in run("runs", "--compare", a)[2]


def test_names_from_strangers_are_harmless_in_every_format(tmp_path, run):
    evil = {"victim": {"architecture": EVIL, "weights_sha256": EVIL}, "goal": EVIL, "settings": {EVIL: EVIL}}
    write_run(tmp_path / "a", config=evil)
    write_run(tmp_path / "b", config={"name": EVIL, "data": {"name": EVIL, "sha256": EVIL}})
    status, out, _ = run("runs", tmp_path)
    assert status == 0
    assert "\x1b" not in out
    assert "\x07" not in out
    out = run("runs", tmp_path, "--format", "markdown")[1]
    assert "<script>" not in out
    assert "\x1b" not in out
    assert len({line.replace("\\|", "").count("|") for line in out.splitlines()}) == 1
    table = list(csv.DictReader(io.StringIO(run("runs", tmp_path, "--format", "csv")[1])))
    assert len(table) == 2
    assert json.loads(run("runs", tmp_path, "--format", "json")[1])[0]["goal"] == EVIL


def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(Path("=1+1"))
    (row,) = csv.DictReader(io.StringIO(run("runs", "=1+1", "--format", "csv")[1]))
    assert row["name"] == "'=1+1"


MEASURED = """
import sys
from pathlib import Path
from spikeflip.cli.app import main
main(sys.argv[1:])
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
print(*(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
"""


def worked():
    """Processor seconds of all commands so far, whatever else the machine does."""
    return os.times().children_user + os.times().children_system


@pytest.mark.processes
def test_a_hundred_thousand_rows_are_listed_and_shown_in_seconds_and_little_memory(tmp_path):
    big, page = write_run(tmp_path / "big", 100_000, shape=(1, 28, 28)), tmp_path / "page.html"
    for arguments in (["runs", big], ["runs", "--compare", big, big], ["report", big, "--out", page]):
        command = [sys.executable, "-c", MEASURED, *map(str, arguments)]
        before = worked()
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        assert worked() - before < 5
        assert int(answer.stderr or 0) < 500 * 1024  # KiB, at the highest


def by_hand(folder, seed, rows):
    """A finished run of these rows."""
    run = write_run(folder, len(rows["input"]), seed=seed)
    table = {name: np.asarray(values) for name, values in rows.items()}
    n = len(rows["input"])
    table |= {"sample": np.arange(n) * 11, "label": np.zeros(n, int), "prediction": np.zeros(n, int)}
    pyarrow.parquet.write_table(pyarrow.table(table), run / "rows.parquet")
    return run


def test_every_figure_of_a_comparison_by_hand(tmp_path):
    """Inputs 0 to 6; the second run in another order and without input 3, the first has input 4 wrong, the second 5."""
    first = {
        "input": [0, 1, 2, 3, 4, 5, 6],
        "target": [-1] * 7,
        "already_wrong": [False, False, False, False, True, False, False],
        "success": [True, True, False, True, False, True, True],
        "verified": [1.0, 0.5, 0.25, 0.9, 0.0, 0.8, 0.75],
        "steps": [1, 2, 25, 7, 0, 9, 4],
        "mse": [0.01, 0.02, 0.9, 0.5, 0.0, 0.6, 0.03],
        "l0": [1.0, 2.0, 90.0, 50.0, 0.0, 60.0, 3.0],
    }
    second = {
        "input": [6, 5, 4, 2, 1, 0, 8],
        "target": [-1] * 7,
        "already_wrong": [False, True, False, False, False, False, False],
        "success": [True, False, True, True, False, True, True],
        "verified": [0.5, 0.0, 1.0, 0.6, 0.2, 0.7, 0.1],
        "steps": [5, 0, 3, 8, 25, 6, 11],
        "mse": [0.05, 0.0, 0.7, 0.8, 0.95, 0.07, 0.99],
    }
    runs = by_hand(tmp_path / "a", 0, first), by_hand(tmp_path / "b", 1, second)
    # Shared are 0, 1, 2, 4, 5, 6; attacked by both 0, 1, 2, 6. Both fooled 0 and 6, one alone 1, the other 2.
    expected = {
        "runs": [str(run) for run in runs],
        "shared": 6,
        "attacked": 4,
        "both": 2,
        "only_first": 1,
        "only_second": 1,
        "neither": 0,
        "success": [0.75, 0.75],
        "verified": pytest.approx([(1 + 0.5 + 0.25 + 0.75) / 4, (0.7 + 0.2 + 0.6 + 0.5) / 4]),
        "steps": [(1 + 2 + 25 + 4) / 4, (6 + 25 + 8 + 5) / 4],
        "mse": pytest.approx([(0.01 + 0.03) / 2, (0.07 + 0.05) / 2]),
        "l0": [2.0, None],
        "second_better": 0.5,
        "second_better_low": pytest.approx(1 - 0.975**0.5),
        "second_better_high": pytest.approx(0.975**0.5),
    }
    found = compare_runs(*runs)
    assert {name: found[name] for name in expected} == expected
    back = compare_runs(*reversed(runs))
    assert back["mse"] == found["mse"][::-1]
    assert (back["only_first"], back["only_second"]) == (1, 1)


@pytest.mark.parametrize(("alone", "shown"), [(5, False), (6, True)])
def test_a_difference_is_shown_where_a_sign_test_shows_it(tmp_path, alone, shown):
    """Of 5 inputs that one run alone fooled, all go to it in 1 of 16 pairs of equal attacks; of 6, in 1 of 32."""
    rows = {"input": [*range(9)], "target": [-1] * 9, "already_wrong": [False] * 9, "steps": [1] * 9}
    rows |= {"verified": [1.0] * 9, "mse": [0.1] * 9, "success": [False] * 9}
    better = rows | {"success": [at < alone for at in range(9)]}
    first, second = by_hand(tmp_path / "a", 0, rows), by_hand(tmp_path / "b", 1, better)
    assert (compare_runs(first, second)["second_better_low"] > 0.5) is shown
    assert (compare_runs(second, first)["second_better_high"] < 0.5) is shown


def test_targets_of_one_input_show_no_difference(tmp_path):
    """All 9 targets of one input are one trial; of 6 inputs each ahead by a target, each is one."""
    rows = {"input": [0] * 9, "target": [*range(9)], "already_wrong": [False] * 9, "steps": [1] * 9}
    rows |= {"verified": [1.0] * 9, "mse": [0.1] * 9, "success": [False] * 9}
    runs = by_hand(tmp_path / "a", 0, rows), by_hand(tmp_path / "b", 1, rows | {"success": [True] * 9})
    found = compare_runs(*runs)
    assert (found["only_second"], found["second_better"], found["second_better_low"] < 0.5) == (9, 1, True)
    rows |= {"input": [0, 0, 1, 2, 3, 4, 5, 5, 5], "target": [0, 1, 0, 0, 0, 0, 0, 1, 2]}
    wins = [True] * 6 + [False, True, True], [True] + [False] * 5 + [True, False, False]
    found = compare_runs(
        *(by_hand(tmp_path / name, 0, rows | {"success": won}) for name, won in zip("cd", wins, strict=True))
    )
    assert (found["only_first"], found["only_second"], found["second_better"]) == (7, 1, 0)
    assert found["second_better_high"] == pytest.approx(1 - 0.025 ** (1 / 6))


def test_a_pair_is_an_input_and_its_target(tmp_path):
    """The same inputs towards other targets are other attacks."""
    rows = {"input": [0, 0, 1], "target": [1, 2, 1], "already_wrong": [False] * 3, "steps": [1, 2, 3]}
    rows |= {"success": [True, False, False], "verified": [1.0, 0.0, 0.0], "mse": [0.1, 0.2, 0.3]}
    other = rows | {"target": [2, 3, 1], "success": [True, True, False]}
    found = compare_runs(by_hand(tmp_path / "a", 0, rows), by_hand(tmp_path / "b", 1, other))
    assert (found["shared"], found["only_second"], found["neither"], found["both"]) == (2, 1, 1, 0)
    assert found["mse"] == [None, None]
    assert found["second_better"] == 1
