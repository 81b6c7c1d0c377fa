"""What each public package offers is in its ``__all__``, is there, and has a docstring."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import spikeflip

PACKAGES = ["spikeflip", *(f"spikeflip.{name}" for name in spikeflip._PACKAGES)]
REFERENCE = "\n".join(page.read_text() for page in (Path(__file__).parents[1] / "docs" / "reference").glob("*.md"))
DOCUMENTED = re.findall(r":: (spikeflip(?:\.[a-z_]+)?)\.(\w+)$", REFERENCE, re.MULTILINE)


def imported(package):
    """The names that a package's file imports for others."""
    tree = ast.parse(Path(package.__file__).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in found if node.module.startswith("spikeflip.")]
    return {alias.asname or alias.name for node in ours for alias in node.names}


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_what_is_imported_and_all_of_it_is_there(name):
    package = import_module(name)
    assert len(package.__all__) == len(set(package.__all__))
    assert imported(package) == set(package.__all__)
    for public in package.__all__:
        value = getattr(package, public)
        assert not inspect.ismodule(value), public
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, public


@pytest.mark.parametrize("name", PACKAGES)
def test_what_the_reference_names_of_a_package_is_in_its_all(name):
    assert {public for package, public in DOCUMENTED if package == name} <= set(import_module(name).__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_other_names_are_none(name):
    with pytest.raises(AttributeError, match=r"has no attribute 'scgg'"):
        import_module(name).scgg  # noqa: B018
