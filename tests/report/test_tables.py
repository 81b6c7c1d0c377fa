"""Rows of runs as cells, CSV and Markdown, character by character."""

import csv
import io

import pytest

from spikeflip.report.tables import (
    COLUMNS,
    WORDS,
    cells,
    common,
    describe_settings,
    escape_markdown,
    names_say_settings,
    one_line,
    to_csv,
    to_markdown,
)


def row(**changed):
    made = {"name": "a", "runs": 1, "state": "finished", "victim": "v", "goal": "untargeted", "n": 12345}
    made |= {"settings": {"gamma": 0.1, "seed": 0}, "done": None, "note": None}
    for rate, values in {"success": (0.9149, 0.8016, 0.9512), "verified": (0.62, 0.5, 0.7)}.items():
        made |= {f"{rate}{end}": value for end, value in zip(("", "_low", "_high"), values, strict=True)}
    figures = {"mse": 0.01236, "steps": 3.25, "passes": 7.77, "seconds": 1234.5}
    return made | {"success_lowest": None, "success_highest": None} | figures | changed


FIGURES = ["12,345", "91.5 (80.2–95.1)", "62.0 (50.0–70.0)", "0.0124", "3.2", "7.8", "1,234"]
SETTINGS = "gamma=0.1, seed=0"


def test_every_cell_is_under_its_heading():
    """Names of columns are public: programs read them."""
    found = dict(zip(COLUMNS, cells(row()), strict=True))
    words = {"name": "a", "victim": "v", "goal": "untargeted", "settings": SETTINGS}
    assert found == words | dict(
        zip(("n", "success %", "verified %", "mse", "steps", "passes", "s"), FIGURES, strict=True)
    )
    assert set(words) == WORDS


def test_what_a_run_does_not_say_is_a_dash():
    empty = dict.fromkeys(("success", "verified", "mse", "steps", "passes", "seconds", "settings"))
    assert cells(row(**empty)) == ["a", "v", "untargeted", "", "12,345", *["–"] * 6]


@pytest.mark.parametrize(("runs", "name"), [(None, "a"), (1, "a"), (2, "a, 2 runs"), (0, "a")])
def test_runs_that_were_merged_say_how_many(runs, name):
    assert cells(row(runs=runs))[0] == name


def test_merged_runs_say_how_far_they_differ():
    found = cells(row(runs=3, success_lowest=0.8123, success_highest=0.9))
    assert found[0] == "a, 3 runs of 81.2–90.0 %"
    assert found[1:] == cells(row())[1:]


def test_unfinished_and_damaged_runs_have_no_figures():
    assert cells(row(state="unfinished", done=0.456)) == [
        "a",
        "v",
        "untargeted",
        SETTINGS,
        "unfinished, 46% done",
        *[""] * 6,
    ]
    assert cells(row(state="unfinished"))[4] == "unfinished"
    assert cells(row(state="damaged", note="it is cut")) == ["a", "damaged: it is cut", *[""] * 9]


def test_csv_is_full_precision_under_its_names():
    rows = [row(), row(name="b", mse=1 / 3, settings={}, seconds=None)]
    text = to_csv(rows)
    assert "\r" not in text
    table = list(csv.DictReader(io.StringIO(text)))
    assert list(table[0]) == list(rows[0])
    assert (table[0]["settings"], table[1]["settings"]) == ("gamma=0.1; seed=0", "")
    assert (table[0]["success_low"], table[1]["mse"], table[1]["seconds"]) == ("0.8016", str(1 / 3), "")
    assert to_csv([]) == "\n"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r@", "\n=", " +", "\u3000-", "＝", "\t＋", "﹣", "＠"])
def test_text_that_a_spreadsheet_would_run_is_quoted(sign):
    text = to_csv([{"name": f"{sign}1+1", "n": -5, "middle": f"a{sign}=b"}])
    (found,) = csv.DictReader(io.StringIO(text, newline=""))
    shown = one_line(sign)  # a bare carriage return ends the row, whatever the standard says
    assert "\r" not in text
    assert found["name"] == f"'{shown}1+1"
    assert found["n"] == "-5"  # a number is no formula
    assert found["middle"] == f"a{shown}=b"


def test_csv_has_no_control_characters_and_none_that_turn_the_text_around():
    (name,) = csv.DictReader(io.StringIO(to_csv([{"name": "a\x1b[2J\x07\u202eb\u2066\u200f\x9bc\nd"}])))
    assert name["name"] == r"a\x1b[2J\x07\u202eb\u2066\u200f\x9bc d"


def test_markdown_is_a_table_with_figures_to_the_right():
    heading, line, first, *rest = to_markdown([row(name="a|b")]).split("\n")
    assert heading == "| name | victim | goal | settings | n | success % | verified % | mse | steps | passes | s |"
    assert line == "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|"
    assert first == f"| a\\|b | v | untargeted | {SETTINGS} | {' | '.join(FIGURES)} |"
    assert rest == [""]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.1, "0.1"),
        (1e-9, "1e-09"),
        (0.1 + 0.2, "0.3"),
        (123456789.125, "123456789.125"),
        (None, "–"),
        (True, "True"),
        (7, "7"),
        ("text", "text"),
        ([0, 1.5, None], "0/1.5/–"),
        (list(range(8)), "0/1/2/3/4/5/6/7"),
        (list(range(9)), "(9 values)"),
    ],
)
def test_a_setting_in_a_few_characters(value, said):
    assert describe_settings({"x": value}) == f"x={said}"


def test_settings_one_after_another():
    assert describe_settings({"b": 1, "a": 2}) == "b=1, a=2"
    assert describe_settings({"b": 1, "a": 2}, " und ") == "b=1 und a=2"
    assert describe_settings(None) == describe_settings({}) == ""


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("gamma=0.1,seed=0", {"gamma": 0.1, "seed": 0}, True),
        ("gamma=0.10,seed=0", {"gamma": 0.1}, True),
        ("gamma=0.1", {"gamma": 0.1, "seed": 0}, False),
        ("seed=0,gamma=0.1", {"gamma": 0.2}, False),
        ("loss=CE", {"loss": "ce"}, True),
        ("loss=mse", {"loss": "ce"}, False),
        ("tuning=true", {"tuning": True}, True),
        ("tuning=false", {"tuning": True}, False),
        ("tuning=1", {"tuning": True}, False),
        ("c=none", {"c": None}, True),
        ("seed=0/1", {"seed": [0, 1]}, False),
        ("seed=[0]", {"seed": [0]}, False),
        ("seed=x", {"seed": 1}, False),
        ("a=b=c", {"a": "b=c"}, True),
        ("plain", {"plain": ""}, True),
        ("", {}, True),
        ("", None, True),
    ],
)
def test_whether_a_name_says_the_settings(name, settings, said):
    assert names_say_settings([row(name=name, settings=settings)]) is said
    whole = row(name="x=1", settings={"x": 1})
    assert names_say_settings([whole, row(name=name, settings=settings), whole]) is said
    assert names_say_settings([]) is True


def test_what_all_rows_say():
    rows = [row(), row(n=7)]
    assert common(rows, ("victim", "n", "goal", "note")) == {"victim": "v", "goal": "untargeted"}
    assert common(rows[:1], ("n", "done")) == {"n": 12345}
    assert common([row(done=None), row(done=0.5)], ("done",)) == {}


def test_text_of_a_stranger_is_one_line_of_what_can_be_seen():
    assert one_line("a\nb\tc\u2028d") == "a b c d"
    assert one_line("\x1b[0m\x00é✓\u202e") == r"\x1b[0m\x00é✓\u202e"
    assert one_line("") == ""


def test_nothing_becomes_markup_in_markdown():
    assert escape_markdown("\\`*_[]|") == "\\\\\\`\\*\\_\\[\\]\\|"
    assert escape_markdown("<b>&amp;\n") == "&lt;b&gt;&amp;amp; "
    assert escape_markdown("a plain X 1-2.") == "a plain X 1-2."
