"""What the learning of a pattern is told."""

from typing import Annotated, Literal

from pydantic import Field

from spikeflip.limits import MOST_FRAME_CELLS
from spikeflip.runs.config import PLACE, DataConfig, VictimConfig


class PatternConfig(DataConfig, VictimConfig):
    """On what a pattern is learned, and how; see :mod:`spikeflip.attacks.pattern_learning`."""

    kind: Literal["universal", "patch"] = Field(
        "universal", description="universal: cells that are flipped in every input; patch: a square that is replaced."
    )
    cells: int | None = Field(
        None, ge=0, le=MOST_FRAME_CELLS, description="Most cells that a universal perturbation flips."
    )
    side: int | None = Field(None, ge=1, le=1 << 16, description="Side of a patch in pixels.")
    place: Annotated[str, Field(pattern=PLACE)] | None = Field(
        None, description="First row and column of a patch, ROW,COLUMN; at random in each input when not given."
    )
    split: Literal["train", "test"] = Field(
        "train", description="Which part of the data set is learned from: another one than is attacked."
    )
    target: str = Field(
        "none", description="none: away from every class; or the class to lead to, by name or number from 0."
    )
    samples: int = Field(256, ge=1, le=1 << 31, description="Learn from the first so many inputs.")
    steps: int = Field(25, ge=1, le=1_000_000, description="Updates of the pattern.")
    loss: Literal["margin", "mse", "ce", "dlr"] = Field("margin", description="Loss whose gradient is followed.")
    gradient: str = Field("bptt", description="How the gradient is estimated, as for attack; one estimator.")
    output_window: float | None = Field(
        None, gt=0, description="Surrogate width of the output layer while learning; the victim's own when not given."
    )
    micro_batch: int = Field(16, ge=1, le=1 << 16, description="Samples in memory at a time.")
    device: str = Field("cpu", description="Where the victim runs: cpu, cuda or cuda:N.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of all random streams.")
