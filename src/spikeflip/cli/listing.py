"""What there is to choose from: attacks, victims that come along, networks, data sets, defences and file formats."""

from collections.abc import Mapping


def listed(what: str) -> dict[str, str]:
    """The attacks, victims, networks, data, defences or formats, by name, each with a line on it."""
    if what == "attacks":
        from spikeflip.interop import EVERY_ATTACK

        return {
            name: f"{info.summary}; on {' and '.join(info.inputs)}, {' and '.join(info.goals)} ({info.source})"
            for name, info in EVERY_ATTACK.items()
        }
    if what == "networks":
        from spikeflip.snn.presets import PRESETS

        return {name: f"{preset.architecture}; {preset.summary}" for name, preset in PRESETS.items()}
    if what == "victims":
        from spikeflip.snn.bundled import VICTIMS

        return dict(VICTIMS)
    if what == "defences":
        from spikeflip.victims.defences import DEFENCES, options_of

        return {name: f"{_first_sentence(kind)}; {_options(options_of(kind))}" for name, kind in DEFENCES.items()}
    if what == "formats":
        from spikeflip.data import FORMATS

        return {name: f"{' '.join(entry.endings)}: {entry.summary}" for name, entry in FORMATS.items()}
    from spikeflip.data import EVENT_SETS, IMAGE_SETS

    return {**IMAGE_SETS, **EVENT_SETS}


def _first_sentence(kind: type) -> str:
    return str(kind.__doc__).partition("\n")[0].rstrip(".")


def _options(defaults: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in defaults.items())
