"""The paper's networks (Table V) and hyper-parameters (Table VI), as data."""

from dataclasses import dataclass

from spikeflip.snn.architecture import Shape
from spikeflip.snn.neuron import LIF
from spikeflip.snn.surrogate import Rectangular


@dataclass(frozen=True)
class Preset:
    """A network string with the neuron and window it is used with."""

    architecture: str
    input_shape: Shape
    neuron: LIF
    time_steps: int
    summary: str


PAPER_SPIKE = "128C3-128C3-AP2-384C3-384C3-AP2-1024FC-512FC-10FC"
PAPER_IMAGE = "128C3-256C3-AP2-512C3-AP2-1024C3-512C3-1024FC-512FC-10FC"
PAPER_GESTURE = "64C3-128C3-AP2-128C3-AP2-256FC-11FC"

_EVENTS = LIF(threshold=0.3, decay=0.3, surrogate=Rectangular(0.5))
_IMAGES = LIF(threshold=0.3, decay=0.25, surrogate=Rectangular(1.0))

PRESETS: dict[str, Preset] = {
    "paper-spike": Preset(PAPER_SPIKE, (2, 34, 34), _EVENTS, 15, "Table V, event recordings such as N-MNIST"),
    "paper-image": Preset(PAPER_IMAGE, (1, 28, 28), _IMAGES, 15, "Table V, rate-coded images such as MNIST"),
    "paper-gesture": Preset(PAPER_GESTURE, (2, 32, 32), _EVENTS, 60, "Table V, DVS128 Gesture"),
    "small-image": Preset("32C3-64C3-AP2-128FC-10FC", (1, 8, 8), _IMAGES, 15, "our own, for the bundled digits"),
    "small-spike": Preset(
        "16C3-AP2-32C3-AP2-128FC-10FC", (2, 16, 16), _EVENTS, 15, "our own, for simulated recordings"
    ),
}
"""The input shape is the one of the first data set that the summary names; any other can be given."""


@dataclass(frozen=True)
class Hyperparameters:
    """A column of Table VI; accuracies in percent, None where the paper gives none."""

    network: str
    input_shape: Shape
    threshold: float
    decay: float
    surrogate_width: float
    time_steps: int
    time_bin_ms: float | None
    accuracy_mse: float
    accuracy_ce: float | None


TABLE_VI: dict[str, Hyperparameters] = {
    "Gesture-DVS": Hyperparameters("paper-gesture", (2, 32, 32), 0.3, 0.3, 0.5, 60, 1.0, 91.32, None),
    "N-MNIST": Hyperparameters("paper-spike", (2, 34, 34), 0.3, 0.3, 0.5, 15, 5.0, 99.49, 99.42),
    "CIFAR10-DVS": Hyperparameters("paper-spike", (2, 42, 42), 0.3, 0.3, 0.5, 10, 5.0, 64.60, 64.50),
    "MNIST": Hyperparameters("paper-image", (1, 28, 28), 0.3, 0.25, 1.0, 15, None, 99.27, 99.52),
    "CIFAR10": Hyperparameters("paper-image", (3, 32, 32), 0.3, 0.25, 1.0, 15, None, 76.37, 77.27),
}
