"""Patterns in files: what was saved comes back, and what holds none is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from spikeflip import (
    Pattern,
    SpikeflipError,
    load_pattern,
    save_pattern,
)
from spikeflip.attacks.pattern import MARK, content_of


def test_a_file_gives_back_what_was_saved(tmp_path):
    bits = (torch.arange(12) % 2 == 0).view(3, 4).to(torch.uint8)
    for pattern in (
        Pattern("universal", bits, (3, 4), facts={"target": 2, "success": 0.5, "data": "digits", "seed": None}),
        Pattern("patch", bits, (3, 9), (5,)),
        Pattern("patch", bits, (3, 9)),
    ):
        path = tmp_path / "a.safetensors"
        save_pattern(pattern, path)
        again = load_pattern(path)
        assert torch.equal(again.bits, bits)
        for name in ("kind", "shape", "place", "facts", "sha256", "target"):
            assert getattr(again, name) == getattr(pattern, name)
        assert path.read_bytes() == content_of(again)
    assert str(pattern).startswith("a patch of 4 at random, sha256 ")


def header(**other):
    said = {"format": 1, "kind": "universal", "shape": [2, 3], "place": None, "facts": {}} | other
    return {MARK.decode(): json.dumps(said)}


BITS = torch.ones(2, 3, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        ({"bits": BITS}, None, "its header says nothing of a pattern"),
        ({"bits": BITS}, header(format=2), "its header says nothing of a pattern"),
        ({"bits": BITS}, {MARK.decode(): "{"}, "Expecting"),
        ({"bits": BITS.float()}, header(), "it does not hold bits of type U8 alone"),
        ({"bits": BITS, "more": 1 * BITS}, header(), "it does not hold bits of type U8 alone"),
        ({"bits": 2 * BITS}, header(), "its bits are not 0 and 1"),
        ({"bits": BITS}, header(kind="other"), "its kind is other, neither universal nor patch"),
        ({"bits": BITS}, header(shape=[2, 4]), "no universal pattern of inputs"),
        ({"bits": BITS}, header(shape=[2, -3]), "its inputs have shape"),
        ({"bits": BITS}, header(shape=[2, 3.0]), "its shape is no list of whole numbers"),
        ({"bits": BITS}, header(shape=[1 << 40, 1 << 40]), "its inputs have shape"),
        ({"bits": BITS}, header(kind="patch", shape=[2, 2]), "no patch pattern of inputs"),
        ({"bits": BITS}, header(kind="patch", shape=[2, 4], place=[2]), "is not within"),
        ({"bits": BITS}, header(kind="patch", shape=[2, 4], place=[0, 0]), "is not within"),
        ({"bits": BITS}, header(place=[0]), "it has a place, as patches alone have"),
        ({"bits": BITS}, header(facts={"target": [1]}), "its facts are no short texts and numbers"),
        ({"bits": BITS}, header(facts=[1]), "its facts are no short texts and numbers"),
    ],
)
def test_a_file_that_holds_no_pattern(tmp_path, tensors, metadata, words):
    save_file(tensors, tmp_path / "a.safetensors", metadata)
    with pytest.raises(
        SpikeflipError, match=rf"a.safetensors is no pattern that can be used \(.*{words}.*\): learn it"
    ):
        load_pattern(tmp_path / "a.safetensors")


def test_files_that_are_missing_or_damaged(tmp_path):
    for path, what in ((tmp_path / "none", "does not exist"), (tmp_path, "is no file")):
        with pytest.raises(SpikeflipError, match=f"{what}: give a file that learn-pattern wrote"):
            load_pattern(path)
    whole = content_of(Pattern("universal", BITS, (2, 3)))
    for damaged in (b"", whole[:20], whole[:-1], b"\xff" * 100):
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(SpikeflipError, match="a is no pattern that can be used"):
            load_pattern(tmp_path / "a")
