"""Experiments from end to end: what is written, what is found again, and what an interruption leaves."""

import json
import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from spikeflip import SpikeflipError
from spikeflip.data import load_images
from spikeflip.experiments import EXPERIMENTS, laboratory, presets, reproduce, reproduction
from spikeflip.experiments.laboratory import Laboratory
from spikeflip.experiments.presets import PRESETS
from spikeflip.experiments.rows import COLUMNS
from spikeflip.report.tables import escape_markdown
from spikeflip.runs.lock import InUseError, locked

STATES = {"held", "held in part", "did not hold", "not tested"}


def results_of(out):
    """The bytes of the result files, but for the machine's part."""
    found = {path.stem: json.loads(path.read_text()) for path in (out / "results").glob("*.json")}
    return {name: json.dumps(result | {"manifest": None}) for name, result in found.items()}


@pytest.fixture
def idle(monkeypatch):
    """Nothing may be trained, attacked or measured."""

    def fail(*_given, **_options):
        raise AssertionError("this was done before")

    for name in ("run_training", "run_attack", "first_gradients", "transfer_run"):
        monkeypatch.setattr(laboratory, name, fail)


def check_complete(out, results):
    for result in results:
        experiment = EXPERIMENTS[result["experiment"]]
        assert json.loads((out / "results" / f"{experiment.name}.json").read_text()) == json.loads(json.dumps(result))
        assert len(result["findings"]) == len(experiment.findings)
        assert {finding["state"] for finding in result["findings"]} <= STATES
        assert result["rows"]
        for row in result["rows"]:
            assert set(experiment.columns) <= set(COLUMNS) | set(row), experiment.name
            if "success" in experiment.columns:
                assert "verified" in experiment.columns  # never one without the other
                assert row["success"] is None or 0 <= row["success_interval"][0] <= row["success"]
            assert (out / "victims" / row["victim"] / "victim.json").is_file()
            assert row["victim"] in result["victims"]
        labels = [
            tuple(str(value) for value in row.values() if isinstance(value, str | int | float))
            for row in result["rows"]
        ]
        assert len(set(labels)) == len(labels)
    page = (out / "reproduction.md").read_text()
    for result in results:
        assert f"(smoke-{result['experiment']})=\n## {result['experiment']}: " in page
        for finding in result["findings"]:
            assert page.count(f"**{finding['state']}** | {escape_markdown(finding['text'])} |") == 1
            assert page.count(f"**{finding['state']}**: {escape_markdown(finding['text'])} ") == 1
    for figure in (out / "reproduction").iterdir():
        assert f"](reproduction/{figure.name})" in page
        assert figure.read_text().startswith("<svg")


def test_results_page_and_figures_are_written(smoke):
    out, results = smoke
    assert [result["experiment"] for result in results] == ["table-3", "table-7", "figure-5", "figure-18"]
    check_complete(out, results)
    assert {path.name for path in (out / "reproduction").iterdir()} == {"figure-5-1.svg", "figure-18-1.svg"}
    assert [len(result["rows"]) for result in results] == [4, 8, 1, 2]


def test_a_second_call_finds_everything_again(smoke, idle):
    out, _ = smoke
    before = results_of(out)
    page = (out / "reproduction.md").read_bytes()
    again = reproduce(["table-7", "figure-18"], out, preset="smoke", data=["MNIST", "N-MNIST"])
    assert [result["experiment"] for result in again] == ["table-7", "figure-18"]
    assert results_of(out) == before
    assert (out / "reproduction.md").read_bytes() == page  # results of other calls stay on it


def test_experiments_share_runs(smoke):
    _, results = smoke
    runs = {result["experiment"]: {row.get("run") for row in result["rows"]} for result in results}
    assert runs["table-3"] < runs["table-7"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_experiments(tmp_path, monkeypatch):
    out = tmp_path / "out"
    results = reproduce(["all"], out, preset="smoke")
    assert [result["experiment"] for result in results] == list(EXPERIMENTS)
    check_complete(out, results)
    for name in ("run_training", "run_attack"):
        monkeypatch.setattr(laboratory, name, None)
    before = results_of(out)
    assert reproduce(["all"], out, preset="smoke") == results
    assert results_of(out) == before


# --- interrupted, and shared ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tiny_preset, tmp_path_factory):
    """The folder of a tiny experiment that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "smoke", tiny_preset)
        reproduce(["figure-12"], out, preset="smoke")
    return out


def stop_at(stage, time_around):
    """As Ctrl-C, the so-manieth time that a stage reports."""
    seen = []

    def progress(name, _done, _every):
        seen.append(name)
        if sum(entry.startswith(stage) for entry in seen) == time_around:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(("stage", "time_around"), [("train", 7), ("attack", 1), ("judge", 3), ("rows", 1)])
def test_an_interrupted_experiment_goes_on(stage, time_around, tiny, undisturbed, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        reproduce(["figure-12"], out, preset="smoke", progress=stop_at(stage, time_around))
    assert not (out / "results").exists()
    reproduce(["figure-12"], out, preset="smoke")
    assert results_of(out) == results_of(undisturbed)


def test_what_another_process_is_at_is_waited_for(tiny, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "_PAUSE", 0.05)
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    whole = json.loads((out / "results" / "figure-12.json").read_text())
    taken = out / "runs" / whole["rows"][0]["run"]
    shutil.rmtree(taken)
    held, rows, released = threading.Event(), [], []

    def other_process():
        with locked(taken):
            held.set()
            while len(rows) < len(whole["rows"]) - 1:  # all that is free is done meanwhile
                time.sleep(0.01)
            time.sleep(0.2)
            released.append(time.monotonic())

    thread = threading.Thread(target=other_process)
    thread.start()
    held.wait()
    again = reproduce(
        ["figure-12"],
        out,
        preset="smoke",
        progress=lambda stage, *_: rows.append(time.monotonic()) if stage == "rows" else None,
    )
    thread.join()
    assert again == [whole]
    assert rows[-2] < released[0] < rows[-1]


def test_a_victim_that_another_process_trains_is_in_use(tiny_laboratory, tmp_path):
    """Which is waited for, as a run is."""
    case = next(iter(EXPERIMENTS["table-3"].cases(tiny_laboratory.preset)))
    trained, here = tiny_laboratory.victim(case), Laboratory(tiny_laboratory.preset, tmp_path)
    with locked(here.out / "victims" / trained.name), pytest.raises(InUseError):
        here.victim(case)


def test_results_are_written_by_one_process_at_a_time(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "_PAUSE", 0.01)
    held, done = threading.Event(), []

    def other_process():
        with locked(tmp_path / "results"):
            held.set()
            time.sleep(0.3)
            done.append(not (tmp_path / "results" / "figure-12.json").exists())

    thread = threading.Thread(target=other_process)
    thread.start()
    held.wait()
    with reproduction._alone(tmp_path / "results"):
        assert done == [True]
    thread.join()


# --- what a user can cause --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, r"no experiment is named: give all, or some of table-1, table-3, .*figure-18"),
        (
            ["table-9"],
            {},
            r"there is no experiment 'table-9': did you mean table-8\? choose from all, table-1",
        ),
        (["table-3"], {"preset": "huge"}, r"--preset is 'huge': choose from paper, cpu, smoke"),
        (
            ["table-3"],
            {"preset": "smoke", "data": ["mnist"]},
            r"--data 'mnist' is none of the smoke preset's: did you mean MNIST\? choose from MNIST",
        ),
        (["table-3"], {"preset": "smoke", "width": 0.0}, r"--width is 0.0: give a positive factor"),
        (["table-3"], {"preset": "smoke", "width": float("nan")}, r"--width is nan"),
        (
            ["table-3"],
            {"preset": "cpu"},
            r'^table-3 in preset cpu: files are missing of "CIFAR10", "MNIST", "MNIST, full width", "N-MNIST"; give '
            r"their folder with --root DIR, --download fetches some, or take --preset smoke$",
        ),
        (
            ["all"],
            {"preset": "cpu", "data": ["N-MNIST"]},
            r'^24 experiments in preset cpu: files are missing of "N-MNIST"',
        ),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(names, options, message, tmp_path):
    with pytest.raises(SpikeflipError, match=message) as caught:
        reproduce(names, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_data_say_what_can_be_done_without(tmp_path, monkeypatch):
    def only_mnist(name, *_given, **_options):
        if name != "mnist":
            raise SpikeflipError(f"no {name} there")
        return SimpleNamespace(labels=torch.arange(10).repeat(50))

    monkeypatch.setattr(reproduction, "load_images", only_mnist)
    monkeypatch.setattr(reproduction, "load_event_set", only_mnist)
    with pytest.raises(SpikeflipError) as caught:
        reproduce(["table-7"], tmp_path / "out", preset="cpu", root=tmp_path)
    assert str(caught.value) == (
        'table-7 in preset cpu: files are missing of "CIFAR10", "N-MNIST" (no cifar10 there; no nmnist there), or '
        'leave them out: --data "MNIST" "MNIST, full width"'
    )


def test_one_reason_is_said_once(tmp_path):
    with pytest.raises(SpikeflipError) as caught:
        reproduce(["table-3"], tmp_path / "out", preset="cpu", root=tmp_path, data=["MNIST", "MNIST, full width"])
    assert str(caught.value).count("t10k-images") == 1


def with_inputs(preset, **inputs):
    return replace(preset, data={"MNIST": replace(preset.data["MNIST"], **inputs)})


@pytest.mark.parametrize(
    ("inputs", "needed"), [({"untargeted": {"per_class": 60}}, 60), ({"targeted": {"per_class": 1000}}, "1,000")]
)
def test_too_few_test_inputs_are_said_before_a_training(inputs, needed, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "smoke", with_inputs(tiny, **inputs))
    fewest = int(load_images("digits", "test").labels.bincount().min())
    with pytest.raises(SpikeflipError) as caught:
        reproduce(["table-7"], tmp_path / "out", preset="smoke")
    assert str(caught.value) == (
        f'table-7 in preset smoke: there are too few inputs ("MNIST" has {fewest} of a class for test and needs '
        f"{needed}): add some, or take --preset smoke"
    )
    assert not (tmp_path / "out").exists()


def test_inputs_are_looked_for_where_they_are_attacked(tmp_path, monkeypatch):
    """Gestures are attacked on the recordings that were trained on; those of the test are not asked for."""
    labels = {"train": torch.arange(11), "test": torch.empty(0)}
    monkeypatch.setattr(
        reproduction, "load_event_set", lambda _source, split, **_places: SimpleNamespace(labels=labels[split])
    )
    monkeypatch.setattr(reproduction, "_result", lambda experiment, *_given: {"experiment": experiment.name})
    monkeypatch.setattr(reproduction, "write_page", lambda *_given: None)
    assert reproduce(["figure-17"], tmp_path / "out", data=["Gesture-DVS"]) == [{"experiment": "figure-17"}]


def test_inputs_that_are_not_chosen_by_class_need_not_be_many_of_each(tiny, tmp_path, monkeypatch):
    """As those of table-1, whatever the preset says of others."""
    monkeypatch.setitem(presets.PRESETS, "smoke", with_inputs(tiny, untargeted={"per_class": 60}))
    monkeypatch.setattr(reproduction, "_result", lambda experiment, *_given: {"experiment": experiment.name})
    monkeypatch.setattr(reproduction, "write_page", lambda *_given: None)
    assert reproduce(["table-1"], tmp_path / "out", preset="smoke") == [{"experiment": "table-1"}]


def test_recordings_for_training_alone_are_said_before_a_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "smoke", with_inputs(tiny, kind="events", source={"data": "nmnist"}))
    for part in ("Train", "Test"):
        with pytest.raises(SpikeflipError, match=r'files are missing of "MNIST" .*(train|test) recordings of N-MNIST'):
            reproduce(["table-7"], tmp_path / "out", preset="smoke", root=tmp_path)
        (tmp_path / "NMNIST" / part / "0").mkdir(parents=True)
        (tmp_path / "NMNIST" / part / "0" / "1.bin").write_bytes(bytes(10))
    few = with_inputs(tiny, kind="events", source={"data": "nmnist"}, targeted={"per_class": 2})
    monkeypatch.setitem(presets.PRESETS, "smoke", few)
    with pytest.raises(SpikeflipError, match=r'"MNIST" has 1 of a class for test and needs 2'):
        reproduce(["table-7"], tmp_path / "out", preset="smoke", root=tmp_path)
    assert not (tmp_path / "out").exists()


def test_an_experiment_that_no_data_set_takes_part_in(tiny, tmp_path):
    (result,) = reproduce(["figure-5"], tmp_path / "out", preset="smoke")
    assert (result["rows"], result["findings"][0]["state"]) == ([], "not tested")
    assert "**not tested**" in (tmp_path / "out" / "reproduction.md").read_text()


def test_width_is_of_all_victims_but_those_that_name_theirs():
    narrow = PRESETS["cpu"].at_width(0.125)
    assert narrow.data["MNIST"].training["width"] == narrow.data["N-MNIST"].training["width"] == 0.125
    assert narrow.data["MNIST, full width"].training["width"] == 1.0
