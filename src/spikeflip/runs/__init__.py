"""A run: a validated configuration in, a folder with rows, adversarial inputs, a summary and a page out."""

from spikeflip.runs.attack import run_attack
from spikeflip.runs.config import AttackConfig, TrainConfig
from spikeflip.runs.recordings import judge_files
from spikeflip.runs.train import run_training

__all__ = ["AttackConfig", "TrainConfig", "judge_files", "run_attack", "run_training"]
