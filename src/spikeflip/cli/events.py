"""The commands ``spikeflip events``: describe a recording, convert it."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from spikeflip.cli.command_line import AsJson, Columns, Quiet, TimeUnit
from spikeflip.cli.terminal import print_json, print_recording, say
from spikeflip.errors import SpikeflipError
from spikeflip.runs.config import sides

events = App(name="events", help="Describe an event recording, or convert it to another format.")


@events.default
def describe(
    file: Annotated[Path, Parameter(help="Event recording.")],
    /,
    *,
    sensor: Annotated[str | None, Parameter(help="Sensor, if the file does not say it: WIDTHxHEIGHT.")] = None,
    columns: Columns = None,
    time_unit: TimeUnit = None,
    picture: Annotated[Path | None, Parameter(help="Also write the picture to this PNG file.")] = None,
    json: AsJson = False,
) -> None:
    """Describe a recording: format, sensor, duration, events by polarity, rate, and a picture."""
    from spikeflip.data import read_recording
    from spikeflip.report import recording as page

    height, width = sides(sensor)
    recording = read_recording(file, height=height, width=width, columns=columns, time_unit=time_unit)
    facts = page.describe(recording, file)
    if picture is not None:
        page.save_picture(recording, picture)
    if json:
        print_json(facts)
    else:
        print_recording(facts, page.picture(recording))


@events.command
def convert(
    source: Annotated[Path, Parameter(help="Event recording.")],
    target: Annotated[Path, Parameter(help="File to write; must not exist yet.")],
    /,
    *,
    format: Annotated[str | None, Parameter(help="Format (see 'list formats'); by the ending when not given.")] = None,
    sensor: Annotated[str | None, Parameter(help="Sensor, if the file does not say it: WIDTHxHEIGHT.")] = None,
    columns: Columns = None,
    time_unit: TimeUnit = None,
    quiet: Quiet = False,
) -> None:
    """Convert a recording to another format, event for event."""
    from spikeflip.data import read_recording, write_recording

    if target.exists():
        raise SpikeflipError(f"{target} exists: give another name, or delete it")
    height, width = sides(sensor)
    recording = read_recording(source, height=height, width=width, columns=columns, time_unit=time_unit)
    notes = (*recording.notes, *write_recording(recording, target, format=format))
    if not quiet:
        say(f"{target}: {len(recording):,} events")
        for note in notes:
            say(f"note: {note}")
