"""The picture of the front page: drawn by the code beside it, of what an attack on a victim that comes along found."""

import importlib.util
import re

import pytest
import torch
from documents import HOME, text_of

SPEC = importlib.util.spec_from_file_location("pictures", HOME / "docs" / "pictures.py")
pictures = importlib.util.module_from_spec(SPEC)


@pytest.fixture(scope="module", autouse=True)
def loaded():
    import sys

    sys.modules["pictures"] = pictures  # dataclasses look for their module
    SPEC.loader.exec_module(pictures)
    yield
    del sys.modules["pictures"]


def test_events_and_changes_are_counted_and_placed():
    before = torch.zeros(3, 2, 16, 16)
    before[0, 1, 2, 3] = before[1, 0, 4, 5] = 1
    after = before.clone()
    after[1, 0, 4, 5], after[2, 1, 6, 7] = 0, 1
    colours = pictures.THEMES["light"]
    drawn = pictures.draw(pictures.Example(before, after, (5, 9)), colours)
    assert re.findall(r'font-size="18">(.*?)<', drawn) == ["2 events: a 5", "2 flipped: a 9", "● 1 added  ○ 1 removed"]
    assert f'<rect x="84" y="72" width="12" height="12" fill="{colours.on}" opacity="1.00"/>' in drawn
    assert f'<circle cx="66" cy="54" r="4.5" fill="none" stroke="{colours.off}"' in drawn


def test_what_is_shown_is_what_the_attack_finds():
    """How many flips it needs may differ a little with the processor; the page tells what its picture tells."""
    example = pictures.find()
    assert example.named == (5, 9)
    assert 0 < (example.after != example.before).sum() < 30
    for theme, colours in pictures.THEMES.items():
        shown = (HOME / "docs" / "_static" / f"front-{theme}.svg").read_text()
        assert re.findall(r'font-size="18">(.*?)<', shown) == ["843 events: a 5", "10 flipped: a 9", "● 10 added"]
        assert colours.ground in shown
        assert len(shown) < 100_000
    assert "Ten more events, and the network sees a 9" in text_of("docs/index.md")
