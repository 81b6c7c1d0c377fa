"""The reference: every public name, and each from the page of its package."""

import re
from importlib import import_module

import pytest
from documents import HOME

import spikeflip

PACKAGES = ["spikeflip", *(f"spikeflip.{name}" for name in spikeflip._PACKAGES)]
FOLDER = HOME / "docs" / "reference"
ENTRY = re.compile(r"^\.\. (?:auto\w+|py:data):: (\S+)$", re.MULTILINE)


def value_of(name):
    module, _, own = name.rpartition(".")
    return getattr(import_module(module), own)


def documented(page):
    return ENTRY.findall((FOLDER / f"{page}.md").read_text())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    names = documented(package.rpartition(".")[2])
    top = set(documented("spikeflip"))
    for own in import_module(package).__all__:
        elsewhere = f"spikeflip.{own}"
        at_the_top = elsewhere in top and value_of(elsewhere) is value_of(f"{package}.{own}")
        assert f"{package}.{own}" in names or at_the_top, f"{package}.{own}"


def test_entries_are_there_once():
    names = [name for page in FOLDER.glob("*.md") for name in ENTRY.findall(page.read_text())]
    assert len(names) == len(set(names))
    assert all(value_of(name) is not None for name in names)


def test_every_page_is_in_the_menu():
    menu = re.findall(r"^reference/(\S+)$", (HOME / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(menu) == sorted(path.stem for path in FOLDER.glob("*.md"))


def test_every_link_to_a_name_finds_it():
    """Sphinx makes plain text of one that does not."""
    entries = {name for page in FOLDER.glob("*.md") for name in ENTRY.findall(page.read_text())}
    for page in (HOME / "docs").rglob("*.md"):
        for target in re.findall(r"\{py:\w+\}`(?:[^`<]*<)?~?([\w.]+)>?`", page.read_text()):
            assert target in entries or target.rpartition(".")[0] in entries, f"{page.name}: {target}"
