"""What there is to choose from: attacks, victims that come along, networks, data sets and file formats."""


def listed(what: str) -> dict[str, str]:
    """The attacks, victims, networks, data or formats, by name, each with a line on it."""
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
    if what == "formats":
        from spikeflip.data import FORMATS

        return {name: f"{' '.join(entry.endings)}: {entry.summary}" for name, entry in FORMATS.items()}
    from spikeflip.data import EVENT_SETS, IMAGE_SETS

    return {**IMAGE_SETS, **EVENT_SETS}
