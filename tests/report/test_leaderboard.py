"""The page of result cards: its order, what it refuses to compare, and that strangers' cards do no harm."""

import json
import re

import pytest

from spikeflip import SpikeflipError
from spikeflip.report.cards import Card, make_card, read_card, read_cards
from spikeflip.report.leaderboard import render_leaderboard, write_leaderboard

MASKED = {"word": "masked", "findings": [], "rates": {}, "forwards": 0, "backwards": 0}


def card(name="plain", robust=0.5, **other):
    member = {"attack": "scg", "view": "white box", "attempted": 10, "alone": None, "forwards": 20, "backwards": 10}
    summary = {
        "suite": "binary-l0/1", "threat": "binary-l0", "metric": "l0", "budget": 0.05, "goal": "untargeted", "n": 10,
        "draws": 1, "seed": 0, "every": False, "clean_accuracy": 0.9, "robust_accuracy": robust,
        "clean_accuracy_interval": [0.6, 0.98], "robust_accuracy_interval": [robust / 2, (1 + robust) / 2],
        "broken": 4, "broken_by_controls_alone": 0, "distance_median": 7.0,
        "curve": [{"budget": 0.0, "robust_accuracy": 0.9}, {"budget": 0.05, "robust_accuracy": robust}],
        "members": [
            {"name": "scg", "broken": 4, "left_out": None, "seconds": 1.5, **member},
            {"name": "sda", "broken": 0, "left_out": "not for this victim", "seconds": 0.0, **member},
        ],
        "verdict": None,
    }  # fmt: skip
    victim = {"architecture": "8C3-10FC", "weights_sha256": "a" * 64}
    data = {"name": "digits", "split": "test", "sha256": "b" * 64, "size": 899}
    return {**make_card(name, victim, data, summary, "0.1.0"), **other}


@pytest.fixture
def folder(tmp_path):
    def of(*cards):
        home = tmp_path / "cards"
        home.mkdir()
        for number, one in enumerate(cards):
            (home / f"{number}.json").write_text(json.dumps(one))
        (home / "README.md").write_text("not a card")
        return home

    return of


def test_cards_come_back(folder):
    home = folder(card(), card("hardened", 0.7))
    cards = read_cards(home)
    assert [one.victim.name for one in cards] == ["plain", "hardened"]
    assert cards[1].robust_accuracy == 0.7
    assert cards[0].model_dump() == card() | {"notices": []}  # which earlier cards have none of
    assert "seconds" not in card()["members"][0]


def test_the_most_robust_comes_first(folder, tmp_path):
    home = folder(card(), card("hardened", 0.7), card("weak", 0.1, verdict=MASKED))
    out = write_leaderboard(home, tmp_path / "page.html")
    page = out.read_text()
    assert page.index(">hardened<") < page.index(">plain<") < page.index(">weak<")
    assert "<h1>binary-l0/1</h1>" in page
    assert ">70.0<small>35.0 – 85.0</small>" in page
    assert "left out: sda" in page
    assert ">masked<" in page
    assert page.count("<tr>") == 4
    write_leaderboard(home, out)  # a page may be written over
    assert out.read_text() == page


def test_the_page_says_of_which_data_each_row_is_and_where_cards_are_not_alike():
    other = {"name": "nmnist", "split": "train", "sha256": "c" * 64}
    alike, data, draws, every = (
        render_leaderboard([Card(**one) for one in (card(), card("second", **differing))])
        for differing in ({}, {"data": other}, {"draws": 20}, {"every": True})
    )
    assert "digits, test<small>bbbbbbbbbbbb</small>" in alike
    assert ">10<small>1 draw</small>" in alike
    assert alike.count('class="note"') == 1
    assert "nmnist, train<small>cccccccccccc</small>" in data
    assert "The cards are of different data or numbers of inputs: compare rows that have the same." in data
    assert ">10<small>20 draws</small>" in draws
    assert "The cards judge an input by 1 or 20 fresh encodings." in draws
    assert "Some cards ran every attack on all inputs and others on what still stood" in every
    more = render_leaderboard([Card(**card()), Card(**card("more", n=20))])
    assert "different data or numbers of inputs" in more


def test_nothing_is_loaded_and_one_script_runs(folder):
    page = render_leaderboard(
        read_cards(folder(card('<script>alert("x")</script>', data={"name": "<b>", "split": "", "sha256": ""})))
    )
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert" in page
    assert "<b>" not in page
    assert not re.search(r"(src|href)=", page)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"suite": "binary-l0/2"},
            "1.json is of the suite binary-l0/2 and 0.json of binary-l0/1, which cannot be comp",
        ),
        ({"budget": 0.1}, "1.json is of the budget 0.1 and 0.json of 0.05, which cannot be compared"),
        ({"goal": "targeted"}, "1.json is of the goal targeted and 0.json of untargeted"),
        ({"robust_accuracy": 1.2}, r"1.json is not a card of spikeflip evaluate \(robust_accuracy: "),
        ({"robust_accuracy": None}, r"1.json is not a card of spikeflip evaluate \(robust_accuracy: "),
        ({"format": "spikeflip card 9"}, r"1.json is not a card of spikeflip evaluate \(format: "),
        ({"verdict": {**MASKED, "word": "fine"}}, r"1.json is not a card of spikeflip evaluate \(verdict.word: "),
        ({"more": 1}, r"1.json is not a card of spikeflip evaluate \(more: "),
        ({"victim": []}, r"1.json is not a card of spikeflip evaluate \(victim: "),
    ],
)
def test_what_cannot_be_compared_is_refused(folder, tmp_path, other, said):
    with pytest.raises(SpikeflipError, match=said):
        write_leaderboard(folder(card(), card(**other)), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_other_refusals(folder, tmp_path, run):
    home = folder()
    with pytest.raises(SpikeflipError, match="holds no cards: write some with evaluate --card"):
        read_cards(home)
    with pytest.raises(SpikeflipError, match="is not a folder: give one with cards"):
        read_cards(tmp_path / "none")
    (home / "a.json").write_text("{")
    with pytest.raises(SpikeflipError, match=r"a\.json"):
        read_card(home / "a.json")
    (home / "a.json").write_text(json.dumps(card()))
    (tmp_path / "mine.html").write_text("mine")
    assert "exists and is not a page of spikeflip" in run("leaderboard", home, "--out", tmp_path / "mine.html")[2]
    assert "cannot write the page" in run("leaderboard", home, "--out", tmp_path / "none" / "page.html")[2]
    assert run("leaderboard", home, "--out", tmp_path / "page.html") == (0, f"page: {tmp_path / 'page.html'}\n", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            json.dumps(card(robust=0.5) | {"robust_accuracy": 2}),
            "is not a card of spikeflip evaluate (robust_accuracy: Input should be less than or equal to 1)",
        ),
        ("[1", "is damaged (Expecting ',' delimiter: line 1 column 3 (char 2))"),
    ],
)
def test_the_command_names_the_card_that_is_wrong(content, said, folder, tmp_path, run):
    home = folder(card("one"))
    (home / "1.json").write_text(content)
    line = f"spikeflip: {home / '1.json'} {said}: remove it, or write it anew\n"
    assert run("leaderboard", home, "--out", tmp_path / "page.html") == (2, "", line)
