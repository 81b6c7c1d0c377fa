"""Progress where there is no terminal, as in the log of a batch job: few lines, each with what is left."""

import pytest

from spikeflip.cli import heartbeat
from spikeflip.cli.heartbeat import Heartbeat
from spikeflip.cli.terminal import Bars


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def beat():
    clock, lines = Clock(), []
    heart = Heartbeat(lines.append, clock)

    def stage(at, *told):
        clock.now = at
        heart.stage(*told)
        said, lines[:] = list(lines), []
        return said

    return stage


def test_nothing_is_said_in_the_first_ten_seconds_and_then_once_a_minute(beat):
    assert beat(0, "train|loss 0.9", 1, 1000) == []
    assert beat(9.9, "train|loss 0.8", 50, 1000) == []
    assert beat(10, "train|loss 0.7", 201, 1000) == ["train loss 0.7: 201 of 1,000, about 40 s left"]
    assert beat(69.9, "train|loss 0.6", 500, 1000) == []
    assert beat(70, "train|loss 0.6", 701, 1000) == ["train loss 0.6: 701 of 1,000, about 30 s left"]


def test_the_speed_is_that_of_the_stage_since_it_was_first_heard_of(beat):
    """A run that goes on begins with what was done before."""
    assert beat(100, "attack", 4000, 10_000) == ["attack: 4,000 of 10,000"]
    assert beat(160, "attack", 4100, 10_000) == ["attack: 4,100 of 10,000, about 59 min left"]
    assert beat(220, "judge", 0, 10_000) == ["judge: 0 of 10,000"]
    assert beat(280, "judge", 10, 10_000) == ["judge: 10 of 10,000, about 16.6 h left"]
    assert beat(340, "judge", 10_000, 10_000) == ["judge: 10,000 of 10,000"]


def test_a_stage_that_begins_anew_has_a_time_of_its_own(beat):
    """As the second training of a reproduction, an hour after the first."""
    beat(0, "train|first", 1, 400)
    beat(3600, "train|first", 400, 400)
    assert beat(3700, "train|second", 1, 400) == ["train second: 1 of 400"]
    assert beat(3760, "train|second", 21, 400) == ["train second: 21 of 400, about 19 min left"]


def test_long_commands_say_it_on_stderr_away_from_a_terminal_and_not_when_quiet(monkeypatch, capsys):
    monkeypatch.setattr(heartbeat, "_FIRST", 0.0)
    with Bars(quiet=False) as bars:
        bars.stage("train|[b]", 1, 9)
        bars.stage("train|[b]", 2, 9)
    assert capsys.readouterr() == ("", "train [b]: 1 of 9\n")
    with Bars(quiet=True) as bars:
        bars.stage("train", 1, 9)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_bars_instead(terminal_of, monkeypatch, capsys):
    terminal_of(80)
    monkeypatch.setattr(heartbeat, "_FIRST", 0.0)
    with Bars(quiet=False) as bars:
        bars.stage("train", 1, 9)
    assert "1 of 9" not in capsys.readouterr().err
