"""What is kept of samples while they come and go."""

import torch

from spikeflip.snn.memory import Memory


def column(*values):
    return torch.tensor(values)[:, None].float()


def test_what_is_kept_is_recalled_and_begins_with_its_initial_value():
    memory = Memory(3)
    assert memory.recall("speed", torch.zeros(3, 2), initial=1.5).tolist() == [[1.5, 1.5]] * 3
    memory.keep("speed", torch.arange(6.0).view(3, 2))
    assert memory.recall("speed", torch.zeros(3, 2), initial=1.5).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert memory.recall(("layer", 2), torch.zeros(3)).tolist() == [0, 0, 0]
    assert len(memory) == 3


def test_types_and_shapes_are_those_of_what_it_is_like():
    found = Memory(2).recall("m", torch.zeros(2, 4, dtype=torch.float64), initial=1)
    assert (found.dtype, tuple(found.shape)) == (torch.float64, (2, 4))
    assert Memory(0).recall("m", torch.zeros(0, 3)).shape == (0, 3)


def test_samples_leave_join_and_begin_anew():
    memory = Memory(3)
    memory.recall("m", column(0, 0, 0), initial=9)
    memory.keep("m", column(1, 2, 3))
    fewer = memory.selected(torch.tensor([True, False, True]))
    assert fewer.recall("m", column(0, 0), initial=9).tolist() == [[1], [3]]
    more = fewer.joined(2)
    assert more.recall("m", column(0, 0, 0, 0), initial=9).tolist() == [[1], [3], [9], [9]]
    more.forget(torch.tensor([False, True, False, False]))
    assert more.recall("m", column(0, 0, 0, 0), initial=9).tolist() == [[1], [9], [9], [9]]
    assert memory.recall("m", column(0, 0, 0), initial=9).tolist() == [[1], [2], [3]]  # the old one is as it was


def test_some_samples_keep_theirs_and_leave_the_others_alone():
    memory = Memory(4)
    some = memory.of(torch.tensor([3, 1]))
    assert len(some) == 2
    some.recall("m", column(0, 0))
    some.keep("m", column(30, 10))
    one = some.of(torch.tensor([0]))
    assert one.recall("m", column(0)).tolist() == [[30]]
    one.keep("m", column(31))
    assert memory.recall("m", column(0, 0, 0, 0)).tolist() == [[0], [10], [0], [31]]


def test_a_draft_is_taken_over_of_some_samples_and_where_it_changed():
    memory = Memory(4)
    for name in ("kept", "changed"):
        memory.recall(name, column(0, 0, 0, 0))
        memory.keep(name, column(1, 2, 3, 4))
    some = memory.of(torch.tensor([3, 1, 0]))
    draft = some.draft()
    draft.keep("changed", draft.recall("changed", column(0, 0, 0)) * 10)
    draft.recall("new", column(0, 0, 0), initial=7)
    draft.keep("new", column(8, 8, 8))
    some.keep("kept", column(40, 20, 10))
    assert memory.recall("changed", column(0, 0, 0, 0))[:, 0].tolist() == [1, 2, 3, 4]
    some.adopt(draft, torch.tensor([True, False, True]))
    assert memory.recall("changed", column(0, 0, 0, 0))[:, 0].tolist() == [10, 2, 3, 40]
    assert memory.recall("kept", column(0, 0, 0, 0))[:, 0].tolist() == [10, 20, 3, 40]
    assert memory.recall("new", column(0, 0, 0, 0))[:, 0].tolist() == [8, 7, 7, 8]
    frozen = memory.frozen().draft()
    frozen.keep("kept", column(0, 0, 0, 0))
    memory.adopt(frozen, torch.ones(4, dtype=torch.bool))
    assert memory.recall("kept", column(0, 0, 0, 0))[:, 0].tolist() == [10, 20, 3, 40]
