"""Links between the documents, and the menu: what they lead to is there. Nothing is fetched."""

import re

import pytest
from documents import DOCUMENTS, HOME, prose, text_of

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FORMS = re.compile(r"[^\w\- ]")


def anchors(document):
    """What a heading or a label of a page is called in a link, as GitHub and MyST make it."""
    text = prose(document)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {FORMS.sub("", title.lower()).replace(" ", "-") for title in headings} | set(
        re.findall(r"^\((\S+)\)=$", text, re.MULTILINE)
    )


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONTRIBUTING.md", "results/README.md", "SECURITY.md"])
def test_links_lead_somewhere(document):
    for place, anchor in LINK.findall(prose(document)):
        file = (HOME / document).parent / place if place else HOME / document
        assert file.exists(), f"{document}: {place}"
        if anchor and file.suffix == ".md":
            there = file.resolve().relative_to(HOME).as_posix()
            assert anchor in anchors(there), f"{document}: {place}#{anchor}"


def test_every_page_is_in_a_menu_once():
    listed = []
    for document in DOCUMENTS[1:]:
        for menu in re.findall(r"^```\{toctree\}\n((?:.*\n)*?)```$", text_of(document), re.MULTILINE):
            folder = (HOME / document).parent
            listed += [folder / f"{line}.md" for line in menu.splitlines() if line and not line.startswith(":")]
    assert sorted(listed) == sorted(HOME / page for page in DOCUMENTS[1:] if page != "docs/index.md")


def test_menus_are_in_the_order_in_which_a_reader_comes():
    menus = re.findall(r"^:caption: (.+)$", text_of("docs/index.md"), re.MULTILINE)
    assert menus == ["Get started", "Tutorials", "How-to", "Explanation", "Reference", "Results"]
