"""Windows of time steps in a foreign model that is called once a step: at a border the graph of its state ends."""

from spikeflip.victims.state import State, without_graph


class Borders:
    """Cuts all that a model remembers, behind every ``length`` time steps; a :data:`spikeflip.victims.layouts.Between`.

    Args:
        length: of a window, in time steps.
        state: where the model remembers.
    """

    def __init__(self, length: int, state: State) -> None:
        self.length, self._state = length, state

    def __call__(self, step: int, state: object) -> object:
        """Between two calls of the model."""
        if step % self.length:
            return state
        self._state.cut()
        return without_graph(state)
