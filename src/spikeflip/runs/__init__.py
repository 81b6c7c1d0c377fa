"""A run: a validated configuration in, a folder with rows, adversarial inputs, a summary and a page out."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeflip.runs.attack import is_finished, run_attack
    from spikeflip.runs.certify import run_certification
    from spikeflip.runs.certify_config import CertifyConfig
    from spikeflip.runs.compare import compare_runs, list_runs
    from spikeflip.runs.comparison import write_comparison
    from spikeflip.runs.config import AttackConfig, Execution, TrainConfig, VictimConfig
    from spikeflip.runs.evaluate import is_evaluated, run_evaluation
    from spikeflip.runs.evaluate_config import EvaluateConfig
    from spikeflip.runs.figures import animate, plot
    from spikeflip.runs.judge import judge_files
    from spikeflip.runs.pattern import run_learning
    from spikeflip.runs.pattern_config import PatternConfig
    from spikeflip.runs.sweep import run_sweep
    from spikeflip.runs.train import is_trained, run_training
    from spikeflip.runs.transfer import transfer_run
    from spikeflip.runs.verify import verify_run

__all__ = [
    "AttackConfig",
    "CertifyConfig",
    "EvaluateConfig",
    "Execution",
    "PatternConfig",
    "TrainConfig",
    "VictimConfig",
    "animate",
    "compare_runs",
    "is_evaluated",
    "is_finished",
    "is_trained",
    "judge_files",
    "list_runs",
    "plot",
    "run_attack",
    "run_certification",
    "run_evaluation",
    "run_learning",
    "run_sweep",
    "run_training",
    "transfer_run",
    "verify_run",
    "write_comparison",
]

_HOME = {
    "AttackConfig": "config",
    "CertifyConfig": "certify_config",
    "EvaluateConfig": "evaluate_config",
    "Execution": "config",
    "PatternConfig": "pattern_config",
    "TrainConfig": "config",
    "VictimConfig": "config",
    "animate": "figures",
    "compare_runs": "compare",
    "is_evaluated": "evaluate",
    "is_finished": "attack",
    "is_trained": "train",
    "judge_files": "judge",
    "list_runs": "compare",
    "plot": "figures",
    "run_attack": "attack",
    "run_certification": "certify",
    "run_evaluation": "evaluate",
    "run_learning": "pattern",
    "run_sweep": "sweep",
    "run_training": "train",
    "transfer_run": "transfer",
    "verify_run": "verify",
    "write_comparison": "comparison",
}


def __getattr__(name: str) -> object:
    """Import a name when it is first used: tables of finished runs do without PyTorch."""
    if name not in _HOME:
        raise AttributeError(f"module 'spikeflip.runs' has no attribute {name!r}")
    return getattr(import_module(f"spikeflip.runs.{_HOME[name]}"), name)
