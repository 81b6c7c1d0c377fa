"""Defences that come with the package, against plain loops over spikes."""

import itertools
import json

import pytest
import torch

import spikeflip
from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.attacks import sigma_zero
from spikeflip.cli.app import main
from spikeflip.evaluation.battery import straightened
from spikeflip.runs import AttackConfig, VictimConfig, run_attack, transfer_run, verify_run
from spikeflip.runs.victim import load_victim
from spikeflip.snn.checkpoint import save_checkpoint
from spikeflip.snn.gradients import GradientRequest
from spikeflip.victims.defences import (
    DEFENCES,
    BackgroundActivityFilter,
    DensityFilter,
    MedianFilter,
    StochasticGate,
    named_defence,
)
from spikeflip.victims.defences.gating import _names
from spikeflip.victims.examining.checks import batch_independence, same_call_twice


def victim(shape=(2, 5, 6), steps=7, **options):
    return SpikingNetwork("12FC-3FC", shape, time_steps=steps, neuron=LIF(0.2, 0.3), seed=1, **options)


def places(spikes):
    """Of the spikes of one sample ``(T, C, H, W)``: time, polarity, row, column."""
    return [tuple(place) for place in spikes.nonzero().tolist()]


def loop(spikes, stays):
    """One spike after the other, each with all of its sample."""
    found = torch.zeros_like(spikes)
    for sample, kept in zip(spikes, found, strict=True):
        every = places(sample)
        for one in every:
            if stays(one, [other for other in every if other != one]):
                kept[one] = sample[one]
    return found


def supported(bins):
    def stays(one, others):
        near = [(abs(r - one[2]), abs(c - one[3])) for t, _, r, c in others if 0 <= one[0] - t <= bins]
        return any(max(pair) == 1 for pair in near)

    return stays


def dense(least, cells, bins):
    def stays(one, others):
        near = [
            abs(t - one[0]) <= bins and abs(r - one[2]) <= cells and abs(c - one[3]) <= cells for t, _, r, c in others
        ]
        return sum(near) >= least

    return stays


@pytest.mark.parametrize("bins", [0, 1, 3])
def test_background_activity_is_what_no_neighbour_supports(some_spikes, bins):
    spikes = some_spikes(4, 7, 2, 5, 6, density=0.05)
    found = BackgroundActivityFilter(victim(), bins).transform(spikes)
    assert torch.equal(found, loop(spikes, supported(bins)))
    assert 0 < found.sum() < spikes.sum()


@pytest.mark.parametrize(("least", "cells", "bins"), [(1, 1, 0), (3, 1, 1), (4, 2, 2)])
def test_density_is_of_the_others_around(some_spikes, least, cells, bins):
    spikes = some_spikes(4, 7, 2, 5, 6, density=0.1)
    found = DensityFilter(victim(), least, cells, bins).transform(spikes)
    assert torch.equal(found, loop(spikes, dense(least, cells, bins)))
    assert 0 < found.sum() < spikes.sum()


def test_a_row_of_inputs_has_neighbours_left_and_right(some_spikes):
    spikes = some_spikes(3, 7, 9, density=0.2)
    maps = spikes[:, :, None, None, :]
    for row, grid in ((BackgroundActivityFilter, supported(1)), (DensityFilter, dense(3, 1, 1))):
        assert torch.equal(row(victim((9,))).transform(spikes), loop(maps, grid)[:, :, 0, 0])


def test_counts_keep_their_size(some_spikes):
    spikes = some_spikes(2, 7, 2, 5, 6, density=0.1)
    counts = 3 * spikes
    for kind in (BackgroundActivityFilter, DensityFilter):
        assert torch.equal(kind(victim()).transform(counts), 3 * kind(victim()).transform(spikes))


@pytest.mark.parametrize("bins", [3, 5])
def test_the_median_is_what_most_bins_say(some_spikes, bins):
    spikes = some_spikes(3, 7, 2, 5, 6)
    found, half = MedianFilter(victim(), bins).transform(spikes), bins // 2
    for t in range(7):
        around = [spikes[:, min(6, max(0, s))] for s in range(t - half, t + half + 1)]
        assert torch.equal(found[:, t], (sum(around) > bins / 2).float())


def test_gates_are_those_of_the_spikes_and_of_the_seed(some_spikes):
    spikes = some_spikes(6, 7, 2, 5, 6)
    gate = StochasticGate(victim(), drop=0.3)
    found = gate.transform(spikes)
    assert torch.equal(found, StochasticGate(victim(), drop=0.3).transform(spikes))
    assert torch.equal(found[4:], gate.transform(spikes[4:].double()).float())  # of any batch and type
    assert bool((found <= spikes).all())
    flipped = spikes.clone()
    flipped[:, 0, 0, 0, 0] = 1 - flipped[:, 0, 0, 0, 0]
    for other in (gate.transform(flipped), StochasticGate(victim(), drop=0.3, seed=1).transform(spikes)):
        assert (other != found).flatten(1).sum(1).min() > 10
    assert torch.equal(StochasticGate(victim(), drop=0).transform(spikes), spikes)
    assert torch.equal(_names(torch.zeros(1, 3)), _names(-torch.zeros(1, 3)))
    assert len(set(_names(spikes).tolist())) == 6


def test_as_many_spikes_are_dropped_as_asked():
    spikes = torch.ones(100, 7, 2, 5, 6)
    kept = StochasticGate(victim(), drop=0.3).transform(spikes).mean()
    assert abs(float(kept) - 0.7) < 4 * (0.21 / spikes.numel()) ** 0.5


@pytest.mark.parametrize("name", DEFENCES)
def test_every_defence_is_a_victim_as_others_are(name, some_spikes):
    defended, spikes = named_defence(name)(victim()), some_spikes(5, 7, 2, 5, 6)
    assert same_call_twice(defended, spikes)
    assert batch_independence(defended, spikes)
    inner = defended.victim.probe(defended.transform(spikes))
    ask = (lambda scores, rows: torch.ones_like(scores) * torch.tensor([1.0, 2, 3]), GradientRequest())
    found = defended.probe(spikes).input_gradient(*ask).values
    below = inner.input_gradient(*ask).values
    assert below.any()
    if name == "median":  # by autograd: each median sends its gradient to one bin
        assert torch.allclose(found.sum(1), below.sum(1), atol=1e-5)
        assert not torch.equal(found, below)
    else:
        assert torch.allclose(found, below * (0.9 if name == "stochastic-gate" else 1))


@pytest.mark.parametrize("name", DEFENCES)
def test_an_attack_through_a_defence_holds_behind_it(name, some_spikes):
    defended, spikes = named_defence(name)(victim()), some_spikes(6, 7, 2, 5, 6)
    labels = defended.scores(spikes).argmax(1)
    result = sigma_zero(defended, spikes, labels, steps=15, reduce=False)
    assert result.success.any()
    judged = spikeflip.judge(defended, spikes, result.adversarials, labels, None, result)
    assert torch.equal(judged.rows["success"], result.success)
    assert straightened(defended) is not None


def test_encodings_of_an_image_are_draws_of_the_gates(digit_victim, digits):
    """Of images that every encoding of a bare victim is right on, gates make it random."""
    images, labels = digits.images[:8], digits.labels[:8]
    bare, gated = (
        spikeflip.judge(v, images, images, labels, draws=40).rows["still_right"]
        for v in (digit_victim, StochasticGate(digit_victim, drop=0.3))
    )
    certain = bare == 1
    assert certain.any()
    assert ((gated[certain] > 0) & (gated[certain] < 1)).any()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("medain", "there is no defence 'medain': choose from background-activity, density, median, stochastic-gate"),
        ("median:width=3", "the defence median has no option 'width': choose from bins"),
        ("median:bins=x", "the option bins of the defence median is 'x': give a whole number, such as median:bins=3"),
        (
            "density:least=2.5",
            "the option least of the defence density is '2.5': give a whole number, such as density:",
        ),
        ("stochastic-gate:drop", "the option drop of the defence stochastic-gate is '': give a number, such as stoch"),
        ("density:least=2,least=3", "the defence density has the option least twice: give it once"),
        ("median:bins=4", "bins is 4: give an odd number from 3"),
        ("median:bins=1", "bins is 1: give an odd number from 3"),
        ("median:bins=65", "bins is 65: give a whole number from 0 to 64"),
        ("background-activity:bins=-1", "bins is -1: give a whole number from 0 to 64"),
        ("density:least=0", "least is 0: give at least 1"),
        ("density:cells=65", "cells is 65: give a whole number from 0 to 64"),
        ("stochastic-gate:drop=1", "drop is 1.0: give a share in"),
        ("stochastic-gate:drop=nan", "drop is nan: give a share in"),
        ("stochastic-gate:seed=-1", "seed is -1: give a whole number"),
    ],
)
def test_what_is_no_defence_is_said(written, message):
    with pytest.raises(SpikeflipError, match=message):
        named_defence(written)(victim())


def test_images_as_they_are_and_inputs_without_neighbours_are_refused():
    for name in DEFENCES:
        with pytest.raises(SpikeflipError, match="looks at spikes, and the victim sees images as they are"):
            named_defence(name)(spikeflip.ReluNetwork("3FC", (1, 4, 4)))
    for name in ("density", "background-activity"):
        with pytest.raises(SpikeflipError, match=r"inputs have the shape \(4, 5\): choose a victim of inputs"):
            named_defence(name)(SpikingNetwork("3FC", (4, 5)))


# --- in runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    network = SpikingNetwork("12FC-10FC", (1, 8, 8), time_steps=6, neuron=LIF(0.2, 0.3), seed=1)
    save_checkpoint(network, tmp_path / "victim", {"loss": "mse"})
    return tmp_path / "victim"


def test_a_run_is_of_a_defence_by_its_name_and_options(folder, tmp_path):
    options = {"samples": 4, "draws": 3, "settings": {"steps": 3}}
    run_attack(AttackConfig(victim=folder, defence="stochastic-gate:drop=0.2", **options), tmp_path / "run")
    described = json.loads((tmp_path / "run" / "config.json").read_text())["victim"]
    assert described["defences"] == ["stochastic-gate:drop=0.2"]
    assert (
        verify_run(tmp_path / "run", victim=VictimConfig(victim=folder, defence="stochastic-gate:drop=0.2"))[
            "differences"
        ]
        == []
    )
    with pytest.raises(SpikeflipError, match=r"other defences \(stochastic-gate:drop=0.2\)"):
        verify_run(tmp_path / "run", victim=VictimConfig(victim=folder, defence="stochastic-gate"))
    redrawn = VictimConfig(victim=folder, defence="stochastic-gate:drop=0.2,seed=1")
    assert transfer_run(tmp_path / "run", redrawn, successes=False, draws=2)["n"] == 4


def test_every_option_is_part_of_what_a_victim_is(folder):
    written = ["median", "median:bins=5", "density", "density:least=2"]
    found = {load_victim(VictimConfig(victim=folder, defence=one)).description_sha256 for one in written}
    assert len(found) == 4
    both = load_victim(VictimConfig(victim=folder, defence=["density", "median"])).victim
    assert isinstance(both, MedianFilter)
    assert isinstance(both.victim, DensityFilter)


def test_files_may_name_defences_of_the_package(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options.toml").write_text('defence = ["density:least=2", "median"]\n')
    run = ["--victim", str(folder), "--samples", "2", "--steps", "2", "--draws", "2", "--quiet", "--out"]
    main(["attack", "-c", "options.toml", *run, "run"])
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["victim"]["defences"] == ["density:least=2", "median"]
    (tmp_path / "median.py").write_text("raise SystemExit('run')\n")
    (tmp_path / "sweep.toml").write_text(
        f'[base]\nvictim = "{folder}"\nsamples = 2\nsteps = 2\ndraws = 2\n[grid]\ndefence = [[], ["median"]]\n'
    )
    main(["sweep", "sweep.toml", "--out", "sweeps", "--quiet"])
    assert len(list((tmp_path / "sweeps").glob("*/summary.json"))) == 2
    for line in ('["median:Filter"]', '"median:Filter"', '["density", "median:Filter"]'):
        (tmp_path / "options.toml").write_text(f"defence = {line}\n")
        with pytest.raises(SystemExit):
            main(["attack", "-c", "options.toml", *run, "other"])
        assert "a file cannot name code to be run: give --defence" in capsys.readouterr().err
        (tmp_path / "code.toml").write_text(f'[base]\nvictim = "{folder}"\n[grid]\ndefence = [[], {line}]\n')
        with pytest.raises(SystemExit):
            main(["sweep", "code.toml", "--out", "others", "--quiet"])
        assert "names the code median:Filter: add --run-code" in capsys.readouterr().err


def test_the_command_lists_defences_with_their_options(run):
    status, out, _ = run("list", "defences", "--json")
    assert (status, list(json.loads(out))) == (0, list(DEFENCES))
    assert json.loads(out)["density"].endswith("; least=3, cells=1, bins=1")


def test_defences_may_stand_behind_one_another(some_spikes):
    spikes = some_spikes(3, 7, 2, 5, 6, density=0.2)
    for first, second in itertools.permutations(("median", "density", "background-activity"), 2):
        both = named_defence(second)(named_defence(first)(victim()))
        shown = named_defence(first)(victim()).transform(both.transform(spikes))
        assert torch.equal(both.scores(spikes), victim().scores(shown))
