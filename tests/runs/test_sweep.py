"""Sweeps: one run a point, done ones skipped, compared at the end."""

import csv
import json
import shutil

import pytest

from spikeflip.errors import SpikeflipError
from spikeflip.report import sweep as page
from spikeflip.runs import run_sweep
from spikeflip.runs import sweep as sweep_module
from spikeflip.runs.sweep import read_sweep

BASE = '[base]\nvictim = "{victim}"\nsamples = 10\ndraws = 3\n'


@pytest.fixture
def sweep_file(small_victim, tmp_path):
    def write(text, base=BASE):
        file = tmp_path / "sweep.toml"
        file.write_text(base.format(victim=small_victim) + text)
        return file

    return write


def test_a_grid_is_every_combination_in_the_files_order(sweep_file):
    sweep = read_sweep(sweep_file("[grid]\nthreshold = [0.5, 1.0]\nshard-size = [1]\nseed = [0, 1]\ntuning = [true]\n"))
    assert [point.name for point in sweep.points] == [
        f"threshold={threshold},shard_size=1,seed={seed},tuning=true" for threshold in (0.5, 1.0) for seed in (0, 1)
    ]
    assert [(point.config.settings["threshold"], point.config.seed) for point in sweep.points] == [
        (0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)
    ]  # fmt: skip
    assert sweep.swept == ("threshold", "shard_size", "seed", "tuning")
    assert {point.config.samples for point in sweep.points} == {10}


def test_points_are_combined_with_the_grid(sweep_file):
    text = '[grid]\nseed = [0, 1]\n[[points]]\ngamma = 0.1\nflipper = false\n[[points]]\ntarget = "all"\nsamples = 2\n'
    sweep = read_sweep(sweep_file(text))
    names = [f"gamma=0.1,flipper=false,seed={s}" for s in (0, 1)] + [f"target=all,samples=2,seed={s}" for s in (0, 1)]
    assert [point.name for point in sweep.points] == names
    assert [point.config.samples for point in sweep.points] == [10, 10, 2, 2]


def test_names_of_points_stay_in_their_folder(sweep_file):
    sweep = read_sweep(sweep_file('[grid]\nvictim = ["../../etc", "/a/b"]\n', base=""))
    for point in sweep.points:
        assert "/" not in point.name
        assert not point.name.startswith(".")
    assert len({point.name for point in sweep.points}) == 2


def test_the_folder_of_another_sweep_is_refused(sweep_file, run, tmp_path):
    (tmp_path / "out" / "gamma=0.1").mkdir(parents=True)
    (tmp_path / "out" / "gamma=0.1" / "config.json").write_text("{}")
    status, out, err = run("sweep", sweep_file("[grid]\nseed = [1, 2]\n"), "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert "holds runs, such as gamma=0.1, and none is a point of this file: give a folder of its own" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sweeps nothing: add [grid] with lists of values, or [[points]]"),
        ("[grid]\ngamma = 0.1\n", "gamma in [grid] is 0.1: give a list of values"),
        ("[grid]\ngamma = []\n", "gamma in [grid] is []: give a list of values"),
        ("[grid]\ngamma = [0.1, 2.0]\n", "point gamma=2.0: --gamma is 2.0: input should be less than or equal to 1"),
        ("[grid]\nxyz = [1]\n", "point xyz=1: --xyz is no option of scg: leave it out"),
        ("[grid]\ngama = [0.1]\n", "point gama=0.1: --gama is no option of scg: did you mean --gamma?"),
        (
            "[[points]]\nsamples = 1\n[[points]]\nsamples = 2\nper_class = 1\n",
            "point samples=2,per_class=1: --samples 2 and --per-class 1 exclude each other: give one",
        ),
        ("[grid]\nseed = [1, 1]\n", "has the point seed=1 twice: leave one of them out"),
        (
            "[grid]\nseed = [1, 1.0]\n",
            "has the points seed=1 and seed=1.0, which are the same run: leave one out",
        ),
        ("[grid]\ngamma = [1, 1.0]\n", "has the points gamma=1 and gamma=1.0, which are the same run"),
        (
            "[grid]\nseed = [0, 1]\nmicro_batch = [4, 8]\n",
            "has the points seed=0,micro_batch=4 and seed=0,micro_batch=8, which are the same run",
        ),
        ("[[points]]\n", "[[points]] are tables of options, none empty"),
        ("[grids]\nseed = [1]\n", "has a part 'grids': give [base], [grid] and [[points]] alone"),
        ("[grid]\nseed = [", "is no TOML file"),
        (
            f"[grid]\nseed = {list(range(200))}\nsteps = {list(range(1, 99))}\n",
            "has 19,600 points: give at most 10,000",
        ),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_run(sweep_file, run, tmp_path, text, message):
    status, out, err = run("sweep", sweep_file(text), "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_sweep_runs_every_point_once_and_grows(sweep_file, run, tmp_path):
    out = tmp_path / "out"
    file = sweep_file("[grid]\nthreshold = [0.5, 1.0]\nseed = [0, 1]\n")
    status, text, err = run("sweep", file, "--out", out)
    assert (status, err) == (0, "")
    assert "threshold=0.5,seed=1: n = 10, success " in text
    points = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert len(points) == 4
    before = {point: (out / point / "report.html").stat().st_mtime_ns for point in points}
    status, text, _ = run(
        "sweep", sweep_file("[grid]\nthreshold = [0.5, 1.0, 2.0]\nseed = [0, 1]\n"), "--out", out, "--json"
    )
    assert status == 0
    assert {point: (out / point / "report.html").stat().st_mtime_ns for point in points} == before
    rows = json.loads(text)
    assert [row["name"] for row in rows] == [f"threshold={t},seed={s}" for t in (0.5, 1.0, 2.0) for s in (0, 1)]
    for row in rows:
        summary = json.loads((out / row["name"] / "summary.json").read_text())
        assert row["success"] == summary["attack_success_rate"]
    table, pooled = (list(csv.DictReader((out / name).open())) for name in ("table.csv", "pooled.csv"))
    assert [row["name"] for row in table] == [row["name"] for row in rows]
    assert [(row["threshold"], row["seed"]) for row in table] == [(t, s) for t in ("0.5", "1.0", "2.0") for s in "01"]
    assert "settings" not in table[0]
    assert [(row["threshold"], row["seed"], row["runs"]) for row in pooled] == [
        (t, "0/1", "2") for t in ("0.5", "1.0", "2.0")
    ]
    for row, *parts in zip(pooled, table[::2], table[1::2], strict=True):
        fooled = sum(float(part["success"]) * int(part["success_n"]) for part in parts)
        assert float(row["success"]) == pytest.approx(fooled / int(row["success_n"]))
    html = (out / "report.html").read_text()
    assert html.count("<svg") == 1  # over the threshold; seeds are pooled
    assert 'href="threshold%3D2.0%2Cseed%3D1/report.html"' in html


def test_options_that_runs_do_not_list_and_names_of_other_columns_have_columns(sweep_file, tmp_path):
    run_sweep(sweep_file("[grid]\nsteps = [1, 2]\nmicro_batch = [8, 4]\n"), tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").open()))
    said = [(row["option_steps"], row["micro_batch"]) for row in rows]
    assert said == [("1", "8"), ("1", "4"), ("2", "8"), ("2", "4")]
    assert float(rows[0]["steps"]) == 1
    assert not (tmp_path / "out" / "pooled.csv").exists()


def test_pooled_rows_say_what_is_swept_and_the_same_in_all_runs_or_not_listed_by_them(
    sweep_file, small_victim, tmp_path
):
    grid = f'steps = [1]\nthreshold = [0.5]\nseed = [0, 1]\nvictim = ["{small_victim}"]\n'
    run_sweep(sweep_file(f"[grid]\n{grid}"), tmp_path / "out")
    (row,) = csv.DictReader((tmp_path / "out" / "pooled.csv").open())
    said = [row[name] for name in ("option_steps", "threshold", "seed", "option_victim")]
    assert said == ["1", "0.5", "0/1", str(small_victim)]


def test_a_failing_point_is_named_and_the_others_stay(sweep_file, tmp_path):
    file = sweep_file('[grid]\ntarget = ["none", "77"]\n')
    with pytest.raises(SpikeflipError, match="point target=77: --target 77 is out of range"):
        run_sweep(file, tmp_path / "out")
    assert (tmp_path / "out" / "target=none" / "summary.json").exists()


def test_a_run_folder_is_no_sweep(sweep_file, undisturbed, run):
    status, _, err = run("sweep", sweep_file("[grid]\nseed = [1]\n"), "--out", undisturbed)
    assert status == 2
    assert "is a run: give a folder of its own" in err


@pytest.mark.parametrize("name", ["table.csv", "pooled.csv", "report.html"])
def test_files_of_ones_own_are_not_written_over(sweep_file, tmp_path, run, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    status, _, err = run("sweep", sweep_file("[grid]\nseed = [1]\n"), "--out", tmp_path / "out")
    assert (status, err.count("\n")) == (2, 1)
    assert f"holds a {name} that no sweep wrote: give a folder of its own" in err
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_points_on_other_data_are_not_taken_as_finished(small_recordings, tmp_path, monkeypatch):
    victim, data = small_recordings
    file = tmp_path / "sweep.toml"

    def swept(recordings, seeds):
        base = f'[base]\nvictim = "{victim}"\ninput = "{recordings}"\nsteps = 1\n'
        file.write_text(f"{base}[grid]\nseed = {seeds}\n")
        return [row["name"] for row in run_sweep(file, tmp_path / "out")]

    assert swept(data / "left", [0, 1]) == ["seed=0", "seed=1"]
    with pytest.raises(SpikeflipError, match=r"point seed=0: .* holds a run with other options [(]data's checksum: "):
        swept(data / "right", [0, 1, 2])
    made, real = [], sweep_module.data_checksum
    monkeypatch.setattr(sweep_module, "data_checksum", lambda *given: made.append(given) or real(*given))
    assert len(swept(data / "left", [0, 1, 2])) == 3
    assert len(made) == 1  # for all points


def test_points_of_a_victim_that_changed_are_not_taken_as_finished(sweep_file, small_victim, tmp_path):
    victim = shutil.copytree(small_victim, tmp_path / "victim")
    file = sweep_file("[grid]\nseed = [0]\n", BASE.replace("{victim}", str(victim)))
    run_sweep(file, tmp_path / "out")
    description = json.loads((victim / "victim.json").read_text())
    description["neuron"]["decay"] = 0.9
    (victim / "victim.json").write_text(json.dumps(description))
    with pytest.raises(
        SpikeflipError, match=r"point seed=0: .* holds a run with other options [(]victim's description: "
    ):
        run_sweep(file, tmp_path / "out")


def test_curves_have_a_line_for_each_setting_of_the_other_options():
    def row(threshold, gamma, success):
        rates = {f"success{end}": success for end in ("", "_low", "_high")}
        rates |= {f"verified{end}": None for end in ("", "_low", "_high")}
        about = {"victim": "a", "goal": "untargeted", "data_sha256": "0" * 64}
        return {"settings": {"threshold": threshold, "gamma": gamma, "seed": [0, 1]}, **about, **rates}

    rows = [row(2.0, 0.1, 0.4), row(1.0, 0.1, 0.3), row(1.0, 0.2, 0.5), row(2.0, 0.2, 0.6), row(2.0, 0.3, 0.7)]
    lines, left_out = page.curve_lines("threshold", rows)
    assert left_out == 0
    assert {label: [(p["x"], p["success"]) for p in points] for label, points in lines.items()} == {
        "gamma=0.1": [(1.0, 0.3), (2.0, 0.4)],
        "gamma=0.2": [(1.0, 0.5), (2.0, 0.6)],
    }
    assert page.curve_lines("seed", rows) == ({}, 0)


def test_victims_goals_and_data_have_lines_of_their_own_labelled_where_they_differ():
    empty = dict.fromkeys((f"{rate}{end}" for rate in ("success", "verified") for end in ("", "_low", "_high")), 0.5)
    about = {"victim": "a (1)", "goal": "untargeted", "data_sha256": "0" * 64}

    def labels(*others):
        rows = [
            empty | about | other | {"settings": {"threshold": x} | other.get("settings", {})}
            for other in ({}, *others)
            for x in (1.0, 2.0)
        ]
        lines, _ = page.curve_lines("threshold", rows)
        assert [len(points) for points in lines.values()] == [2] * (1 + len(others))
        return list(lines)

    assert labels() == [""]
    assert labels({"victim": "b (2)"}) == ["a (1)", "b (2)"]
    assert labels({"goal": "targeted"}) == ["untargeted", "targeted"]
    assert labels({"data_sha256": "1" * 64}) == ["data 000000000000", "data 111111111111"]
    assert labels({"victim": "b (2)", "goal": "targeted"}) == ["a (1)", "b (2)"]
    assert labels({"settings": {"gamma": 0.1}, "victim": "b (2)"}) == ["a (1)", "gamma=0.1, b (2)"]
    assert labels({"victim": "b (2)"}, {"goal": "targeted"}) == [
        "a (1), untargeted", "b (2), untargeted", "a (1), targeted"
    ]  # fmt: skip


def test_a_sweep_over_victims_and_data_draws_a_line_for_each(small_recordings, tmp_path, monkeypatch):
    victim, data = small_recordings
    other = shutil.copytree(victim, tmp_path / "other")
    description = json.loads((other / "victim.json").read_text())
    description["neuron"]["decay"] = 0.9
    (other / "victim.json").write_text(json.dumps(description))
    file = tmp_path / "sweep.toml"
    inputs = (data / "left", shutil.copytree(data / "right", tmp_path / "left"))  # of one name
    points = [(victim, inputs[0]), (other, inputs[0]), (victim, inputs[1])]
    file.write_text(
        "[base]\nsteps = 1\n[grid]\nthreshold = [0.5, 1.0]\n"
        + "".join(f'[[points]]\nvictim = "{one}"\ninput = "{recordings}"\n' for one, recordings in points)
    )
    drawn, real = [], page.curves.option_curve
    monkeypatch.setattr(page.curves, "option_curve", lambda *given: drawn.append(given) or real(*given))
    run_sweep(file, tmp_path / "out")
    ((option, lines),) = drawn
    assert (option, [[point["x"] for point in points] for points in lines.values()]) == ("threshold", [[0.5, 1.0]] * 3)
    assert len({label.partition(", data ")[0] for label in lines}) == 2
    assert all(", data " in label for label in lines)


def test_runs_of_one_value_of_an_option_are_no_line_over_it(small_victim, run, tmp_path):
    twin = shutil.copytree(small_victim, tmp_path / "twin")
    file = tmp_path / "sweep.toml"
    points = [f'victim = "{small_victim}"', f'victim = "{twin}"', f'victim = "{twin}"\ntarget = "next"\nthreshold = 2']
    file.write_text(
        "[base]\nsamples = 4\ndraws = 2\nsteps = 1\nthreshold = 1.0\n"
        + "".join(f"[[points]]\n{point}\n" for point in points)
    )
    assert len(run_sweep(file, tmp_path / "out")) == 3
    assert "<svg" not in (tmp_path / "out" / "report.html").read_text()
    status, _, err = run("plot", "--kind", "sweep", tmp_path / "out", "--out", tmp_path / "f.svg")
    assert (status, "holds no two finished runs that differ in a number" in err) == (2, True)
