"""Inputs whose worst case is known, and suites of a few members."""

import pytest
from weighing_victim import some_inputs

from spikeflip.evaluation import SUITES, Suite


@pytest.fixture(scope="module")
def inputs():
    return some_inputs()


@pytest.fixture
def few(monkeypatch):
    """Suites of a few members, for tests of how they are run."""

    def of(name, *members):
        monkeypatch.setitem(SUITES, name, Suite(name, members))

    return of
