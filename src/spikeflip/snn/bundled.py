"""The small victims that come with the package, for a first attack without a training."""

from pathlib import Path

from spikeflip.errors import SpikeflipError, nearest

HOME = Path(__file__).parent / "demo_victims"
"""Its README.md says how they were trained."""
VICTIMS = {
    "demo-digits": "reads the bundled digits as rate-coded images",
    "demo-events": "reads the bundled digits as simulated recordings; attack it with --simulate-events",
}


def located(place: Path) -> Path:
    """The folder of a victim: the place itself or, where nothing is there, the bundled victim of that name.

    Raises:
        SpikeflipError: nothing is there, and the name is nearly that of a bundled victim.
    """
    if place.exists() or len(place.parts) != 1:
        return place
    if place.name in VICTIMS:
        return HOME / place.name
    if near := nearest(place.name, VICTIMS):
        raise SpikeflipError(f"there is no victim at {place}: did you mean {near}, which comes with the package?")
    return place
