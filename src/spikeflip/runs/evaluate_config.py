"""What an evaluation is told."""

from typing import Literal

from pydantic import Field

from spikeflip.runs.config import DataConfig, VictimConfig


class EvaluateConfig(DataConfig, VictimConfig):
    """Which victim is evaluated on what; see :func:`spikeflip.evaluate`."""

    threat: str = Field(
        description="Threat model: binary-l0 (flips of spikes), events (of recordings), timing (spikes that move in "
        "time), image-linf or image-mse (changes of pixels)."
    )
    budget: float = Field(
        ge=0,
        description="binary-l0: share of each sample's own spikes that may be flipped, such as 0.05; events: share of "
        "each recording's own events; timing: share of the spikes that may move; image-linf: most change of a pixel; "
        "image-mse: mean squared change; 0 for clean accuracy.",
    )
    suite: str | None = Field(
        None, description="Attacks with their version, such as binary-l0/1; the newest of the threat when not given."
    )
    every: bool = Field(
        False,
        description="Run all attacks on all inputs, not only on those that still stand: says what each breaks alone.",
    )
    verdict: bool = Field(
        False, description="Say too whether the victim's gradients are masked, by attacks on the first 64 inputs."
    )
    split: Literal["train", "test"] = Field("test", description="Which part of the data set.")
    target: str = Field(
        "none",
        description="none: untargeted; all: every other class; next: label + 1; or a class, by name or number from 0.",
    )
    samples: int = Field(200, ge=1, le=1 << 31, description="Evaluate on the first so many inputs.")
    draws: int = Field(20, ge=1, le=1_000_000, description="Fresh encodings of each image, of which most must fool.")
    micro_batch: int = Field(16, ge=1, le=1 << 16, description="Samples in memory at a time.")
    shard_size: int = Field(16, ge=1, description="Inputs that are evaluated and saved together.")
    engine: Literal["auto", "torch", "event"] = Field(
        "auto", description="What runs the victim in the attacks: event skips zeros, on CPUs. Judging is on torch."
    )
    device: str = Field("cpu", description="Where the victim runs: cpu, cuda or cuda:N.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of all random streams.")
