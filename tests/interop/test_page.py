"""Every piece of code of docs/interop.md runs, and does what its section says."""

import re
from pathlib import Path

import pytest
import torch

from spikeflip import scg
from spikeflip.snn.coding import encode

PAGE = (Path(__file__).parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")
PIECES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
START, *REST = PIECES
LIBRARIES = {"foolbox", "torchattacks", "art", "adv_lib", "pyautoattack", "secmlt"}


def name_of(piece):
    before = PAGE[: PAGE.index(piece)]
    return re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1]


def right_share(victim, images, labels):
    ids, shape = torch.arange(len(images)), victim.input_shape
    spikes = (encode(images, shape, victim.time_steps, seed=9, samples=ids, step=k, purpose="judge") for k in range(10))
    return float(torch.stack([(victim.scores(seen).argmax(1) == labels).float().mean() for seen in spikes]).mean())


@pytest.mark.parametrize("piece", REST, ids=name_of)
def test_page(piece, tmp_path, monkeypatch):
    imported = re.findall(r"^(?:import|from) (\w+)", piece, re.MULTILINE)
    named = [name.replace("-", "_") for name in re.findall(r'"([\w-]+):', piece)]
    for library in LIBRARIES & {*imported, *named}:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    exec(START, names)
    exec(piece, names)
    victim, images, labels, found = (names[name] for name in ("victim", "images", "labels", "adversarials"))
    assert found.shape == images.shape
    if name_of(piece).endswith("way") or "way," in name_of(piece):
        assert torch.equal(found, scg(victim, images, labels, steps=10).adversarials)
    elif "judgement" not in names:
        assert right_share(victim, images, labels) > 0.9
        assert right_share(victim, found, labels) < 0.75
    else:
        fooled = names["judgement"].summary()["verified_success_rate"]
        assert fooled == pytest.approx(1 - right_share(victim, found, labels), abs=0.1)


def test_every_library_has_its_piece():
    assert {name_of(piece) for piece in REST} >= {
        "foolbox",
        "torchattacks",
        "ART",
        "adv-lib",
        "AutoAttack",
        "secml-torch",
    }
