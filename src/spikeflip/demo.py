"""The demonstration: two small victims trained and attacked from nothing, without a network, in one to two minutes."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikeflip.report import write_report
from spikeflip.runs import AttackConfig, TrainConfig, run_attack, run_training
from spikeflip.runs.folder import new_folder

Progress = Callable[[str, int, int], None]

# Fewer updates than train chooses: the demonstration is to be over in a minute or two.
_VICTIMS = {
    "images": TrainConfig(updates=200),
    "events": TrainConfig(updates=250, simulate_events=True),
}
_THRESHOLDS = {"images": 1.0, "events": 0.7}
"""Where each kind of victim is easiest to attack towards a target (Fig. 14 of the paper)."""
_GOALS: dict[str, dict[str, Any]] = {
    "untargeted": {"target": "none", "samples": 100},
    "targeted": {"target": "all", "samples": 15},
}


def run_demo(out: Path, *, progress: Progress | None = None) -> dict[str, dict[str, Any]]:
    """Train an image and an event victim on the bundled digits, attack both untargeted and targeted, and write a page.

    Args:
        out: a folder to make, with ``report.html``, both victims and one run folder an attack.
        progress: called with the stage, and what is done of what.

    Returns:
        The four summaries by the name of their run folder.

    Raises:
        SpikeflipError: ``out`` holds something already.
    """
    summaries: dict[str, dict[str, Any]] = {}
    with new_folder(out) as folder:
        for kind, training in _VICTIMS.items():
            victim = folder / "victims" / kind
            run_training(training, victim, progress=_trained(progress, kind))
            for goal, options in _GOALS.items():
                name = f"{kind}-{goal}"
                config = AttackConfig(
                    victim=victim,
                    simulate_events=training.simulate_events,
                    settings={"threshold": _THRESHOLDS[kind]},
                    **options,
                )
                summaries[name] = run_attack(config, folder / name, progress=_staged(progress, name))
        write_report([folder / name for name in summaries], folder / "report.html", title="spikeflip demo")
    return summaries


def next_commands(out: Path) -> tuple[str, ...]:
    """What attacks the victims of a demonstration in ``out`` again, as it is typed."""
    images, events = (shlex.quote(str(out / "victims" / kind)) for kind in _VICTIMS)
    return (
        f"spikeflip attack --victim {images} --attack pgd --samples 100 --out runs/images",
        f"spikeflip attack --victim {events} --simulate-events --attack sigma-zero --samples 20 --out runs/events",
    )


def _trained(progress: Progress | None, kind: str) -> Callable[[Any], None] | None:
    return None if progress is None else lambda now: progress(f"train {kind}", now.update, now.updates)


def _staged(progress: Progress | None, run: str) -> Progress | None:
    return None if progress is None else lambda stage, done, every: progress(f"{stage} {run}", done, every)
