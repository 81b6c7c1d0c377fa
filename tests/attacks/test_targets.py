"""Every pair of a sample and another class, in order."""

import pytest
import torch

from spikeflip import SpikeflipError
from spikeflip.attacks import every_target, next_target


def test_every_class_but_its_own():
    index, targets = every_target(torch.tensor([2, 0, 3]), 4)
    assert index.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert targets.tolist() == [0, 1, 3, 1, 2, 3, 0, 1, 2]
    assert (index.dtype, targets.dtype) == (torch.int64, torch.int64)
    nothing, at_all = every_target(torch.empty(0, dtype=torch.int64), 4)
    assert (len(nothing), len(at_all)) == (0, 0)


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        ([1, 2], 3, "labels are a list: give a tensor"),
        (torch.tensor([0, 3]), 3, "label 3 "),
        (torch.tensor([0]), 1, "classes is 1: there is no other to aim at"),
        (torch.tensor([0]), 0, "classes is 0: give at least 1"),
        (torch.tensor([0]), 2.5, "classes is 2.5: give a whole number"),
    ],
)
def test_what_gives_no_targets(labels, classes, said):
    for targets in (every_target, next_target):
        with pytest.raises(SpikeflipError, match=said):
            targets(labels, classes)


def test_the_class_after_the_label():
    found = next_target(torch.tensor([0, 1, 2]), 3)
    assert found.tolist() == [1, 2, 0]
    assert found.dtype == torch.int64
