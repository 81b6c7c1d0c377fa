"""What a run knows of its own numbers: in the summary, in lists of runs, on another victim, when verified."""

import json
import re
import shutil
from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest
import torch

from spikeflip import LIF, Budget, Rectangular, SpikeflipError, SpikingNetwork
from spikeflip.notices import Notice
from spikeflip.report import tables
from spikeflip.runs import AttackConfig, compare_runs, judge_files, list_runs, run_attack, transfer_run, verify_run
from spikeflip.runs import plan as planning
from spikeflip.runs.circumstances import circumstances
from spikeflip.runs.merge import merge_tables
from spikeflip.runs.plan import make_plan, open_task
from spikeflip.snn.checkpoint import load_checkpoint, save_checkpoint


def save_victim(folder, threshold=0.3, **facts):
    """A victim of the digits with random weights, which no training made good."""
    network = SpikingNetwork("4C3-AP4-10FC", (1, 8, 8), time_steps=4, neuron=LIF(threshold, 0.25), seed=3)
    save_checkpoint(network, folder, {"loss": "mse", **facts})
    return folder


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    return save_victim(tmp_path_factory.mktemp("victims") / "silent", threshold=1e3)


@pytest.fixture(scope="module")
def poor(tmp_path_factory):
    return save_victim(tmp_path_factory.mktemp("victims") / "poor")


@pytest.fixture(scope="module")
def attacked(small_recordings, tmp_path_factory):
    """Recordings of 40 ms on a victim that sees 30 ms, attacked with success, given without labels."""
    victim, data = small_recordings
    folder = tmp_path_factory.mktemp("runs")
    (folder / "in").mkdir()
    for number, file in enumerate(sorted(path for path in data.rglob("*") if path.is_file())):
        shutil.copy(file, folder / "in" / f"{number}{file.suffix}")
    run_attack(AttackConfig(victim=victim, input=folder / "in", gamma=0.2, steps=8), folder / "run")
    return victim, folder / "in", folder / "run"


def codes(summary):
    return [notice["code"] for notice in summary["notices"]]


def read(run, name="summary"):
    return json.loads((run / f"{name}.json").read_text())


def write(run, **changed):
    (run / "summary.json").write_text(json.dumps(read(run) | changed))


# ---------------------------------------------------------------- the summary


def test_a_silent_victim_is_said_in_the_summary_and_on_the_page(silent, tmp_path):
    summary = run_attack(AttackConfig(victim=silent, samples=5), tmp_path / "run")
    assert codes(summary) == ["silent-victim"]
    assert read(tmp_path / "run") == summary
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<strong>The victim is silent.</strong> None of 5 originals makes an output neuron fire" in page
    assert "no original is classified correctly, so there was nothing to fool" in " ".join(page.split())


def test_what_training_and_loading_found_comes_first(tmp_path, monkeypatch):
    victim = save_victim(tmp_path / "victim", learned=False)
    found = Notice("one-class", "all inputs are of class 3: accuracy says nothing of the others", 1)
    load = planning.load_inputs
    monkeypatch.setattr(planning, "load_inputs", lambda *a, **k: replace(load(*a, **k), notices=(found,)))
    summary = run_attack(AttackConfig(victim=victim, samples=60, draws=2, steps=1), tmp_path / "run", page=False)
    assert codes(summary)[:3] == ["one-class", "victim-did-not-learn", "victim-at-chance"]
    assert summary["notices"][0] == found.as_json()
    assert codes(verify_run(tmp_path / "run", victim=victim, samples=1)) == codes(summary)


@pytest.mark.parametrize("learned", [True, None])
def test_a_victim_that_learned_or_does_not_say_is_not_blamed(learned, tmp_path):
    victim = save_victim(tmp_path / "victim", **({} if learned is None else {"learned": learned}))
    assert circumstances(make_plan(open_task(AttackConfig(victim=victim, samples=1)))).learned


def known(victim, **options):
    return circumstances(make_plan(open_task(AttackConfig(victim=victim, **options))))


def test_the_confidence_of_a_run_is_known_to_its_notices(poor):
    assert known(poor, samples=1, confidence=0.8).confidence == 0.8
    assert known(poor, samples=1).confidence is None


def test_fewer_inputs_than_were_asked_for_are_said(poor):
    (notice,) = [one for one in known(poor, samples=99_999).data if one.code == "fewer-inputs"]
    assert notice.text == f"there are {notice.figure:,} inputs, fewer than the 99,999 asked for"
    assert notice.figure == 355
    for options in ({"samples": 355}, {"samples": 3}, {}):
        assert "fewer-inputs" not in [one.code for one in known(poor, **options).data]


def test_another_sensor_than_the_trainings_is_named(attacked):
    victim, recordings, _ = attacked
    said = "the sensor has 16 × 12 pixels, and that of the victim's training 8 × 8: events are scaled to its cells"
    for sensor, expected in (("16x12", [said]), ("8x8", []), (None, [])):
        of_run = known(victim, input=recordings, sensor=sensor).data
        of_file = judge_files(victim, [recordings], sensor=sensor)[0]["notices"]
        assert [one.text for one in of_run if one.code == "other-sensor"] == expected
        assert [one["text"] for one in of_file if one["code"] == "other-sensor"] == expected


def test_budget_choice_and_classes_are_those_of_the_run(poor, small_victim):
    bounded = known(poor, samples=1, epsilon=0.2, metric="l2")
    assert (bounded.budget, bounded.classes, bounded.chosen_right) == (Budget(0.2, "l2"), 10, False)
    assert known(poor, samples=1).budget is None
    assert known(poor, samples=1, attack="conversion").budget == Budget(8 / 255, "linf")
    assert known(poor, samples=1, attack="random").budget is None
    assert known(small_victim, per_class=1).chosen_right


@pytest.mark.parametrize(
    ("options", "loss", "output"),
    [
        ({}, ("give --loss ce",), ("give another --threshold", "give --surrogate atan")),
        (
            {"threshold": 6, "flipper": False},
            ("leave out --no-flipper", "give --loss ce"),
            ("leave out --no-flipper", "lower --threshold from 6", "give --surrogate atan"),
        ),
        ({"tuning": False, "surrogate": "atan"}, ("give --loss ce",), ("leave out --no-tuning",)),
        ({"loss": "ce", "surrogate": "triangular"}, ("give another --attack",), None),
        ({"attack": "bim"}, ("give --loss ce",), ("give --surrogate atan",)),
        (
            {"attack": "bim", "surrogate": "sigmoid", "loss": "ce"},
            ("give another --attack",),
            ("give another --attack",),
        ),
        ({"attack": "conversion"}, ("give another --attack",), ("give another --attack",)),
    ],
)
def test_the_advice_names_options_that_the_attack_has_and_that_were_not_taken(options, loss, output, poor):
    remedies = known(poor, samples=1, **options).remedies
    assert remedies[1] == loss
    assert remedies[2] == remedies[3] == (output or ("give another --threshold", "give --surrogate atan"))


def test_the_advice_for_a_failed_attack_helps(tmp_path):
    neuron = LIF(0.3, 0.3, "hard", Rectangular(0.5))
    network = SpikingNetwork("4C3-AP4-16FC-10FC", (2, 16, 16), time_steps=6, neuron=neuron, seed=3)
    with torch.no_grad():
        for weight in network.weights:
            weight.mul_(1.5)
    save_checkpoint(network, tmp_path / "victim", {"loss": "mse"})
    options = {"victim": tmp_path / "victim", "simulate_events": True, "samples": 40}
    lost = run_attack(AttackConfig(**options, threshold=6, flipper=False), tmp_path / "lost", page=False)
    assert lost["attack_success_rate"] == 0
    assert lost["attack_success_rate_n"] > 0
    assert codes(lost)[-2:] == ["gradients-vanished", "nothing-moved"]
    text = lost["notices"][-2]["text"]
    advice = text.rpartition("; ")[2]
    assert advice == "leave out --no-flipper, lower --threshold from 6 or give --surrogate atan"
    for number, cure in enumerate(({}, {"threshold": 1.0}, {"surrogate": "atan", "threshold": 6})):
        settings = {"flipper": number == 0, "threshold": 6} | cure
        found = run_attack(AttackConfig(**options, **settings), tmp_path / str(number), page=False)
        assert found["attack_success_rate"] > 0
        assert "gradients-vanished" not in codes(found)


def test_a_budget_that_nothing_reached_is_said(small_victim, tmp_path):
    options = {"victim": small_victim, "samples": 6, "draws": 2, "target": "none"}
    wide = run_attack(AttackConfig(**options, epsilon=0.9), tmp_path / "wide", page=False)
    rows = pyarrow.parquet.read_table(tmp_path / "wide" / "rows.parquet").to_pydict()
    (found,) = [notice for notice in wide["notices"] if notice["code"] == "budget-not-reached"]
    assert found["figure"] == pytest.approx(max(rows["mse"]) / 0.9)
    bound = run_attack(AttackConfig(**options, epsilon=max(rows["mse"])), tmp_path / "bound", page=False)
    assert "budget-not-reached" not in codes(bound)


# ---------------------------------------------------------------- recordings


def test_labels_that_nobody_gave_and_events_that_the_victim_did_not_see(attacked):
    _, _, run = attacked
    summary, rows = read(run), pyarrow.parquet.read_table(run / "rows.parquet").to_pydict()
    assert summary["attack_success_rate"] > 0
    assert codes(summary)[0] == "own-labels"
    assert codes(summary)[-1] == "events-unseen"
    assert summary["notices"][0]["text"].startswith("all labels are the victim's own answers")
    total = dict.fromkeys(("events", "events_outside", "events_added", "events_removed"), 0)
    for row, won in enumerate(rows["success"]):
        for name in total:
            total[name] += rows[name][row] * won
    seen, changed = total["events"] - total["events_outside"], total["events_added"] + total["events_removed"]
    assert summary["events_seen_mean"] == pytest.approx(seen / sum(rows["success"]))
    assert summary["events_changed_of_all"] == pytest.approx(changed / total["events"])
    assert summary["events_changed_of_seen"] == pytest.approx(changed / seen)
    page = " ".join((run / "report.html").read_text().split())
    assert f"{100 * changed / total['events']:.1f}&nbsp;%</data>" in page
    assert f"{100 * changed / seen:.1f}&nbsp;%</data>" in page
    shown = {(int(every), int(seen)) for every, seen in re.findall(r"(\d+) events, (\d+) seen, ", page)}
    pairs = zip(rows["events"], rows["events_outside"], strict=True)
    assert shown
    assert shown <= {(every, every - outside) for every, outside in pairs}


def test_labels_are_counted_over_the_rows(small_recordings, tmp_path):
    victim, data = small_recordings
    shutil.copytree(data / "left", tmp_path / "in" / "left")
    shutil.copy(data / "right" / "0.npz", tmp_path / "in" / "alone.npz")
    found = []
    for target in ("all", "0", "1"):  # the victim calls the one without a label right, class 1
        plan = make_plan(open_task(AttackConfig(victim=victim, input=tmp_path / "in", target=target)))
        found.append((len(plan.rows), circumstances(plan).own_labels))
    assert found == [(7, 1), (1, 1), (6, 0)]
    told = make_plan(open_task(AttackConfig(victim=victim, input=tmp_path / "in" / "alone.npz", label=1)))
    assert circumstances(told).own_labels == 0


def test_judging_files_tells_of_a_victim_that_is_silent_or_never_learned(small_recordings, tmp_path):
    victim, data = small_recordings
    file = next(data.rglob("*.npz"))
    (answer,) = judge_files(victim, [file])
    assert answer["notices"] == []
    found = load_checkpoint(victim)
    with torch.no_grad():
        found.network.weights[-1].zero_()
    save_checkpoint(found.network, tmp_path / "dead", found.facts | {"learned": False})
    (answer,) = judge_files(tmp_path / "dead", [file])
    assert codes(answer) == ["victim-did-not-learn", "silent-victim"]
    assert answer["prediction"] is None


# ---------------------------------------------------------------- on another victim, and again


def test_another_victim_is_told_whose_the_labels_are(attacked, tmp_path):
    victim, _, run = attacked
    found = load_checkpoint(victim)
    save_checkpoint(found.network, tmp_path / "other", found.facts | {"learned": False})
    assert codes(transfer_run(run, tmp_path / "other")) == ["labels-of-another-victim", "victim-did-not-learn"]
    with torch.no_grad():
        found.network.weights[-1].zero_()
    save_checkpoint(found.network, tmp_path / "dead", found.facts)
    assert codes(transfer_run(run, tmp_path / "dead")) == ["labels-of-another-victim", "silent-victim"]


def test_verifying_makes_the_notices_again_whatever_the_run_says(attacked, tmp_path):
    victim, given, run = attacked
    shutil.copytree(run, tmp_path / "run")
    write(tmp_path / "run", notices=[])
    found = verify_run(tmp_path / "run", victim=victim, input=given, samples=2)
    assert found["differences"] == []
    assert found["notices"] == read(run)["notices"]


def without_silence(path):
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.drop_columns(["silent"]), path)


def test_a_run_of_an_earlier_version_is_listed_shown_and_verified(attacked, tmp_path):
    victim, given, run = attacked
    shutil.copytree(run, tmp_path / "run")
    without_silence(tmp_path / "run" / "rows.parquet")
    old = {name: value for name, value in read(run).items() if name != "notices" and not name.startswith("events_")}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(old))
    assert verify_run(tmp_path / "run", victim=victim, input=given, samples=3)["differences"] == []
    (row,) = list_runs([tmp_path / "run"])
    assert row["notices"] == []
    (tmp_path / "run" / "report.html").unlink()
    assert run_attack(AttackConfig(victim=victim, input=given, gamma=0.2, steps=8), tmp_path / "run") == old
    assert (tmp_path / "run" / "report.html").exists()


def test_a_changed_silence_is_a_difference_like_any_other(attacked, tmp_path):
    victim, given, run = attacked
    shutil.copytree(run, tmp_path / "run")
    table = pyarrow.parquet.read_table(run / "rows.parquet")
    other = [not value for value in table["silent"].to_pylist()]
    changed = table.set_column(table.schema.get_field_index("silent"), "silent", pyarrow.array(other))
    pyarrow.parquet.write_table(changed, tmp_path / "run" / "rows.parquet")
    found = verify_run(tmp_path / "run", victim=victim, input=given)["differences"]
    assert {difference["column"] for difference in found} == {"silent"}
    assert len(found) == len(other)


@pytest.mark.parametrize(("old", "kept"), [(None, True), (0, False), (1, False)])
def test_a_run_that_an_earlier_version_began_goes_on_without_the_new_column(old, kept, tmp_path):
    parts = {}
    for number in range(2):
        rows = {"sample": [number], "silent": [number == 0], "mse": [0.5]}
        pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / f"{number}.parquet")
        parts[tmp_path / f"{number}.parquet"] = 1
    if old is not None:
        without_silence(tmp_path / f"{old}.parquet")
    merge_tables(parts, tmp_path / "all.parquet")
    merged = pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pydict()
    assert merged == {"sample": [0, 1], "mse": [0.5, 0.5]} | ({"silent": [True, False]} if kept else {})


# ---------------------------------------------------------------- lists of runs


@pytest.fixture
def two_seeds(silent, poor, tmp_path):
    """A silent run and one at chance, listed as of two seeds of one victim."""
    for seed, victim in enumerate((silent, poor)):
        run_attack(
            AttackConfig(victim=victim, samples=60, draws=1, steps=1, seed=seed), tmp_path / str(seed), page=False
        )
    assert codes(read(tmp_path / "0")) == ["silent-victim"]
    assert codes(read(tmp_path / "1"))[0] == "victim-at-chance"
    config = read(tmp_path / "1", "config")
    (tmp_path / "1" / "config.json").write_text(
        json.dumps(config | {"victim": read(tmp_path / "0", "config")["victim"]})
    )
    write(tmp_path / "1", notices=read(tmp_path / "1")["notices"][:1] + read(tmp_path / "0")["notices"])
    return tmp_path


def test_lists_have_the_codes_and_text_has_words(two_seeds):
    rows = list_runs([two_seeds])
    assert [row["notices"] for row in rows] == [["silent-victim"], ["victim-at-chance", "silent-victim"]]
    (pooled,) = list_runs([two_seeds], merge=["seed"])
    assert pooled["notices"] == ["silent-victim", "victim-at-chance"]
    assert [tables.hints(row) for row in rows] == ["silent victim", "victim at chance, silent victim"]
    header, *lines = tables.to_csv(rows).splitlines()
    assert header.split(",")[-2:] == ["notices", "note"]
    assert [line.split(",")[-2] for line in lines] == ["silent-victim", "victim-at-chance; silent-victim"]
    markdown = tables.to_markdown(rows).splitlines()
    assert markdown[4:] == ["", f"- {rows[0]['name']}: silent victim".replace("_", r"\_"), markdown[6]]
    assert markdown[6].endswith(": victim at chance, silent victim")


def test_lists_without_notices_are_tables_alone(attacked):
    _, _, run = attacked
    (row,) = list_runs([run])
    assert tables.to_markdown([row | {"notices": []}]).count("\n") == 3
    assert tables.hints(row | {"notices": None}) == ""


def test_two_runs_are_compared_with_their_notices(two_seeds):
    found = compare_runs(two_seeds / "1", two_seeds / "0")
    assert found["notices"] == [["victim-at-chance", "silent-victim"], ["silent-victim"]]


def test_notices_that_no_run_writes_are_damage(two_seeds):
    write(two_seeds / "0", notices=[{"code": "a"}])
    states = {row["name"].rpartition("/")[2]: row["state"] for row in list_runs([two_seeds])}
    assert states == {"0": "damaged", "1": "finished"}
    with pytest.raises(SpikeflipError, match="notice 0 is not a code, a text and a figure"):
        compare_runs(two_seeds / "0", two_seeds / "1")
