"""The page of models that were tried says what trying them again gives."""

import importlib
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
PAGE = HOME / "docs" / "models.md"
NAMES = ("spikingjelly", "snntorch", "norse", "sinabs")


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HOME / "benchmarks")
        yield importlib.import_module("models_tried")


def listed():
    """The page's rows: name, package, options, equal, equal and verdict."""
    rows = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_the_page_lists_every_package_and_nothing_that_differs_without_a_word():
    rows = listed()
    assert {row[1].split()[0] for row in rows} == set(NAMES)
    assert len(rows) >= 20
    for row in rows:
        refused = row[5].startswith("refused")
        assert row[3] == ("–" if refused else "yes")
        assert row[4] == ("–" if refused or "surrogate=" in row[2] else "yes")


@pytest.mark.frameworks
@pytest.mark.parametrize("package", NAMES)
def test_the_models_are_tried_again(package, script):
    pytest.importorskip(package)
    said = {(row[0], row[2]): row for row in listed()}
    cases = script.cases([package])
    assert cases
    for case in cases:
        row = script.line(script.tried(case)).strip("| \n").split(" | ")
        found = [cell.strip() for cell in row]
        wanted = said[found[0], found[2]]
        assert (found[3:]) == wanted[3:], case.name  # the release may be another one
