"""The examples run, smaller, and show what they say; those of frameworks that are not installed are skipped."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ATTACKS = sorted(EXAMPLES.glob("attack_*.py"))
PITFALLS = EXAMPLES / "pitfalls"
NEEDS = {"spikingjelly", "snntorch", "norse", "sinabs"}


def framework_of(path):
    return path.stem.removeprefix("attack_")


def case(path):
    name = framework_of(path)
    return pytest.param(path, id=name, marks=[pytest.mark.frameworks] if name in NEEDS else [])


@pytest.fixture
def example(monkeypatch):
    """An example as a module, from a folder that is on the path for as long as the test runs, as for a script."""
    torch.manual_seed(0)

    def load(path):
        for name in (other.stem for other in path.parent.glob("*.py")):
            monkeypatch.delitem(importlib.sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(path.parent)
        return importlib.import_module(path.stem)

    yield load
    for other in EXAMPLES.rglob("*.py"):
        importlib.sys.modules.pop(other.stem, None)


def held(model: nn.Module):
    """All that a model holds: the very objects, and the values of tensors."""
    found = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            for part, entry in value.items() if isinstance(value, dict) else [("", value)]:
                tensor = isinstance(entry, torch.Tensor)
                found[name, key, part] = (
                    entry if isinstance(entry, bool | int | float | str) else id(entry),
                    entry.detach().clone() if tensor else None,
                    (entry.requires_grad, None if entry.grad is None else entry.grad.clone())
                    if tensor and entry.is_leaf
                    else None,
                )
    return found


def assert_same(before, after):
    assert before.keys() == after.keys()
    for key, (thing, value, asked) in before.items():
        now, same, asking = after[key]
        assert now == thing, key
        assert value is None or torch.equal(value, same), key
        if asked is not None:
            assert asking[0] == asked[0], key
            assert asked[1] is None or torch.equal(asked[1], asking[1]), key


@pytest.mark.parametrize("path", [case(path) for path in ATTACKS])
def test_attacks_in_each_framework(path, example, monkeypatch, capsys):
    if framework_of(path) in NEEDS:
        pytest.importorskip(framework_of(path))
    module = example(path)
    attack, given = module.attack, []

    def watched(net, inputs, labels):
        before = held(net)
        figures = attack(net, inputs, labels)
        assert_same(before, held(net))
        given.append((len(inputs), len(labels)))
        return figures

    monkeypatch.setattr(module, "attack", watched)
    figures = module.main(updates=60, samples=20)
    assert given == [(20, 20)]
    assert figures["clean_accuracy"] > 0.6
    assert figures["attack_success_rate"] > 0.8
    assert figures["verified_success_rate"] > 0.6
    assert figures["random_verified_rate"] < figures["verified_success_rate"] - 0.3
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == list(figures)
    assert printed[0].endswith(f"{figures['clean_accuracy']:.3f}")


@pytest.mark.parametrize("path", ATTACKS, ids=framework_of)
def test_the_attack_takes_under_20_lines(path):
    (attack,) = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", None) == "attack"]
    assert attack.end_lineno - attack.lineno + 1 < 20


def test_a_defence_is_under_20_lines_and_attacked_as_what_it_is(example):
    path = EXAMPLES / "defend_with_a_median.py"
    (defence,) = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    assert defence.end_lineno - defence.lineno + 1 < 20
    found = example(path).main(updates=60, samples=20)
    assert found["clean accuracy"] > 0.6
    assert found["clean accuracy, defended"] > 0.6
    assert found["defended, attack through it"] > 0.6


def test_no_gradient_in_eval_mode(example):
    found = example(PITFALLS / "no_gradient_in_eval_mode.py").main(updates=60, samples=20)
    assert found["gradient in eval mode"] is None
    assert found["scores change in train mode by"] > 0.05
    assert found["BatchNorm moves by"] > 1e-3
    assert found["gradient of the victim"] > 0.1
    assert found["scores of the victim differ by"] < 1e-5
    assert_attacked(found)


def test_the_encoder_inside_the_model(example):
    found = example(PITFALLS / "encoder_inside_the_model.py").main(updates=60, samples=20)
    assert found["gradient"] is None
    assert found["two calls differ by"] >= 0.1
    assert "draws random numbers in layer 'encoder' (PoissonEncoder)" in found["refused"]
    assert "wrap what follows" in found["refused"]
    assert_attacked(found)


def test_time_first_or_batch_first(example):
    found = example(PITFALLS / "time_first_or_batch_first.py").main(updates=60, samples=20)
    assert found["accuracy, batch first"] <= 0.5
    assert found["accuracy, time first"] >= 0.7
    assert "the checks pass with layout 'TB'" in found["refused, layout BT"]
    assert_attacked(found)


def test_a_forgotten_reset(example):
    found = example(PITFALLS / "forgotten_reset.py").main(updates=60, samples=20)
    assert found["gradient off by"] > 0.2
    assert found["accuracy, used"] < found["accuracy, fresh"]
    assert "reset" in found["refused"]
    assert found["calls of the victim differ by"] == 0
    assert found["membranes left alone"]
    assert found["clean accuracy"] == found["accuracy, fresh"]
    assert_attacked(found)


def assert_attacked(found):
    assert found["clean accuracy"] > 0.6
    assert found["verified success rate"] > 0.5


def test_the_page_names_every_example():
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    every = {str(path.relative_to(EXAMPLES)) for path in (*EXAMPLES.glob("*.py"), *PITFALLS.glob("*.py"))}
    assert set(re.findall(r"`((?:pitfalls/)?\w+\.py)`", page)) == every
    shown = re.findall(r"^```\{literalinclude\} \.\./examples/(\S+)\n:pyobject: attack$", page, re.MULTILINE)
    assert sorted(shown) == [path.name for path in ATTACKS]
