"""The best arrangement of a line's spikes within a window, against all arrangements that there are."""

import itertools

import pytest
import torch

from spikeflip.attacks.arranging import arranged, dearest_lines


def best_of_all(line, worth, window):
    """The largest worth of as many bins, the k-th at most a window from the k-th spike."""
    spikes = line.nonzero().flatten().tolist()
    return max(
        sum(worth[bin] for bin in bins)
        for bins in itertools.combinations(range(len(line)), len(spikes))
        if all(abs(a - b) <= window for a, b in zip(spikes, bins, strict=True))
    )


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
def test_no_arrangement_is_worth_more(window, density):
    numbers = torch.Generator().manual_seed(window)
    spikes = (torch.rand(3, 8, 5, generator=numbers) < density).float()
    worth = torch.randint(-9, 10, spikes.shape, generator=numbers).float()
    after = arranged(spikes, worth, window)
    assert torch.equal(after.sum(1), spikes.sum(1))
    for sample, line in itertools.product(range(3), range(5)):
        old, new = spikes[sample, :, line], after[sample, :, line]
        found = (new * worth[sample, :, line]).sum().item()
        assert found == best_of_all(old, worth[sample, :, line].tolist(), window)
        assert all((a - b).abs() <= window for a, b in zip(old.nonzero(), new.nonzero(), strict=True))


def test_a_window_beyond_the_recording():
    spikes, worth = torch.tensor([[[1.0], [0], [0]]]), torch.tensor([[[0.0], [1], [2]]])
    assert arranged(spikes, worth, 7).flatten().tolist() == [0, 0, 1]


def test_lines_that_give_most_a_spike_come_first():
    """One line gives 9 for a moved spike, one 10 for two, one nothing."""
    before = torch.tensor([[[1.0, 1, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]]])
    after = torch.tensor([[[0.0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0]]])
    worth = torch.tensor([[[0.0, 0, 0], [9, 0, 0], [0, 4, 0], [0, 6, 0]]])
    for most, lines in ((0, []), (1, [0]), (2, [0, 1]), (9, [0, 1])):
        kept = dearest_lines(before, after, worth, torch.tensor([most]))
        assert (kept != before).any(1)[0].nonzero().flatten().tolist() == lines
