"""A plain function and the settings of its attack are one: the same arguments, the same defaults, the same call."""

import inspect
import re
import sys
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path

import pytest
import torch

from spikeflip import Budget, SpikingNetwork, attacks
from spikeflip.attacks import ATTACKS, AttackInfo, AttackResult, Pattern, Trace, loop
from spikeflip.attacks.bim import BIM
from spikeflip.attacks.iterated import Options, as_budget
from spikeflip.attacks.reduce import each_flip, each_move
from spikeflip.attacks.stop import Smallest
from spikeflip.snn.coding import encode_for
from spikeflip.snn.estimators import estimator

FUNCTIONS = {name: attacks.noise if name == "random" else getattr(attacks, name.replace("-", "_")) for name in ATTACKS}
OTHER = {
    "steps": 7,
    "gamma": 0.2,
    "threshold": 0.7,
    "loss": "dlr",
    "budget": Budget(0.2, "linf"),
    "sampling": False,
    "flipper": False,
    "output_window": 2.5,
    "c": 0.3,
    "top_k": 4,
    "rescue_window": 3.5,
    "step_size": 0.17,
    "unit": 0.4,
    "block": 3,
    "candidates": 5,
    "strength": 0.09,
    "gradient": "pdsg",
    "encodings": 3,
    "decay": 0.8,
    "published": True,
    "sigma": 0.02,
    "rate": 0.3,
    "reach": 1.5,
    "rivals": 2,
    "stay": 0.9,
    "cost": 0.05,
    "queries": 9,
    "share": 0.4,
    "growth": 1.75,
    "window": 3,
    "moves": 4,
    "momentum": 0.4,
    "near": 2,
    "sign": True,
    "kind": "hot-pixels",
}
"""A value of every setting that is no attack's default."""

PATTERNS = {
    "universal": Pattern("universal", torch.ones(2, 4, dtype=torch.uint8), (2, 4)),
    "patch": Pattern("patch", torch.ones(2, 3, dtype=torch.uint8), (2, 4)),
}
BLANK = AttackResult.blank(torch.ones(1, 4), None)
DENSE = ("pgd", "mi-fgsm", "apgd", "sa-pgd")
GOES_ON = ("sigma-zero", "gumbel-flips", "flip-search")
FEWEST = (*GOES_ON, "sda", "spikefool", "sparse-rs", "retiming", "soft-retiming")
TUNED = ("scg", "sigma-zero", "sda", "spikefool", "gumbel-flips", "retiming", "soft-retiming")
TIMED = ("retiming", "soft-retiming")
WITHOUT_GRADIENT = (
    "conversion", "greedy-pixels", "greedy-flips", "universal", "patch", "random", "sparse-rs", "flip-search",
    "random-flips", "random-retiming", "camera-noise",
)  # fmt: skip
EVERY = pytest.mark.parametrize("name", ATTACKS)
SOURCES = {
    "scg": "Liang et al., IEEE TNNLS 2021",
    "fgsm": "Goodfellow et al., ICLR 2015",
    "bim": "Kurakin et al., 2017",
    "pgd": "Madry et al., ICLR 2018",
    "mi-fgsm": "Dong et al., CVPR 2018",
    "apgd": "Croce and Hein, ICML 2020",
    "sa-pgd": "Wang et al., CVPR 2026",
    "conversion": "Sharmin et al., IJCNN 2019 and ECCV 2020",
    "greedy-pixels": "Marchisio et al., 2019",
    "greedy-flips": "Bagheri et al., SPAWC 2018",
    "universal": "Moosavi-Dezfooli et al., CVPR 2017; on spikes Büchel et al., 2022",
    "patch": "Brown et al., 2017; on spikes Büchel et al., 2022",
    "random": "a control, from no paper",
    "sigma-zero": "Cinà et al., ICLR 2025, on images; on flips our own",
    "sda": "Lun et al., CVPR 2025",
    "spikefool": "Büchel et al., Front. Neurosci. 2022",
    "gumbel-flips": "Yao et al., ECCV 2024, on raw events; on cells our own",
    "sparse-rs": "Croce et al., AAAI 2022, on pixels; on cells our own",
    "flip-search": "our own, after SCAR of Büchel et al., Front. Neurosci. 2022",
    "random-flips": "a control, from no paper",
    "soft-retiming": "Yu et al., ICLR 2026, with a scaled step",
    "retiming": "our own, in the setting of Yu et al., ICLR 2026",
    "random-retiming": "a control, from no paper",
    "camera-noise": "dash and frame: Marchisio et al., IJCNN and IROS 2021; the rest a control",
}


@pytest.fixture
def caught(monkeypatch):
    """What the plain function of an attack calls its settings with; nothing is attacked."""
    calls = []

    def call(self, *given, **options):
        calls.append((self, given, options))

    for info in ATTACKS.values():
        monkeypatch.setattr(info.settings, "__call__", call)
    return calls


def test_every_attack_names_its_paper_and_what_it_does():
    assert {name: info.source for name, info in ATTACKS.items()} == SOURCES
    assert all(info.goals == ("untargeted", "targeted") and len(info.summary.split()) > 5 for info in ATTACKS.values())


@EVERY
def test_arguments_and_defaults_are_those_of_the_settings(name):
    settings, parameters = ATTACKS[name].settings, inspect.signature(FUNCTIONS[name]).parameters
    own = {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert own == {field.name: field.default for field in fields(settings)}
    assert list(parameters)[:4] == ["victim", "inputs", "labels", "targets"]
    assert parameters["targets"].default is None


@EVERY
def test_every_argument_reaches_its_own_setting(name, caught):
    settings = ATTACKS[name].settings
    for field in fields(settings):
        given = {field.name: PATTERNS[name] if field.name == "pattern" else OTHER[field.name]}
        if given == {"loss": field.default}:
            given = {"loss": "ce"}
        if name in TIMED and field.name == "budget":
            given = {"budget": Budget(5, "moved")}
        FUNCTIONS[name]("victim", "inputs", "labels", "targets", **given, seed=5, trace=True)
        made, positional, options = caught.pop()
        assert made == settings(**given)
        assert made != settings()
        assert (positional, options) == (("victim", "inputs", "labels", "targets"), {"seed": 5, "trace": True})


@EVERY
def test_a_number_as_budget_bounds_mse_or_the_ball(name, caught):
    settings = ATTACKS[name].settings
    if "budget" in {field.name for field in fields(settings)}:
        # A conversion can take its step size from a budget in linf alone.
        given = {"step_size": 0.1} if "step_size" in {field.name for field in fields(settings)} else {}
        for number in (1, 0.25):
            FUNCTIONS[name](None, None, None, budget=number, **given)
            metric = "moved" if name in TIMED else "linf" if name in DENSE else "mse"
            assert caught.pop()[0].budget == Budget(number, metric)


@EVERY
def test_settings_hand_the_loop_all_that_they_were_given(name, monkeypatch):
    """Steps, budget and the kind of inputs by name; every option of the call, and nothing else."""
    settings, seen = ATTACKS[name].settings, {}
    monkeypatch.setattr(loop, "run", lambda *given, **named: seen.update(named, given=given) or BLANK)
    network, images = SpikingNetwork("3FC-2FC", (4,), time_steps=2), torch.ones(1, 4)
    labels, targets = torch.tensor([0]), torch.tensor([1])
    own = {key: OTHER[key] for key in ("steps", "budget") if key in {field.name for field in fields(settings)}}
    if name in FEWEST:
        own["budget"] = Budget(3, "l0")
    if name in TIMED:  # whose moves need more than these images have: a time axis
        own.pop("budget")
    own |= {"candidates": 3} if name == "sda" else {}
    own |= {"pattern": PATTERNS[name]} if name in PATTERNS else {}
    options = dict.fromkeys(Options.__annotations__, "given")
    options |= {"reduce": False} if name in PATTERNS else {}  # which does the same to all inputs
    settings(**own)(network, images, labels, targets, **options)
    *given, rule = seen.pop("given")
    assert seen.pop("units") is (each_move if name in {*TIMED, "random-retiming"} else each_flip)
    known = {"only": seen["only"], "asks": seen["asks"], "counts": False, "decisions_only": name == "flip-search"}
    expected = {"steps": 1, "budget": None} | own | known | options
    for key in ("pattern", "candidates"):
        expected.pop(key, None)
    if name in DENSE:  # the rule keeps to the ball, and a random start is an iteration of its own
        expected |= {"steps": own["steps"] + (name != "mi-fgsm"), "budget": None}
    if name in FEWEST:  # their budget bounds the success, after the loop
        expected["budget"] = None
    assert all(ours is theirs for ours, theirs in zip(given, (network, images, labels, targets), strict=True))
    assert seen == expected
    assert callable(rule)
    asked = seen["asks"]
    assert (asked is None) == (name in WITHOUT_GRADIENT)
    if asked is not None:
        assert asked.penultimate_threshold == (1.0 if name in TUNED else None)
        assert asked.estimator == estimator("bptt", 1.0 if name in FEWEST else None)
    kinds = ATTACKS[name].inputs
    assert seen["only"] == (None if len(kinds) == 2 else kinds[0])


@EVERY
def test_what_is_not_said_is_what_the_attack_is_for(name, monkeypatch):
    """Successes are reduced, and looked for until the last step, where the fewest flips are wanted."""
    seen = {}
    monkeypatch.setattr(loop, "run", lambda *given, **named: seen.update(named) or BLANK)
    own = {"pattern": PATTERNS[name]} if name in PATTERNS else {"candidates": 3} if name == "sda" else {}
    attack = ATTACKS[name].settings(**own)
    given = (SpikingNetwork("3FC-2FC", (4,), time_steps=2), torch.ones(1, 2, 4), torch.tensor([0]))
    for options in ({}, {"stop": None, "reduce": None}):
        attack(*given, **options)
        assert seen["stop"] == (Smallest("l0") if name in GOES_ON else None)
        assert seen["reduce"] == (name in FEWEST)
    other = name not in FEWEST and name not in PATTERNS
    attack(*given, stop=Smallest("mse"), reduce=other)
    assert seen["stop"] == Smallest("mse")
    assert seen["reduce"] == other


@EVERY
def test_a_misspelt_argument_is_named_with_the_one_that_was_meant(name):
    own = {"pattern": PATTERNS[name]} if name in PATTERNS else {}
    setting = fields(ATTACKS[name].settings)[0].name
    for call in (FUNCTIONS[name], ATTACKS[name].settings(**own)):
        given = own if call is FUNCTIONS[name] else {}
        with pytest.raises(TypeError, match=r"there is no argument 'micro_bach': did you mean micro_batch\?"):
            call(None, None, None, micro_bach=3, **given)
    with pytest.raises(TypeError, match=f"^{setting} is a setting of {ATTACKS[name].settings.__name__}: give it when"):
        ATTACKS[name].settings(**own)(None, None, None, **{setting: 1})


@EVERY
def test_settings_cannot_be_changed_after_they_were_checked(name):
    attack = ATTACKS[name].settings()
    with pytest.raises(FrozenInstanceError):
        setattr(attack, fields(attack)[0].name, -1)


def test_values_that_are_handed_around_are_frozen():
    """Of every module of the attacks: what one sees, another cannot change."""
    found = set()
    for name in sys.modules:
        if f"{name}.".startswith("spikeflip.attacks."):
            found |= {kind for kind in vars(sys.modules[name]).values() if is_dataclass(kind)}
    assert {loop.Step, loop.Move, AttackResult, Trace, Budget, AttackInfo} <= found
    assert all(kind.__dataclass_params__.frozen for kind in found)


def test_fgsm_is_one_step_of_bim_with_its_own_settings():
    network = SpikingNetwork("8FC-2FC", (4,), time_steps=9, seed=9)
    images = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    seen = encode_for(network, images, seed=0, samples=torch.arange(6))
    labels = network.scores(seen).argmax(1)
    own = {"step_size": 0.4, "loss": "ce", "budget": Budget(0.3)}
    one, other = attacks.FGSM(**own)(network, images, labels), BIM(steps=1, **own)(network, images, labels)
    assert torch.equal(one.adversarials, other.adversarials)
    assert one.steps.tolist() == other.steps.tolist()
    assert max(one.steps.tolist()) == 1


def test_budgets_as_they_are():
    assert as_budget(None) is None
    assert as_budget(OTHER["budget"]) is OTHER["budget"]


def test_the_table_of_the_manual_is_the_registry():
    """docs/attacks.md, whose columns are the name, the function, the inputs, ..."""
    page = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([a-z-]+)` \| \{py:func\}`(\w+) <[\w.]+>` \| ([a-z, ]+) \|", page, re.MULTILINE)
    assert told == [(name, FUNCTIONS[name].__name__, ", ".join(info.inputs)) for name, info in ATTACKS.items()]
    assert all(info.goals == ("untargeted", "targeted") for info in ATTACKS.values())
