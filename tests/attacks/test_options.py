"""The settings of an attack as options: ranges, help, and what they say of a wrong value."""

from dataclasses import dataclass

import numpy as np
import pytest

from spikeflip import SpikeflipError
from spikeflip.attacks import ATTACKS
from spikeflip.attacks.options import Range, check_options, option, options_of


@dataclass(frozen=True, kw_only=True)
class Base:
    """What comes first.

    Args:
        count: how many,
            in two lines.

    Raises:
        SpikeflipError: never.
    """

    count: int = option(3, ge=1)

    def __post_init__(self):
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    """What follows.

    Args:
        share: of all.
        width: or none: the own.
    """

    share: float = option(0.5, gt=0, le=1)
    width: float | None = option(None, gt=0)
    plain: bool = True


def test_an_option_is_what_the_dataclass_says():
    options = options_of(Settings)
    assert list(options) == ["count", "share", "width", "plain"]
    assert [option.default for option in options.values()] == [3, 0.5, None, True]
    assert [option.help for option in options.values()] == [
        "how many, in two lines.",
        "of all.",
        "or none: the own.",
        "",
    ]
    assert options["width"].type == float | None
    assert options["share"].range == Range(gt=0, le=1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"count": 0}, "count is 0: give at least 1, such as 3"),
        ({"count": 1.5}, "count is 1.5: give a whole number, such as 3"),
        ({"count": True}, "count is True: give a whole number, such as 3"),
        ({"share": 0}, "share is 0: give a number in (0, 1], such as 0.5"),
        ({"share": 1.1}, "share is 1.1: give a number in (0, 1], such as 0.5"),
        ({"share": float("nan")}, "share is nan: give a number in (0, 1], such as 0.5"),
        ({"width": 0.0}, "width is 0.0: give a positive number, or leave it out"),
        ({"width": float("inf")}, "width is inf: give a positive number, or leave it out"),
    ],
)
def test_a_value_out_of_range_is_refused(wrong, words):
    with pytest.raises(SpikeflipError) as error:
        Settings(**wrong)
    assert str(error.value) == words


def test_the_ends_of_a_range():
    assert Settings(count=1, share=1, width=1e-9).share == 1
    assert Settings(count=np.int64(1), share=np.float32(1)).share == 1
    assert str(Range(gt=1)) == "a number above 1"
    assert not Range(ge=0, le=1).holds(-1e-9)
    assert Range(ge=0, le=1).holds(0)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_option_of_every_attack_has_help(name):
    for known in options_of(ATTACKS[name].settings).values():
        assert len(known.help) > 10, known.name
