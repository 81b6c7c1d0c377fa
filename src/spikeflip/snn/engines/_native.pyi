from collections.abc import Sequence

VECTOR: int
LARGEST_KERNEL: int

Neuron = tuple[float, float, int, float, float, float]
Layout = tuple[int, int, int]

class Pass:
    def __init__(
        self,
        steps: int,
        input: int,
        states: Sequence[tuple[int, int, int]],
        dropout: Sequence[tuple[int, float]],
        most_dense: float,
        threads: int,
        /,
    ) -> None: ...

class MapLayers:
    def __init__(self, shape: tuple[int, ...], neuron: Neuron, /) -> None: ...
    def add_conv(self, channels: int, kernel: int, forward: int, backward: int, /) -> None: ...
    def add_pool(self, size: int, /) -> None: ...
    def forward(self, run: Pass, starts: Sequence[int], end: int, /) -> list[int]: ...
    def neurons(self, run: Pass, layer: int, sample: int, current: int, /) -> None: ...
    def backward(
        self, run: Pass, starts: Sequence[tuple[int, int, int, int, int]], weights: Sequence[int], /
    ) -> list[int]: ...

class Frames:
    @staticmethod
    def of_spikes(
        spikes: int, kept: int, samples: int, steps: int, shape: tuple[int, ...], threads: int, /
    ) -> Frames: ...
    @staticmethod
    def of_values(values: int, samples: int, steps: int, inputs: int, threads: int, /) -> Frames: ...
    def linear(self, outputs: int, weights: int, result: int, threads: int, /) -> None: ...
    def add_weight_gradient(self, outputs: int, gradient: int, result: int, threads: int, /) -> None: ...

def integrate(
    neuron: Neuron,
    samples: int,
    steps: int,
    width: int,
    currents: Layout,
    potentials: Layout,
    spikes: Layout,
    threads: int,
    /,
) -> None: ...
def reverse(
    neuron: Neuron,
    samples: int,
    steps: int,
    width: int,
    gradient: Layout,
    potentials: Layout,
    threads: int,
    /,
) -> None: ...
def pack_floats(values: int, frames: int, channels: int, pixels: int, words: int, /) -> None: ...
def pack_bytes(values: int, frames: int, channels: int, pixels: int, words: int, /) -> None: ...
def unpack(words: int, rows: int, channels: int, floats: int, /) -> None: ...
def use(name: str, /) -> bool: ...
def instructions() -> str: ...
