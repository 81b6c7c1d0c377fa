"""What a misspelt name is answered with, wherever names are given."""

import time

import pytest
import torch

import spikeflip
from spikeflip import SpikeflipError
from spikeflip.errors import choose_from, nearest


@pytest.mark.parametrize(
    ("given", "meant"),
    [("sgc", "scg"), ("SCG", "scg"), ("mnist", "MNIST"), ("simga-zero", "sigma-zero"), ("", None), ("fog", None)],
)
def test_what_was_likely_meant(given, meant):
    assert nearest(given, ["scg", "sigma-zero", "MNIST"]) == meant


def test_nothing_to_choose_from_and_things_that_are_no_names():
    assert choose_from("x", []) == "choose from "
    assert choose_from(None, ["scg"]) == "choose from scg"


def test_a_long_name_takes_no_time():
    started = time.monotonic()
    nearest("a" * 10_000_000, ["a" * 40] * 50)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["attack", "--victim", "v", "--attack", "sgc"], "--attack is 'sgc': did you mean scg?"),
        (["attack", "--victim", "v", "--epsilon", "1", "--metric", "l22"], "--metric is 'l22': did you mean l2?"),
        (["attack", "--victim", "v", "--engine", "evnt"], "--engine is 'evnt': did you mean event?"),
        (["attack", "--victim", "v", "--surrogate", "atann"], "--surrogate is 'atann': did you mean atan?"),
        (["train", "--data", "diggits"], "folder of recordings: did you mean digits?"),
        (["train", "--network", "small-imge"], "--network is 'small-imge': did you mean small-image?"),
        (["train", "--losss", "ce"], "Did you mean --loss?"),
        (["evaluate", "--victim", "demo-digits", "--budget", "1", "--threat", "image-lin"], "did you mean image-linf?"),
        (["reproduce", "tabel-7"], "there is no experiment 'tabel-7': did you mean table-7?"),
    ],
)
def test_the_command_says_what_was_likely_meant(arguments, meant, run, tmp_path):
    status, out, err = run(*arguments, "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert meant in err
    assert err.count("\n") == 1


def test_so_does_python(digit_victim):
    images, labels = torch.zeros(1, 1, 8, 8), torch.tensor([0])
    for wrong, meant in (({"gradient": "bttp"}, "bptt"), ({"loss": "margn"}, "margin")):
        with pytest.raises(SpikeflipError, match=rf"did you mean {meant}\?"):
            spikeflip.scg(digit_victim, images, labels, **wrong)
    with pytest.raises(SpikeflipError, match=r"metric is 'l00': did you mean l0\?"):
        spikeflip.Budget(1, "l00")
