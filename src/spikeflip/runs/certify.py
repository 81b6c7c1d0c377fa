"""Certifying the votes of a victim on a data set."""

from collections.abc import Callable
from typing import Any

from spikeflip.judging.certificate import certify
from spikeflip.notices import as_json
from spikeflip.runs.certify_config import CertifyConfig
from spikeflip.runs.circumstances import circumstances, not_of_attacks
from spikeflip.runs.config import AttackConfig, DataConfig, VictimConfig
from spikeflip.runs.plan import make_plan, open_task

Progress = Callable[[str, int, int], None]

_OF_ATTACKS = (*DataConfig.model_fields, *VictimConfig.model_fields, "split", "samples", "device", "seed")


def run_certification(config: CertifyConfig, *, progress: Progress | None = None) -> dict[str, Any]:
    """Certify the first images of a data set; see :func:`spikeflip.certify`.

    Args:
        config: what is certified, and how.
        progress: called with ``"images"``, those that are done, and all.

    Returns:
        The summary of the :class:`spikeflip.judging.certificate.Certificate`, with the victim's checksum, ``notices``
        and ``rows``: of each image the label, the class (None where it abstains), the bound and the radius.

    Raises:
        SpikeflipError: an option is wrong, or the victim's encodings are not random.
    """
    task = open_task(AttackConfig(attack="random", **{name: getattr(config, name) for name in _OF_ATTACKS}))
    found = certify(
        task.victim,
        task.data.values,
        draws=config.draws,
        first=config.first,
        error=config.error,
        seed=config.seed,
        micro_batch=config.micro_batch,
        progress=None if progress is None else lambda done, every: progress("images", done, every),
    )
    known = circumstances(make_plan(task))
    columns = (values.tolist() for values in (task.data.labels, found.classes, found.bounds, found.radii))
    rows = [
        {"label": label, "class": chosen if chosen >= 0 else None, "bound": bound, "radius": radius}
        for label, chosen, bound, radius in zip(*columns, strict=True)
    ]
    return {
        **found.summary(task.data.labels),
        "weights_sha256": task.loaded.sha256,
        "notices": as_json([*known.attack, *not_of_attacks(known)]),
        "rows": rows,
    }
