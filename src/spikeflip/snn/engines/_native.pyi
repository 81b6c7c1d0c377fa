from collections.abc import Sequence

VECTOR: int
MOST_TAPS: int

Neuron = tuple[float, float, int, float, float, float]

class Lists:
    def counts(self) -> list[int]: ...

def list_spikes(spikes: int, samples: int, rows: int, channels: int, threads: int, /) -> Lists: ...
def list_gradient(gradient: int, samples: int, rows: int, channels: int, threads: int, /) -> Lists: ...
def conv_forward(
    lists: Lists,
    samples: Sequence[int],
    conv: tuple[int, ...],
    neuron: Neuron,
    steps: int,
    weights: int,
    potentials: int,
    spikes: int,
    threads: int,
    /,
) -> None: ...
def conv_backward(
    lists: Lists,
    samples: Sequence[int],
    conv: tuple[int, ...],
    neuron: Neuron,
    steps: int,
    weights: int,
    potentials: int,
    potential_rows: Sequence[int],
    result: int,
    threads: int,
    /,
) -> None: ...
def pool_forward(
    samples: int,
    pool: tuple[int, int, int, int],
    neuron: Neuron,
    steps: int,
    spikes: int,
    potentials: int,
    after: int,
    threads: int,
    /,
) -> None: ...
def pool_backward(
    pool: tuple[int, int, int, int],
    neuron: Neuron,
    steps: int,
    gradient: int,
    potentials: int,
    potential_rows: Sequence[int],
    samples: int,
    result: int,
    threads: int,
    /,
) -> None: ...
def linear(
    lists: Lists, inputs: int, outputs: int, outputs_padded: int, weights: int, result: int, threads: int, /
) -> None: ...
def conv_weights(
    lists: Lists, conv: tuple[int, ...], steps: int, gradient: int, result: int, threads: int, /
) -> None: ...
def linear_weights(
    lists: Lists, inputs: int, outputs: int, outputs_padded: int, gradient: int, result: int, threads: int, /
) -> None: ...
def neurons_forward(
    neuron: Neuron,
    samples: int,
    steps: int,
    width: int,
    currents: int,
    potentials: int,
    spikes: int,
    threads: int,
    /,
) -> None: ...
def neurons_backward(
    neuron: Neuron,
    potential_rows: Sequence[int],
    steps: int,
    width: int,
    potentials: int,
    gradient: int,
    threads: int,
    /,
) -> None: ...
def use(name: str, /) -> bool: ...
def instructions() -> str: ...
