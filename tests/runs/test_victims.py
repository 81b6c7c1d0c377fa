"""Runs on victims that ``train`` did not write: code of one's own, NIR graphs, defended ones; and what guards them."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from own_code import CODE
from safetensors.torch import load_file
from torch import nn

import spikeflip
from spikeflip import SpikeflipError
from spikeflip.report.loading import read_facts
from spikeflip.runs import AttackConfig, VictimConfig, judge_files, run_attack, run_sweep, transfer_run, verify_run
from spikeflip.runs.victim import weights_sha256

OWN = {"input_shape": "6,1,8,8", "layout": "steps"}
SMALL = {"samples": 4, "steps": 3, "draws": 3, "shard_size": 2}


@pytest.fixture(autouse=True)
def code(tmp_path, monkeypatch):
    """A module of the current folder, for as long as the test runs."""
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("mine", None)


def config(victim="mine:snn", **options):
    return AttackConfig(victim=victim, **(OWN | SMALL | options))


def test_a_model_of_one_s_own_is_run_as_in_python(tmp_path):
    summary = run_attack(config(), tmp_path / "run")
    import mine

    victim = mine.wrapped()
    digits = spikeflip.load_images("digits", "test")
    images, labels = digits.images[:4], digits.labels[:4]
    result = spikeflip.scg(victim, images, labels, steps=3, threshold=1.0, samples=torch.arange(4) * 11)
    saved = load_file(tmp_path / "run" / "adversarials.safetensors")
    assert torch.equal(saved["adversarials"], result.adversarials)
    judged = spikeflip.judge(
        victim, images, result.adversarials, labels, None, result, draws=3, samples=torch.arange(4) * 11
    )
    assert summary["clean_accuracy"] == judged.summary()["clean_accuracy"]
    assert summary["verified_success_rate"] == judged.summary()["verified_success_rate"]


def test_what_a_run_says_of_such_a_victim(tmp_path):
    run_attack(config(), tmp_path / "run")
    said = read_facts(tmp_path / "run", "config")
    import mine

    assert said["victim"]["source"] == "mine:snn"
    assert said["victim"]["weights_sha256"] == said["identity"]["victim's weights"] == weights_sha256(mine.snn())
    assert said["victim"]["layout"] == "steps"
    assert "victim" not in said["options"]
    page = (tmp_path / "run" / "report.html").read_text()
    for words in (
        "mine:snn",
        "Comes from",
        "the user&#39;s own, not part of a checksum",
        said["victim"]["weights_sha256"],
    ):
        assert words in page, words


def test_weights_that_cannot_be_seen_are_said_not_to_be_known(tmp_path):
    summary = run_attack(AttackConfig(victim="mine:unseen", **SMALL), tmp_path / "run")
    assert read_facts(tmp_path / "run", "config")["victim"]["weights_sha256"] == "not known"
    assert summary["notices"][0]["code"] == "weights-not-known"
    assert "not known" in (tmp_path / "run" / "report.html").read_text()
    assert verify_run(tmp_path / "run", victim="mine:unseen")["differences"] == []


def test_a_run_goes_on_with_the_same_weights_alone(tmp_path, monkeypatch):
    run_attack(config(), tmp_path / "run")
    before = (tmp_path / "run" / "rows.parquet").read_bytes()
    assert run_attack(config(), tmp_path / "run")["n"] == 4
    assert (tmp_path / "run" / "rows.parquet").read_bytes() == before
    import mine

    monkeypatch.setattr(mine, "SEED", 1)
    with pytest.raises(SpikeflipError, match=r"holds a run with other options .victim's weights: "):
        run_attack(config(), tmp_path / "run")
    with pytest.raises(SpikeflipError, match=r"holds a run with other options .*victim's description: "):
        run_attack(config(penultimate="2"), tmp_path / "run")


def test_verify_takes_the_layout_from_the_run_and_code_from_the_user_alone(tmp_path):
    run_attack(config(defence="mine:Median"), tmp_path / "run")
    with pytest.raises(SpikeflipError, match=r"other defences \(mine:Median\): give those with --defence"):
        verify_run(tmp_path / "run", victim="mine:snn")
    named = VictimConfig(victim="mine:snn", defence=["mine:Median"])
    found = verify_run(tmp_path / "run", victim=named)
    assert (found["checked"], found["differences"]) == ([0, 1, 2, 3], [])
    with pytest.raises(SpikeflipError, match="attacked another victim"):
        verify_run(tmp_path / "run", victim=VictimConfig(victim="mine:other", defence=["mine:Median"]))


def test_a_defended_victim_is_attacked_and_judged_behind_its_defence(tmp_path):
    run_attack(config(defence="mine:Median"), tmp_path / "run")
    import mine

    defended = mine.Median(mine.wrapped())
    saved = load_file(tmp_path / "run" / "adversarials.safetensors")
    digits = spikeflip.load_images("digits", "test")
    result = spikeflip.scg(
        defended, digits.images[:4], digits.labels[:4], steps=3, threshold=1.0, samples=torch.arange(4) * 11
    )
    assert torch.equal(saved["adversarials"], result.adversarials)
    assert read_facts(tmp_path / "run", "config")["victim"]["defences"] == ["mine:Median"]
    run_attack(config(), tmp_path / "bare")
    assert not torch.equal(
        load_file(tmp_path / "bare" / "adversarials.safetensors")["adversarials"], result.adversarials
    )


def test_a_victim_of_train_may_stand_behind_a_defence(small_victim, tmp_path):
    options = {"samples": 3, "steps": 2, "draws": 2, "micro_batch": 2}
    run_attack(AttackConfig(victim=small_victim, defence="mine:Median", **options), tmp_path / "event")
    run_attack(AttackConfig(victim=small_victim, defence="mine:Median", engine="torch", **options), tmp_path / "torch")
    said = read_facts(tmp_path / "event", "config")
    assert said["victim"]["defences"] == ["mine:Median"]
    bare = run_attack(AttackConfig(victim=small_victim, **options), tmp_path / "bare")
    assert bare["n"] == 3
    assert said["identity"] != read_facts(tmp_path / "bare", "config")["identity"]


def test_transfer_and_sweep_take_code(tmp_path):
    run_attack(config(), tmp_path / "run")
    found = transfer_run(tmp_path / "run", VictimConfig(victim="mine:other", **OWN), successes=False, draws=2)
    assert found["n"] == 4
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(
        'base.victim = "mine:snn"\nbase.input-shape = "6,1,8,8"\nbase.layout = "steps"\nbase.samples = 2\n'
        'base.steps = 2\nbase.draws = 2\ngrid.defence = [[], ["mine:Median"]]\n'
    )
    with pytest.raises(SpikeflipError, match="names the code mine:snn: add --run-code where it may be run"):
        run_sweep(sweep, tmp_path / "points")
    assert not (tmp_path / "points").exists()
    rows = run_sweep(sweep, tmp_path / "points", run_code=True)
    assert [row["n"] for row in rows] == [2, 2]
    assert rows[0]["victim"] != rows[1]["victim"]


def test_recordings_need_a_binning_that_somebody_says(small_recordings, tmp_path):
    _, data = small_recordings
    own = {"victim": "mine:events", "input_shape": "6,2,8,8", "layout": "steps"}
    with pytest.raises(SpikeflipError, match="does not say how recordings become its frames: give --time-bin"):
        run_attack(AttackConfig(**own, data=str(data), sensor="8x8"), tmp_path / "run")
    summary = run_attack(
        AttackConfig(**own, data=str(data), sensor="8x8", time_bin=5, samples=3, steps=3), tmp_path / "run"
    )
    assert summary["files"] == 2
    assert read_facts(tmp_path / "run", "config")["data"]["frames"] == "6 bins of 5 ms, 8 × 8 cells, binary"
    (answer, *_) = judge_files(VictimConfig(**own, time_bin=5), [tmp_path / "run" / "adversarial"], sensor="8x8")
    assert set(answer["rates"]) == {"0", "1"}
    assert verify_run(tmp_path / "run", victim="mine:events", data=data)["differences"] == []


def test_a_nir_graph_is_a_victim(digit_victim, tmp_path):
    pytest.importorskip("h5py")
    spikeflip.save_nir(digit_victim, tmp_path / "digits.nir")
    options = {"samples": 3, "steps": 2, "draws": 2}
    run_attack(AttackConfig(victim="digits.nir", **options), tmp_path / "run")
    said = read_facts(tmp_path / "run", "config")["victim"]
    assert (said["source"], said["steps"]) == ("NIR graph", digit_victim.time_steps)
    assert "digits.nir" not in (tmp_path / "run" / "config.json").read_text()
    victim = spikeflip.load_nir(tmp_path / "digits.nir")
    digits = spikeflip.load_images("digits", "test")
    result = spikeflip.scg(
        victim, digits.images[:3], digits.labels[:3], steps=2, threshold=1.0, samples=torch.arange(3) * 11
    )
    assert torch.equal(load_file(tmp_path / "run" / "adversarials.safetensors")["adversarials"], result.adversarials)


@pytest.mark.processes
def test_workers_make_the_victim_themselves(tmp_path):
    from spikeflip.runs import Execution

    run_attack(config(defence="mine:Median"), tmp_path / "one")
    run_attack(config(defence="mine:Median"), tmp_path / "two", execution=Execution(workers=2))
    for name in ("rows.parquet", "adversarials.safetensors", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with pytest.raises(SpikeflipError, match="mine:random gives a model with other weights in each process"):
        run_attack(config("mine:random"), tmp_path / "random", execution=Execution(workers=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"victim": "mine:frob"}, "there is no 'frob' in mine: name a function in it that returns the model"),
        ({"victim": "mine:snn", "input_shape": None}, "--input-shape is missing: give the shape of one sample"),
        ({"victim": "mine:wrapped"}, "--input-shape 6,1,8,8 is for models, and mine:wrapped returns a victim: leave"),
        ({"engine": "event"}, "--engine event is for victims that 'train' wrote: leave it out"),
        ({"precision": "bf16-gradient"}, "--precision bf16-gradient is for victims that 'train' wrote: leave it out"),
        ({"surrogate_width": 0.5}, "--surrogate-width is 0.5, of no surrogate: give --surrogate too"),
        ({"defence": "mine"}, "there is no defence 'mine': choose from background-activity, density"),
        ({"defence": "mine:1"}, "'mine:1' names no code: write PACKAGE.MODULE:FUNCTION"),
        ({"defence": "mine:nothing"}, "the defence mine:nothing gives a NoneType: derive it from spikeflip.Defence"),
        ({"defence": "mine:broken"}, "the defence mine:broken raised an error (ValueError: no defence today): mend it"),
        ({"victim": "nowhere.nir", "layout": None}, "nowhere.nir cannot be attacked: "),
        ({"victim": "nowhere", "layout": None, "input_shape": None}, "there is no victim at nowhere"),
        (
            {"input_shape": "1,500,500", "layout": "static", "time_steps": 10_000},
            "--input-shape 1,500,500 is (10000, 1, 500, 500), of which 3 samples take more than 33,554,432 values",
        ),
        ({"defence": "mine:Random"}, "behind its defences, is not to be judged: the model draws random numbers"),
        (
            {"defence": "mine:OfBatch"},
            "is not to be judged: a sample's scores depend on the other samples",
        ),
        ({"defence": "mine:Raises"}, "transform of the defence Raises raised an error (KeyError: 'mask'): mend it"),
        ({"attack": "conversion", "steps": 2}, "but conversion needs the weights of a SpikingNetwork"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, options, message):
    with pytest.raises(SpikeflipError) as error:
        run_attack(config(**options), tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_options_of_one_s_own_models_are_not_for_victims_of_train(small_victim, tmp_path):
    with pytest.raises(SpikeflipError, match="--layout steps is for models of your own, and 'train' wrote this victim"):
        run_attack(AttackConfig(victim=small_victim, layout="steps"), tmp_path / "run")


def test_a_defence_is_the_same_where_it_is_attacked_judged_and_gone_on_with(tmp_path, monkeypatch):
    options = {"defence": "mine:Mask", "shard_size": 1}
    run_attack(config(**options), tmp_path / "parts")
    run_attack(config(**options | {"shard_size": 4}), tmp_path / "whole")
    one, two = (load_file(tmp_path / name / "adversarials.safetensors") for name in ("parts", "whole"))
    assert torch.equal(one["adversarials"], two["adversarials"])
    import mine

    monkeypatch.setattr(mine, "SCALE", 0.5)
    with pytest.raises(SpikeflipError, match=r"holds a run with other options .*victim's description"):
        run_attack(config(**options), tmp_path / "parts")


def test_a_defence_that_works_in_place_leaves_the_inputs_alone(tmp_path):
    sys.path.insert(0, str(tmp_path))
    import mine

    spikes = (torch.rand(2, 6, 1, 8, 8) < 0.5).float()
    before = spikes.clone()
    defended = mine.InPlace(mine.wrapped())
    defended.probe(spikes).input_gradient(lambda scores, _: torch.ones_like(scores))
    defended.scores(spikes)
    assert torch.equal(spikes, before)
    with pytest.raises(
        SpikeflipError, match=r"backward of the defence WayBack gives .* return a gradient of the shape"
    ):
        mine.WayBack(mine.wrapped()).probe(spikes).input_gradient(lambda scores, _: torch.ones_like(scores))


@pytest.mark.parametrize(
    ("attack", "metric"), [("scg", "l0_events"), ("retiming", "moved"), ("retiming", "moved_bins")]
)
@pytest.mark.parametrize("bins", ["duration", "events", None])
def test_budgets_in_events_are_kept_by_runs_on_recordings(small_recordings, tmp_path, attack, metric, bins):
    _, data = small_recordings
    how = {"time_bin": 5} if bins is None else {"bins": bins}
    own = {"victim": "mine:events", "input_shape": "6,2,8,8", "layout": "steps", "sensor": "8x8", **how}
    options = {"input": data / "left", "label": 0, "attack": attack, "steps": 4, "metric": metric, "epsilon": 40}
    summary = run_attack(AttackConfig(**own, **options), tmp_path / "run")
    assert f"{metric}_mean" in summary
    rows = read_facts(tmp_path / "run", "summary")
    assert rows["n"] == 6


def test_changes_are_measured_in_the_bins_of_the_original(small_recordings, tmp_path):
    """Bins by events move with what is added and removed; what was changed does not."""
    import pyarrow.parquet

    _, data = small_recordings
    own = {"victim": "mine:events", "input_shape": "6,2,8,8", "layout": "steps", "sensor": "8x8", "bins": "events"}
    run_attack(AttackConfig(**own, input=data, steps=9), tmp_path / "run")
    rows = pyarrow.parquet.read_table(tmp_path / "run" / "rows.parquet").to_pydict()
    changed = [a + r for a, r in zip(rows["events_added"], rows["events_removed"], strict=True)]
    assert rows["l0_events"] == changed
    assert any(changed)


def test_simulated_recordings_may_have_a_budget_in_moved_spikes(tmp_path):
    (tmp_path / "simulated.py").write_text(CODE + "\n\ndef build():\n    return small((2 * 16 * 16, 24, 10))\n")
    own = {"victim": "simulated:build", "input_shape": "6,2,16,16", "layout": "steps", "simulate_events": True}
    summary = run_attack(AttackConfig(**own, attack="retiming", samples=3, steps=3, epsilon=50), tmp_path / "run")
    sys.modules.pop("simulated")
    assert "moved_mean" in summary


def test_folders_of_recordings_are_labelled_by_their_numbers(small_recordings, tmp_path):
    _, data = small_recordings
    own = {"victim": "mine:events", "input_shape": "6,2,8,8", "layout": "steps", "sensor": "8x8", "time_bin": 5}
    summary = run_attack(AttackConfig(**own, data=str(data), split="train", steps=1), tmp_path / "named")
    assert "classes-by-order" in [notice["code"] for notice in summary["notices"]]
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "1").symlink_to(data / "left")
    run_attack(AttackConfig(**own, data="numbers", split="train", steps=1), tmp_path / "numbered")
    assert read_facts(tmp_path / "numbered", "config")["classes"] == ["0", "1"]
    for name in ("a", "b", "c"):
        (tmp_path / "more" / name).mkdir(parents=True)
        shutil.copy(data / "left" / "0.npz", tmp_path / "more" / name / "0.npz")
    with pytest.raises(SpikeflipError, match="has the classes a, b, c, and the victim has 2 without names"):
        run_attack(AttackConfig(**own, data="more", split="train", steps=1), tmp_path / "run")


def test_a_surrogate_is_swapped_in_a_model_of_one_s_own(tmp_path):
    run_attack(config(), tmp_path / "own")
    run_attack(config(surrogate="rectangular", surrogate_width=0.2), tmp_path / "narrow")
    own, narrow = (
        load_file(tmp_path / name / "adversarials.safetensors")["adversarials"] for name in ("own", "narrow")
    )
    assert not torch.equal(own, narrow)


def test_the_command_prints_json_alone_and_reads_no_code_from_files(run, tmp_path):
    arguments = ["--samples", "2", "--steps", "2", "--draws", "2", "--out", "run", "--json"]
    own = ["--input-shape", "6,1,8,8", "--layout", "steps"]
    status, out, err = run("attack", "--victim", "mine:snn", *own, *arguments)
    assert (status, json.loads(out)["n"]) == (0, 2)
    assert "talk: a model is built" in err
    for line in ('victim = "mine:snn"', 'victim = "./mine:snn"', 'victim = "mine:snn/"', 'defence = ["mine:Median"]'):
        (tmp_path / "options.toml").write_text(line)
        status, out, err = run("attack", "-c", "options.toml", *own, *arguments[:-2], "other")
        assert (status, out) == (2, "")
        assert "a file cannot name code to be run: give --" in err


def test_a_defence_without_a_gradient_says_so_and_may_go_straight_through():
    class Rounded(spikeflip.Defence):
        def transform(self, spikes):
            return (spikes > 0.5).to(spikes.dtype)

    class Straight(Rounded):
        def backward(self, spikes, gradient):
            return gradient

    network = spikeflip.SpikingNetwork("6FC-3FC", (8,), time_steps=4, seed=1)
    spikes, labels = (torch.rand(3, 4, 8) < 0.5).float(), torch.tensor([0, 1, 2])
    with pytest.raises(SpikeflipError, match="the defence Rounded has no gradient: override backward"):
        spikeflip.scg(Rounded(network), spikes, network.scores(spikes).argmax(1))
    bare = spikeflip.scg(network, spikes, labels)
    through = spikeflip.scg(Straight(network), spikes, labels)
    assert torch.equal(bare.adversarials, through.adversarials)


def test_the_gradient_of_a_defence_is_that_of_autograd():
    class Halved(spikeflip.Defence):
        def transform(self, spikes):
            return 0.5 * spikes[:, : spikes.shape[1] // 2] + 0.5 * spikes[:, spikes.shape[1] // 2 :]

    network = spikeflip.ReluNetwork("6FC-3FC", (8,), seed=1)
    images = torch.rand(3, 2, 8)
    probe = Halved(network).probe(images)
    rows = torch.tensor([2, 0])
    found = probe.input_gradient(
        lambda scores, _: torch.ones_like(scores), spikeflip.snn.gradients.GradientRequest(rows=rows)
    )
    source = images.clone().requires_grad_()
    network.forward(Halved(network).transform(source)).sum().backward()
    assert torch.allclose(found.values, source.grad[rows], atol=1e-6)
    assert torch.equal(Halved(network).scores(images), network.scores(images.mean(1, keepdim=True)))


def test_checksums_of_weights_hold_names_types_and_values():
    def made():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

    same, other, renamed = made(), made(), nn.Sequential(made(), nn.Identity())
    with torch.no_grad():
        other[1].running_mean[0] += np.float32(1e-6)
    assert weights_sha256(made()) == weights_sha256(same) != weights_sha256(other)
    assert len({weights_sha256(model) for model in (same, same.double(), renamed)}) >= 2
