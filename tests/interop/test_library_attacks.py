"""Attacks of other libraries as ours, with a stand-in for each library: calls, results, refusals and runs."""

import json
import sys

import pytest
import torch
from stand_in_attacks import AdvLib, Foolbox, PyAutoAttack, climb

from spikeflip import Budget, ReluNetwork, SpikeflipError, SpikingNetwork, judge
from spikeflip.attacks import ATTACKS, Smallest
from spikeflip.interop import EVERY_ATTACK, LIBRARY_ATTACKS, library_attack
from spikeflip.interop.calling import run
from spikeflip.interop.libraries.counted import CountedModule
from spikeflip.runs import AttackConfig, run_attack, verify_run
from spikeflip.snn.coding import encode, winner

MODULES = {"adv-lib": "adv_lib.attacks", "foolbox": "foolbox", "pyautoattack": "pyautoattack.square"}
N = 12


@pytest.fixture
def stand_in(monkeypatch):
    """Puts a stand-in in the place of a library."""

    def put(library, module):
        monkeypatch.setitem(sys.modules, MODULES[library], module)
        return module

    return put


@pytest.fixture
def adv_lib(stand_in):
    return stand_in("adv-lib", AdvLib())


@pytest.fixture(scope="module")
def data(digits):
    return digits.images[:N], digits.labels[:N]


def attacked(victim, images, labels):
    """Which images the victim classifies correctly in the first encoding."""
    seen = encode(images, victim.input_shape, victim.time_steps, seed=0, samples=torch.arange(len(images)))
    return winner(victim.scores(seen)) == labels


@pytest.mark.parametrize("targeted", [False, True])
def test_success_is_what_our_rule_says_of_one_encoding_that_the_library_has_not_seen(
    adv_lib, digit_victim, data, targeted
):
    images, labels = data
    targets = (labels + 1) % 10 if targeted else None
    result = library_attack("adv-lib:fmn", encodings=2)(digit_victim, images, labels, targets, seed=4, micro_batch=5)
    seen = encode(result.adversarials, (1, 8, 8), 10, seed=4, samples=torch.arange(N), step=2)
    won = winner(digit_victim.scores(seen))
    right = ~result.already_wrong
    expected = right & ((won == targets) if targeted else (won >= 0) & (won != labels))
    assert torch.equal(result.success, expected)
    assert torch.equal(result.prediction[right], won[right])
    assert result.moments[right].unique().tolist() == [2]
    judgement = judge(digit_victim, images, result.adversarials, labels, targets, result, draws=3, seed=4)
    assert torch.equal(judgement.rows["success"], result.success)
    goals = torch.cat([torch.tensor(call[2]) for call in adv_lib.calls])
    assert torch.equal(goals, (targets if targeted else labels)[right])
    assert {call[3] for call in adv_lib.calls} == {targeted}
    assert max(call[1] for call in adv_lib.calls) == 5


def test_called_their_way_the_scores_are_those_of_the_encoding_that_decided(adv_lib, digit_victim, data):
    """The number of steps says nothing of where in its stream a sample was judged."""
    attack = library_attack("adv-lib:fmn", encodings=2)
    outcome = run(attack, digit_victim, *data, None, seed=0, samples=None, micro_batch=5)
    right = attacked(digit_victim, *data)
    seen = encode(outcome.adversarials, (1, 8, 8), 10, seed=0, samples=torch.arange(N), step=2)
    assert torch.equal(outcome.scores[right], digit_victim.scores(seen)[right])


def test_passes_are_those_of_the_calls(adv_lib, digit_victim, data):
    """The stand-in asks three times for scores and a gradient; a gradient runs the forward pass again."""
    result = library_attack("adv-lib:ddn", encodings=4)(digit_victim, *data)
    right = ~result.already_wrong
    assert right.any()
    assert result.steps[right].unique().tolist() == [3]
    assert result.forwards[right].unique().tolist() == [2 + 3 * 4 * 2]
    assert result.backwards.max() == 3 * 4
    assert result.forwards[~right].tolist() == [1] * int((~right).sum())
    assert torch.equal(result.adversarials[~right], data[0][~right])


def test_the_same_seed_gives_the_same_and_the_caller_s_random_numbers_stay(adv_lib, digit_victim, data):
    attack = library_attack("adv-lib:fmn")
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one = attack(digit_victim, *data, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    with torch.inference_mode():
        same = attack(digit_victim, *data, seed=3)
    other = attack(digit_victim, *data, seed=5)
    assert torch.equal(one.adversarials, same.adversarials)
    assert not torch.equal(one.adversarials, other.adversarials)


def test_batches_of_one_depend_on_no_other_sample(adv_lib, digit_victim, data):
    images, labels = data
    attack = library_attack("adv-lib:fmn")
    whole = attack(digit_victim, images, labels, micro_batch=1)
    some = torch.tensor([7, 2, 5])
    part = attack(digit_victim, images[some], labels[some], samples=some, micro_batch=1)
    assert torch.equal(part.adversarials, whole.adversarials[some])
    assert torch.equal(part.success, whole.success[some])


def test_the_settings_reach_adv_lib(adv_lib, digit_victim, data):
    asked = {
        "adv-lib:fmn": ({"steps": 7, "metric": "linf"}, "fmn", {"norm": float("inf"), "steps": 7}),
        "adv-lib:ddn": ({"steps": 7}, "ddn", {"steps": 7, "levels": None}),
        "adv-lib:sigma-zero": ({"steps": 7}, "sigma_zero", {"num_steps": 7}),
        "adv-lib:carlini-wagner-l2": (
            {"steps": 17, "searches": 3, "step_size": 0.2},
            "carlini_wagner_l2",
            {"learning_rate": 0.2, "binary_search_steps": 3, "max_iterations": 17},
        ),
    }
    for name, (settings, function, options) in asked.items():
        adv_lib.calls.clear()
        library_attack(name, **settings)(digit_victim, *data)
        assert [(call[0], call[4]) for call in adv_lib.calls] == [(function, options)]


def test_the_settings_reach_foolbox_and_black_images_are_no_success(stand_in, digit_victim, data):
    images, labels = data
    library = stand_in("foolbox", Foolbox())
    black = library_attack("foolbox:deepfool-l2", steps=5, candidates=3)(digit_victim, images, labels)
    assert not black.adversarials[~black.already_wrong].any()
    library_attack("foolbox:ddn", steps=6)(digit_victim, images, labels, (labels + 1) % 10)
    attack = library_attack("foolbox:carlini-wagner-l2", steps=15, searches=2, step_size=0.3)
    assert torch.equal(attack(digit_victim, images, labels).adversarials, images)
    assert library.calls == [
        ("L2DeepFoolAttack", "labels", {"steps": 5, "candidates": 3}),
        ("DDNAttack", "targets", {"steps": 6}),
        ("L2CarliniWagnerAttack", "labels", {"steps": 15, "binary_search_steps": 2, "stepsize": 0.3}),
    ]


@pytest.mark.parametrize(("metric", "norm"), [("linf", "Linf"), ("l2", "L2")])
def test_square_keeps_to_its_ball_and_a_tie_is_no_success(stand_in, digit_victim, data, metric, norm):
    images, labels = data
    library = stand_in("pyautoattack", PyAutoAttack())
    budget = Budget(0.1, metric)
    result = library_attack("pyautoattack:square", steps=9, budget=budget, lead=0.2)(digit_victim, images, labels)
    change = (result.adversarials - images).flatten(1)
    size = change.abs().amax(1) if metric == "linf" else change.norm(dim=1)
    assert size.max() <= 0.1 + 1e-6
    assert torch.allclose(library.margin, torch.tensor(0.2), atol=1e-4)
    called = library.calls[0]
    expected = {"norm": norm, "eps": 0.1, "n_queries": 9, "targeted": False}
    assert expected.items() <= called.items()
    nothing = library_attack("pyautoattack:square", budget=0.0)(digit_victim, images, labels)
    assert torch.equal(nothing.adversarials, images)
    assert not nothing.success.any()


def test_what_ties_for_the_label_is_not_yet_a_success_for_the_library():
    victim = ReluNetwork("3FC", (4,), seed=1)
    with torch.no_grad():
        victim.weights[0].copy_(torch.tensor([[1.0] * 4, [1.0] * 4, [0.5] * 4]))
    images, options = torch.full((2, 4), 0.5), {"seed": 0, "draws": 1, "output_window": None, "micro_batch": 8}
    for targeted, classes in ((False, [1, 0]), (True, [0, 1])):
        module = CountedModule(victim, torch.tensor(classes), targeted=targeted, lead=0.0, **options)
        assert module(images).argmax(1).tolist() == [1, 0]
    ahead = CountedModule(victim, torch.tensor([2, 2]), targeted=False, lead=2.0, **options)
    assert ahead(images).argmax(1).tolist() == [2, 2]
    assert len(ahead(images[:1])) == 1


def test_pixels_left_alone_stay_as_they_are_and_failures_are_no_change(stand_in):
    victim = ReluNetwork("2FC", (3,), seed=1)
    with torch.no_grad():
        victim.weights[0].copy_(torch.tensor([[2.0, 2, 2], [1, 1, 1]]))
    labels = torch.tensor([0, 0])
    images = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]], dtype=torch.float64)

    def answer(model, x):
        model(x)
        return torch.stack([x[0] + torch.tensor([0, 0, 2.0]), x[1] + torch.nan])

    stand_in("adv-lib", AdvLib(answer))
    found = library_attack("adv-lib:sigma-zero")(victim, images, labels).adversarials
    assert found.tolist() == [[0.1, 0.2, 1.0], [0.5, 0.6, 0.7]]
    stand_in("adv-lib", AdvLib(lambda model, x: 1 - x))
    assert not library_attack("adv-lib:fmn")(victim, images, labels).success.any()  # it asked the victim nothing


def test_gradients_that_vanish_are_counted(adv_lib):
    """No output neuron is near its threshold: nothing flows back, though the loss asks for a change."""
    network = SpikingNetwork("3FC", (4,), time_steps=4, seed=2)
    with torch.no_grad():
        network.weights[0].fill_(-50.0)
        network.weights[0][0] = 50.0
    result = library_attack("adv-lib:ddn")(network, torch.ones(2, 4), torch.tensor([0, 0]))
    assert result.vanished.tolist() == [3, 3]
    assert result.first_vanishing.tolist() == [2, 2]
    assert result.backwards.tolist() == [0, 0]


def test_lost_gradients_after_the_goal_is_reached_are_none():
    """A loss that asks for nothing, as a hinge below zero."""
    victim = ReluNetwork("2FC", (3,), seed=1)
    module = CountedModule(
        victim, torch.tensor([0]), targeted=False, lead=0, seed=0, draws=1, output_window=None, micro_batch=1
    )
    image = torch.full((1, 3), 0.5, requires_grad=True)
    (module(image).sum() * 0).backward()
    assert (module.steps, module.vanished.tolist(), module.backwards.tolist()) == (1, [0], [0])
    climb(module, image.detach(), torch.tensor([0]), False, steps=1)
    assert module.steps == 2


@pytest.mark.parametrize("name", LIBRARY_ATTACKS)
def test_a_library_that_is_not_installed(monkeypatch, digit_victim, data, name):
    library = name.partition(":")[0]
    monkeypatch.setitem(sys.modules, MODULES[library], None)
    with pytest.raises(SpikeflipError, match=rf"one of {library} [\d.]+, which is not installed \(.*\): pip install"):
        library_attack(name)(digit_victim, *data)


WRONG = {
    "spikes": (lambda a, v, x, y: a(v, torch.zeros(2, 10, 1, 8, 8), y[:2]), "are spikes, but this attack is defined"),
    "stop": (lambda a, v, x, y: a(v, x, y, stop=Smallest("l2")), r"decides itself when it stops: leave --confidence"),
    "restarts": (lambda a, v, x, y: a(v, x, y, restarts=2), "restarts is 2, and an attack of adv-lib begins once"),
    "trace": (lambda a, v, x, y: a(v, x, y, trace=True), "tells nothing of its iterations: leave --trace"),
    "no victim": (lambda a, v, x, y: a("v", x, y), "the victim is a str, which cannot be attacked"),
    "no tensor": (lambda a, v, x, y: a(v, x.numpy(), y), "inputs are a ndarray: give a tensor"),
    "range": (lambda a, v, x, y: a(v, x * 255, y), r"images hold the value .*: scale them to \[0, 1\]"),
    "labels": (lambda a, v, x, y: a(v, x, y[:3]), r"labels have shape \(3,\) for 12 inputs"),
    "seed": (lambda a, v, x, y: a(v, x, y, seed=-1), "seed is -1: give a whole number"),
    "micro-batch": (lambda a, v, x, y: a(v, x, y, micro_batch=0), "micro_batch is 0"),
    "targets": (
        lambda a, v, x, y: library_attack("adv-lib:sigma-zero")(v, x, y, (y + 1) % 10),
        "targets are given, and this attack is untargeted only: leave them out",
    ),
    "name": (
        lambda *_: library_attack("adv-lib:frob"),
        "there is no attack 'adv-lib:frob': did you mean adv-lib:fmn\\? choose from adv-lib:fmn, ",
    ),
    "setting": (lambda *_: library_attack("adv-lib:fmn", alpha=1), "FMN has no setting 'alpha': choose from encodings"),
    "metric": (lambda *_: library_attack("adv-lib:fmn", metric="l7"), "metric is 'l7': choose from l0, l1, l2, linf"),
    "steps": (lambda *_: library_attack("adv-lib:ddn", steps=0), r"steps is 0: give a number in \[1, 1e\+06\]"),
    "half a step": (lambda *_: library_attack("adv-lib:ddn", steps=2.5), "steps is 2.5"),
    "few steps": (lambda *_: library_attack("foolbox:carlini-wagner-l2", steps=3), r"steps is 3: .* in \[10, "),
    "lead": (lambda *_: library_attack("foolbox:ddn", lead=-1), "lead is -1: give at least 0"),
    "no ball": (lambda *_: library_attack("pyautoattack:square", budget=None), "budget is None: give the size of"),
    "its metric": (
        lambda *_: library_attack("pyautoattack:square", budget=Budget(3, "l0")),
        "budget is in l0, and this attack keeps to a ball in linf or l2: give that",
    ),
    "flat": (
        lambda *_: library_attack("pyautoattack:square")(ReluNetwork("2FC", (9,)), torch.ones(1, 9), torch.tensor([0])),
        r"Square takes images \(C, H, W\) of 5 pixels or more each way, and the victim takes \(9,\)",
    ),
    "nothing drawn": (
        lambda *_: library_attack("adv-lib:fmn", encodings=3)(
            ReluNetwork("2FC", (9,)), torch.ones(1, 9), torch.tensor([0])
        ),
        "encodings is 3, but nothing is drawn to encode these inputs: leave it at 1",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_calls(adv_lib, digit_victim, data, wrong):
    call, message = WRONG[wrong]
    with pytest.raises(SpikeflipError, match=message) as caught:
        call(library_attack("adv-lib:fmn"), digit_victim, *data)
    assert "\n" not in str(caught.value)


def test_no_images_are_no_calls(adv_lib, digit_victim, data):
    nothing = torch.arange(0)
    result = library_attack("adv-lib:fmn")(digit_victim, data[0][:0], nothing)
    assert len(result.success) == 0
    assert adv_lib.calls == []


def test_the_names_stand_behind_ours(run):
    assert list(EVERY_ATTACK) == [*ATTACKS, *LIBRARY_ATTACKS]
    status, shown, _ = run("list", "attacks", "--json")
    listed = json.loads(shown)
    assert status == 0
    assert list(listed) == list(EVERY_ATTACK)
    for name, info in LIBRARY_ATTACKS.items():
        assert info.inputs == ("images",)
        assert info.source.endswith(f"; {name.partition(':')[0]}")


def test_help_shows_the_few_options_that_make_sense(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = {}
    for name in LIBRARY_ATTACKS:
        status, out, _ = run("attack", "--attack", name, "--help")
        assert status == 0
        shown[name] = out.partition(f"Options of {name}")[2]
    assert "--steps" in shown["adv-lib:ddn"]
    assert "--epsilon" not in "".join(text for name, text in shown.items() if "square" not in name)
    assert "--metric" in shown["adv-lib:fmn"]
    assert "--epsilon" in shown["pyautoattack:square"]
    assert "--output-window" not in shown["pyautoattack:square"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attack", "adv-lib:fmn", "--epsilon", "0.1"], "--epsilon is no option of adv-lib:fmn: leave it out"),
        (["--attack", "scg", "--searches", "3"], "--searches is no option of scg: leave it out"),
        (["--attack", "adv-lib:sigma-zero", "--target", "next"], "--attack adv-lib:sigma-zero is untargeted only"),
        (["--attack", "adv-lib:fmn", "--confidence", "0.9"], "leave --confidence (stop=) out"),
        (["--attack", "adv-lib:fmn", "--restarts", "2"], "restarts is 2, and an attack of adv-lib begins once"),
        (["--attack", "adv-lib:fmn", "--trace"], "leave --trace (trace=True) out"),
    ],
)
def test_the_command_refuses_before_anything_is_written(adv_lib, run, small_library_victim, tmp_path, options, message):
    status, _, said = run("attack", "--victim", small_library_victim, "--out", tmp_path / "run", *options)
    assert status != 0
    assert message in " ".join(said.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_gone_on_with_and_verified(stand_in, run, small_library_victim, tmp_path):
    options = ["--attack", "adv-lib:fmn", "--samples", "9", "--shard-size", "4", "--micro-batch", "3", "--draws", "2"]
    command = ["attack", "--victim", small_library_victim, *options, "--quiet", "--out"]
    stand_in("adv-lib", AdvLib())
    assert run(*command, tmp_path / "whole")[0] == 0
    assert (tmp_path / "whole" / "report.html").is_file()
    stored = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert stored["attack"] == "adv-lib:fmn"
    assert stored["settings"]["metric"] == "l2"

    left = [2]

    def fails_later(model, inputs):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return climb(model, inputs, model.handicap.argmax(1), False)

    stand_in("adv-lib", AdvLib(fails_later))
    config = AttackConfig(
        victim=small_library_victim, attack="adv-lib:fmn", samples=9, shard_size=4, micro_batch=3, draws=2, seed=0
    )
    with pytest.raises(KeyboardInterrupt):
        run_attack(config, tmp_path / "part")
    assert not (tmp_path / "part" / "summary.json").exists()
    left[0] = 1000
    run_attack(config, tmp_path / "part")
    run_attack(config, tmp_path / "again")
    for name in ("rows.parquet", "adversarials.safetensors"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    found = verify_run(tmp_path / "part", victim=small_library_victim, samples=2)
    assert found["differences"] == []
    assert len(found["checked"]) in (1, 4)  # a whole shard


@pytest.mark.usefixtures("undrawn")
def test_a_run_may_be_named_as_its_attack(adv_lib, run, small_library_victim, tmp_path, monkeypatch):
    """A relative path with a colon is no address of another file system."""
    monkeypatch.chdir(tmp_path)
    options = ["--attack", "adv-lib:fmn", "--samples", "4", "--draws", "2", "--quiet", "--out", "run-adv-lib:fmn"]
    assert run("attack", "--victim", small_library_victim, *options)[0] == 0
    assert run("verify", "run-adv-lib:fmn", "--victim", small_library_victim)[0] == 0
    assert "run-adv-lib:fmn" in run("runs", ".")[1]
