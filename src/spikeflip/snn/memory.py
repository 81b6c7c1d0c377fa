"""What is kept of each sample from one iteration of an attack to the next."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor


class Memory:
    """Named tensors with the batch first, which begin with a value where nothing was kept yet.

    The loop of the attacks hands a rule the memory of the samples under way, drops those that are finished and makes
    room for those that join; estimators of gradients keep theirs in it too. Nothing in it may depend on batch-mates.

    >>> memory = Memory(2)
    >>> memory.keep("speed", memory.recall("speed", torch.zeros(2, 3), initial=1.0) + 1)
    >>> memory.joined(1).recall("speed", torch.zeros(3, 3), initial=1.0)[:, 0]
    tensor([2., 2., 1.])
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._kept: dict[Hashable, tuple[Tensor, float]] = {}
        self._changed: set[Hashable] = set()
        self._rows: Tensor | None = None
        self._range: slice | None = None  # of the rows, where they follow each other: these are looked at in place
        self.is_frozen = False
        """Whether what is kept stays as it is: statistics are not taken of further encodings of an iteration."""

    def __len__(self) -> int:
        return self._n if self._rows is None else len(self._rows)

    def recall(self, name: Hashable, like: Tensor, *, initial: float = 0.0) -> Tensor:
        """What was kept under a name.

        Args:
            name: of the rule's own choice.
            like: ``(n, ...)``, whose shape, type and device a first value gets.
            initial: the value of samples of which nothing was kept yet.

        Returns:
            ``(n, ...)``; what is changed in it must be given to :meth:`keep`, which may write over it in place.
        """
        if name not in self._kept:
            whole = like.new_full((self._n, *like.shape[1:]), initial)
            self._kept[name] = whole, initial
        kept, _ = self._kept[name]
        if self._rows is None:
            return kept
        return kept[self._range] if self._range else kept[self._rows.to(kept.device)]

    def keep(self, name: Hashable, value: Tensor) -> None:
        """Keep a value ``(n, ...)`` under a name that was recalled before."""
        if self.is_frozen:
            return
        self._changed.add(name)
        kept, initial = self._kept[name]
        if self._rows is None:
            self._kept[name] = value, initial
        elif self._range:
            if (place := kept[self._range]).data_ptr() != value.data_ptr():  # else it was changed in place
                place.copy_(value)
        else:
            kept[self._rows.to(kept.device)] = value

    def of(self, rows: Tensor) -> "Memory":
        """The memory of some samples ``(m,)`` int64, in which what they keep is kept."""
        view = Memory(self._n)
        view._kept, view._changed, view.is_frozen = self._kept, self._changed, self.is_frozen
        view._rows = rows if self._rows is None else self._rows[rows.to(self._rows.device)]
        view._range = range_of(view._rows)
        return view

    def frozen(self) -> "Memory":
        """The same memory, in which nothing new is kept."""
        view = Memory(self._n)
        view._kept, view._rows, view._range, view.is_frozen = self._kept, self._rows, self._range, True
        return view

    def draft(self) -> "Memory":
        """A copy, whose changes :meth:`adopt` takes over of some samples; frozen if this one is."""
        draft = Memory(len(self))
        draft.is_frozen = self.is_frozen
        for name, (kept, initial) in self._kept.items():
            draft._kept[name] = (kept if self._rows is None else kept[self._rows.to(kept.device)]).clone(), initial
        return draft

    def adopt(self, draft: "Memory", rows: Tensor) -> None:
        """Keep what was kept in a draft of this memory of the samples ``rows`` ``(n,)`` bool."""
        for name in draft._changed:
            value, initial = draft._kept[name]
            before = self.recall(name, value, initial=initial)
            of_sample = rows.to(value.device).reshape(-1, *[1] * (value.ndim - 1))
            self.keep(name, torch.where(of_sample, value, before))

    def forget(self, rows: Tensor) -> None:
        """Let the samples ``rows`` ``(n,)`` bool begin anew."""
        for kept, initial in self._kept.values():
            kept[rows.to(kept.device)] = initial

    def selected(self, rows: Tensor) -> "Memory":
        """A memory of the samples ``rows`` ``(n,)`` bool alone, in the place of this one where these are all."""
        if self._rows is None and bool(rows.all()):
            return self._map(self._n, lambda kept, _: kept)
        return self._map(int(rows.sum()), lambda kept, _: kept[rows.to(kept.device)])

    def joined(self, n: int) -> "Memory":
        """A memory with n more samples behind, of which nothing is kept yet."""
        return self._map(
            self._n + n, lambda kept, initial: torch.cat([kept, kept.new_full((n, *kept.shape[1:]), initial)])
        )

    def _map(self, n: int, change: Callable[[Tensor, float], Tensor]) -> "Memory":
        other = Memory(n)
        other._kept = {name: (change(kept, initial), initial) for name, (kept, initial) in self._kept.items()}
        return other


def range_of(rows: Tensor) -> slice | None:
    """The rows as a slice, where each follows the one before."""
    if not len(rows) or not bool((rows.diff() == 1).all()):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1)
