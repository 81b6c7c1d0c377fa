"""What rows say of runs, and which folder holds what."""

import json
from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest

from spikeflip import SpikeflipError
from spikeflip.experiments.declaration import Case
from spikeflip.experiments.laboratory import Laboratory, figures, spikes_by_iteration, traced


def changed(laboratory, **training):
    """The laboratory with other training options of its data set."""
    data = laboratory.preset.data["MNIST"]
    data = replace(data, training={**data.training, **training})
    return replace(laboratory, preset=replace(laboratory.preset, data={"MNIST": data}))


CASE = Case("MNIST", attack={"tuning": False})


def test_another_attack_is_another_run_on_the_same_victim(tiny_laboratory):
    one = tiny_laboratory.run(CASE)
    other = tiny_laboratory.run(replace(CASE, attack={"tuning": False, "gamma": 0.2}))
    assert one != other
    assert one.name.startswith("mnist,loss=mse,untargeted,tuning=false,")
    assert "gamma=0.2" in other.name
    assert tiny_laboratory.victim(CASE) == tiny_laboratory.victim(replace(CASE, goal="targeted"))


def test_another_precision_is_another_run_on_the_same_victim(tiny_laboratory):
    coarse = replace(tiny_laboratory, precision="bf16-gradient")
    assert coarse.victim(CASE) == tiny_laboratory.victim(CASE)
    assert "precision=bf16-gradient" not in coarse.run(CASE).name  # it is no part of the case
    assert coarse.run(CASE) != tiny_laboratory.run(CASE)
    config = json.loads((coarse.run(CASE) / "config.json").read_text())["options"]
    assert (config["engine"], config["precision"]) == ("torch", "bf16-gradient")
    twin = replace(CASE, loss="ce", victim=tiny_laboratory.preset.twin_of("MNIST", 0))
    assert coarse.attack_config(twin) == tiny_laboratory.attack_config(twin)


def test_other_training_is_another_victim_and_other_runs(tiny_laboratory):
    other = changed(tiny_laboratory, updates=41)
    assert other.victim(CASE) != tiny_laboratory.victim(CASE)
    assert other.run(CASE) != tiny_laboratory.run(CASE)


def test_a_victim_that_begins_with_a_twins_weights(tiny_laboratory):
    start = {"loss": "ce", "updates": 5, "learning_rate": 0.01, "time_steps": None}
    data = replace(tiny_laboratory.preset.data["MNIST"], start=start)
    preset = replace(tiny_laboratory.preset, data={"MNIST": data})
    laboratory = replace(tiny_laboratory, preset=preset)
    victim, other = laboratory.victim(CASE), laboratory.victim(replace(CASE, loss="ce"))
    own = laboratory.victim(replace(CASE, loss="ce", victim=preset.twin_of("MNIST", 0)))
    facts, others, owns = (json.loads((folder / "victim.json").read_text()) for folder in (victim, other, own))
    assert victim != tiny_laboratory.victim(CASE)
    assert facts["facts"]["start_sha256"] == others["facts"]["start_sha256"] is not None
    assert (owns["kind"], owns["facts"]["start_sha256"]) == ("relu", None)
    assert owns["weights_sha256"] != facts["facts"]["start_sha256"]
    random = laboratory.victim(replace(CASE, random_start=True))
    assert json.loads((random / "victim.json").read_text())["facts"]["start_sha256"] is None
    later = replace(data, start={**start, "updates": 6})
    assert replace(laboratory, preset=replace(preset, data={"MNIST": later})).victim(CASE) != victim


def test_what_was_measured_on_other_weights_is_not_taken(tiny_laboratory, tmp_path):
    run = tiny_laboratory.run(CASE)
    other = Laboratory(changed(tiny_laboratory, updates=41).preset, tmp_path)
    other.victim(CASE).rename(tmp_path / "trained otherwise")
    other = replace(other, preset=tiny_laboratory.preset)
    (tmp_path / "trained otherwise").rename(tmp_path / "victims" / tiny_laboratory.victim(CASE).name)
    assert other.victim(CASE).name == tiny_laboratory.victim(CASE).name
    assert other.run(CASE).name != run.name


def test_what_only_the_sample_count_tells_apart(tiny_laboratory):
    data = tiny_laboratory.preset.data["MNIST"]
    fewer = replace(tiny_laboratory.preset, data={"MNIST": replace(data, untargeted={"samples": 2, "steps": 4})})
    one, other = tiny_laboratory.run(CASE), replace(tiny_laboratory, preset=fewer).run(CASE)
    assert one != other
    assert (figures(one)["n"], figures(other)["n"]) > (figures(other)["n"], 0)


def test_options_that_are_defaults_do_not_rename(tiny_laboratory):
    said = replace(CASE, attack={"tuning": False, "gamma": 0.05, "sampling": True})
    assert tiny_laboratory.run(said) == tiny_laboratory.run(CASE)
    assert changed(tiny_laboratory, micro_batch=16, seed=0).victim(CASE) == tiny_laboratory.victim(CASE)


def test_a_row_says_how_good_its_victim_is(tiny_laboratory):
    row = tiny_laboratory.row(CASE)
    facts = json.loads((tiny_laboratory.victim(CASE) / "victim.json").read_text())["facts"]
    assert (row["accuracy"], row["in_paper"]) == (facts["accuracy"], "MNIST")


def test_where_things_are_does_not_rename(tiny_laboratory, tmp_path):
    there = replace(tiny_laboratory, root=tmp_path, download=True)
    assert there.victim(CASE) == tiny_laboratory.victim(CASE)
    assert there.run(CASE) == tiny_laboratory.run(CASE)


def test_a_default_that_has_changed_is_refused(tiny_laboratory, tmp_path):
    here = replace(tiny_laboratory, out=tmp_path)
    run = here.run(CASE)
    config = json.loads((run / "config.json").read_text())
    config["options"]["gamma"] = 0.01  # as a version with another default would have said
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpikeflipError, match=r"was made with other defaults \(gamma: 0.01 -> 0.05\): delete it"):
        here.run(CASE)
    config["options"] = {name: value for name, value in config["options"].items() if name != "gamma"}
    (run / "config.json").write_text(json.dumps(config))  # as an older version, which did not have the option
    assert here.run(CASE) == run


def test_transfers_between_runs_with_long_names_are_told_apart(tiny_laboratory):
    long = {"tuning": False, "sampling": True, "flipper": False, "gamma": 0.123456789, "c": 0.0123456789}
    rows = []
    for steps in (1, 4):
        source = replace(CASE, attack={**long, "steps": steps})
        rows.append(tiny_laboratory.row(replace(CASE, measure="transfer", source=source)))
        own = tiny_laboratory.row(source)
        # Shown to the victim that they were made on, over as many encodings.
        assert rows[-1]["n"] == round(own["success"] * own["n"])
    assert rows[0]["n"] != rows[1]["n"]


def test_a_transfer_needs_a_source(tiny_laboratory):
    with pytest.raises(SpikeflipError, match="names no source"):
        tiny_laboratory.row(replace(CASE, measure="transfer"))


def write_run(folder, **summary):
    folder.mkdir()
    rows = {
        "already_wrong": [True, False, False, False, False],
        "success": [False, True, True, False, False],
        "vanished": [0, 2, 0, 1, 0],
        "forwards": [1, 4, 3, 26, 6],
        "backwards": [0, 1, 2, 24, 5],
        "steps": [0, 3, 2, 25, 5],
        "over_budget": [False, False, False, False, True],
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), folder / "rows.parquet")
    rate = {"attack_success_rate": 0.5, "verified_success_rate": 0.25, "clean_accuracy": 0.8}
    intervals = {f"{name}_interval": [0.1, 0.9] for name in rate}
    facts = {
        **rate,
        **intervals,
        "attack_success_rate_n": 4,
        "robust_accuracy": 0.3,
        "draws": 20,
        "vanished_first_step": 3,
        "vanished_first_step_loss": 2,
        "vanished_first_step_output": 1,
        "mse_mean": 0.01,
        "linf_mean": 0.5,
        "steps_mean": 2.5,
        "vanished_mean": 0.75,
    }
    (folder / "summary.json").write_text(json.dumps(facts | summary))
    return folder


def test_figures_of_a_run_written_by_hand(tmp_path):
    found = figures(write_run(tmp_path / "run"))
    assert found == {
        "n": 4,
        "trials": None,
        "success": 0.5,
        "success_interval": [0.1, 0.9],
        "verified": 0.25,
        "verified_interval": [0.1, 0.9],
        "draws": 20,
        "clean": 0.8,
        "accuracy_loss": pytest.approx(0.5),
        "vanished_first_step": 3,
        "vanished_first_step_loss": 2,
        "vanished_first_step_output": 1,
        "vanished_in_500": 375,
        "vanishing_failures": 0.25,
        "other_failures": 0.25,
        "passes": (5 + 5 + 50 + 11) / 4,
        "passes_a_step": (4 + 4 + 49 + 10) / 36,
        "mse": 0.01,
        "linf": 0.5,
        "steps": 2.5,
        "vanished_steps": 0.75,
    }


def test_figures_of_a_run_that_attacked_nothing(tmp_path):
    run = write_run(tmp_path / "run", attack_success_rate=None, clean_accuracy=None, attack_success_rate_n=0)
    table = pyarrow.parquet.read_table(run / "rows.parquet")
    pyarrow.parquet.write_table(table.slice(0, 1), run / "rows.parquet")
    found = figures(run)
    assert found["n"] == 0
    unknown = ("success", "accuracy_loss", "vanished_in_500", "vanishing_failures", "other_failures", "passes")
    assert [found[name] for name in unknown] == [None] * len(unknown)
    assert found["passes_a_step"] is None


def trace(folder, *entries):
    folder.mkdir()
    columns = ("sample", "iteration", "penultimate_spikes")
    table = {name: [entry[at] for entry in entries] for at, name in enumerate(columns)}
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "trace.parquet")
    return folder


def test_an_input_that_is_done_keeps_its_last_count(tmp_path):
    # In no order; sample 7 ends after its first iteration, sample 3 after its third.
    run = trace(tmp_path / "run", (3, 1, 6.0), (7, 0, 10.0), (3, 0, 4.0), (3, 2, 20.0))
    assert spikes_by_iteration(run) == [7.0, 8.0, 15.0]
    assert traced(run) == {"penultimate_spikes": [7.0, 8.0, 15.0], "first_spikes": 7.0, "last_spikes": 15.0}


def test_a_trace_of_nothing(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    types = {"sample": pyarrow.int64(), "iteration": pyarrow.int64(), "penultimate_spikes": pyarrow.float64()}
    empty = pyarrow.table({name: pyarrow.array([], kind) for name, kind in types.items()})
    pyarrow.parquet.write_table(empty, run / "trace.parquet")
    assert traced(run) == {"penultimate_spikes": []}
