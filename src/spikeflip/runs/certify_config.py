"""What a certification is told."""

from typing import Literal

from pydantic import Field

from spikeflip.runs.config import DataConfig, VictimConfig


class CertifyConfig(DataConfig, VictimConfig):
    """Which victim is certified on what; see :func:`spikeflip.certify`."""

    data: str = Field("digits", description="Data set of images (see 'list data').")
    split: Literal["train", "test"] = Field("test", description="Which part of the data set.")
    samples: int = Field(100, ge=1, le=1 << 31, description="Certify the first so many images.")
    draws: int = Field(1000, ge=1, le=1_000_000, description="Fresh encodings of each image, which bound the vote.")
    first: int = Field(20, ge=1, le=1_000_000, description="Encodings before these, which choose the class.")
    error: float = Field(0.001, gt=0, lt=1, description="How often an image's bound may be wrong.")
    micro_batch: int = Field(64, ge=1, le=1 << 16, description="Encodings in memory at a time.")
    device: str = Field("cpu", description="Where the victim runs: cpu, cuda or cuda:N.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of all random streams.")
