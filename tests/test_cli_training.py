"""What ``spikeflip train`` says: its recipe, what came of it, and that nothing was learned."""

import json

import pytest

import spikeflip

TINY = ["--network", "12C3-AP2-32FC-10FC"]


def facts(out):
    return json.loads((out / "victim.json").read_text())["facts"]


def test_the_recipe_is_printed_and_kept(tmp_path, run):
    status, out, err = run("train", *TINY, "--time-steps", 4, "--updates", 3, "--shift", 1, "--out", tmp_path / "v")
    assert status == 0
    assert err == (
        "12C3-AP2-32FC-10FC; recipe for 1,442 samples: 3 updates of 64, learning rate 0.05 of the weights, dropout 0.1 "
        "and 0.1, shift 1, initial share 0.1\n"
    )
    assert "samples:" not in out
    recipe = facts(tmp_path / "v")["recipe"]
    assert (recipe["updates"], recipe["batch_size"], recipe["shift"], recipe["relative_rate"]) == (3, 64, 1, 0.05)


def test_quiet_and_json_say_no_recipe(tmp_path, run):
    assert run("train", *TINY, "--updates", 1, "--quiet", "--out", tmp_path / "q") == (0, "", "")
    status, out, err = run("train", *TINY, "--updates", 1, "--json", "--out", tmp_path / "j")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["recipe"]["updates"] == 1
    assert [layer["layer"] for layer in found["firing"]] == ["1 (12C3)", "2 (AP2)", "3 (32FC)", "4 (10FC)"]


def test_a_victim_that_learned_says_so(tmp_path, run):
    status, out, _ = run("train", *TINY, "--time-steps", 10, "--updates", 60, "--out", tmp_path / "v")
    assert status == 0
    assert facts(tmp_path / "v")["learned"] is True
    assert out.splitlines()[-1] == f"victim: {tmp_path / 'v'}"
    assert "test inputs right, " in out


@pytest.mark.parametrize("json_asked", [False, True])
def test_a_victim_that_did_not_learn_says_so_last(json_asked, tmp_path, run):
    kills = ["--updates", 20, "--learning-rate", 100, "--initial-rate", 0]
    status, out, _ = run("train", *TINY, *kills, *(["--json"] if json_asked else []), "--out", tmp_path / "v")
    assert status == 0
    assert facts(tmp_path / "v")["learned"] is False
    assert spikeflip.load_checkpoint(tmp_path / "v").facts["notices"][-1]["code"] == "not-learned"
    if json_asked:
        assert json.loads(out)["learned"] is False
    else:
        last = out.splitlines()[-1]
        assert last.startswith("note: the victim did not learn: ")
        assert "attacks on it say nothing" in last


def test_history_says_how_every_layer_fired(tmp_path, run):
    run("train", *TINY, "--updates", 20, "--validate-every", 20, "--out", tmp_path / "v")
    history = facts(tmp_path / "v")["history"]
    assert history["looked"] == [10, 20]
    assert [len(layers) for layers in history["silent_neurons"] + history["silent_samples"]] == [4] * 4
    assert all(0 <= share <= 1 for layers in history["silent_neurons"] for share in layers)


def test_the_firing_threshold_of_all_neurons(tmp_path, run):
    status, _, _ = run("train", *TINY, "--updates", 1, "--firing-threshold", 0.6, "--out", tmp_path / "v")
    neuron = spikeflip.load_checkpoint(tmp_path / "v").network.neuron
    assert status == 0
    assert (neuron.threshold, neuron.surrogate.width) == (0.6, 2.0)  # the window is scaled along, 1.0 of 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--firing-threshold", 1.5], r"layer 2 (AP2) is silent before training: it averages spikes"),
        (["--firing-threshold", 0], "--firing-threshold is"),
        (["--firing-threshold", 1, "--twin"], "--firing-threshold 1 is for spiking neurons, and --twin has none"),
        (["--learning-rate", "1e38"], "--learning-rate is"),
        (["--learning-rate", 0.1, "--relative-rate", 0.1], "exclude each other: give one"),
        (["--initial-rate", 0.1, "--initial-share", 0.1], "exclude each other: give one"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_leaves_nothing(options, message, tmp_path, run):
    status, out, err = run("train", *TINY, "--updates", 1, *options, "--out", tmp_path / "v")
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("spikeflip: ")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "v").exists()
