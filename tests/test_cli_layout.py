"""How tables stand in lines of any width, in colours or none, and the bars above them."""

import logging
import re
import time

import numpy as np
import pytest
from command_rows import FACTS, FINDINGS, answer, comparison, layout_of, listed, summary
from rich.text import Text

from spikeflip.cli.run_lists import print_comparison, print_differences, print_runs
from spikeflip.cli.terminal import (
    Bars,
    print_findings,
    print_names,
    print_recording,
    print_summary,
    print_verdicts,
    say,
    training_label,
)

pytestmark = pytest.mark.usefixtures("long_lines")


# ---------------------------------------------------------------- how it looks


def test_columns_begin_and_end_where_their_headings_do(capsys):
    print_comparison(comparison(runs=["a longer one", "two"], settings={"gamma": [0.05, "x"]}, second_better=None))
    assert layout_of(capsys).startswith(
        """\
                      a longer one    two
victim                           v      w
gamma                         0.05      x
success                      91.0%      –
verified                     62.0%  31.0%
only this one fooled            11     12
mse                         0.0123      –
l0                            12.3      –
steps                          3.2    4.8
1,300 of 1,400 shared"""
    )
    found = {"run": "r", "rows": 50, "checked": [1], "differences": []}
    found["differences"] = [
        {"row": row, "column": column, "stored": 0.5, "recomputed": 1}
        for row, column in ((12345, "mse"), (7, "success"))
    ]
    print_differences(found)
    assert layout_of(capsys).startswith(
        """\
  row  column   stored  recomputed
12345  mse      0.5     1
    7  success  0.5     1
1 of 50"""
    )
    some = answer("long.npz", "left", {"left": 1.0, "up": 0.0}), answer("b", None, {"a": 0.5, "b": 0.5}, events=999)
    print_verdicts(some)
    assert layout_of(capsys).startswith(
        """\
recording  says  rate  next                      seen
long.npz   left  1.00  up 0.00  1,250 of 1,500 events
b          tie   0.50  b 0.50       749 of 999 events
frames"""
    )
    print_recording(FACTS | {"notes": []}, None)
    assert layout_of(capsys).startswith("file         a.bin\nformat       N-MNIST bin\nsensor       34 × 33\n")
    print_names({"scg": "one", "greedy-flips": "two"})
    assert layout_of(capsys) == "scg           one\ngreedy-flips  two"
    print_summary("a run", summary())
    first, _, heading, *lines = layout_of(capsys).splitlines()
    assert first == "a run, n = 59"
    assert heading == f"┃{' ' * 23}┃  rate ┃ 95 % interval ┃ of ┃"
    assert f"│ ties{' ' * 17} │  1.9% │   0.3% – 9.9% │ 51 │" in lines


@pytest.mark.parametrize(
    "write",
    [
        lambda word: print_comparison(comparison(victims=[word, "w"])),
        lambda word: print_differences(
            {
                "run": "r",
                "rows": 1,
                "checked": [0],
                "differences": [{"row": 0, "column": "c", "stored": word, "recomputed": 1}],
            }
        ),
        lambda word: print_verdicts([answer(word, "left", {"left": 1.0})]),
        lambda word: print_recording(FACTS | {"file": word}, None),
    ],
)
def test_a_long_word_is_folded_and_never_cut(terminal_of, monkeypatch, write, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    write("abcdefghijklmnopqrstuvwxyz" * 2)
    out = capsys.readouterr().out
    assert "…" not in out
    assert len(re.findall("[a-z]{3,}", out)) > 2
    letters = "".join(re.findall(r"^.*$", out, re.MULTILINE))
    assert all(letters.count(letter) >= 2 for letter in "jkqxz")


def test_figures_have_no_colours_of_their_own(terminal_of, capsys):
    """Names and titles are bold, a tie is italic; numbers and words are as the terminal writes them."""
    terminal_of(120)
    differing = [{"row": 0, "column": "c", "stored": 0.5, "recomputed": True}]
    for write in (
        lambda: say("1,234 of 5 'text' True"),
        lambda: print_comparison(comparison()),
        lambda: print_differences({"run": "r", "rows": 1, "checked": [0], "differences": differing}),
        lambda: print_runs([listed("a", settings={"gamma": 0.5}), listed("b", victim="w")]),
        lambda: print_findings(FINDINGS),
        lambda: print_recording(FACTS | {"notes": []}, np.zeros((0, 0, 3), np.uint8)),
    ):
        write()
        codes = set(re.findall(r"\x1b\[([0-9;]*)m", capsys.readouterr().out))
        assert codes <= {"1", "0"}
    print_names({"scg": "1 of 2"})
    assert re.fullmatch(r"\x1b\[1mscg\x1b\[0m.*1 of 2\s*", capsys.readouterr().out)
    print_verdicts([answer("a", "left", {"left": 1.0}), answer("b", None, {"u": 0.5, "v": 0.5})])
    out = capsys.readouterr().out
    assert "\x1b[1mleft\x1b[0m" in out
    assert re.search(r"\x1b\[3mtie *\x1b\[0m", out)
    print_summary("a run", summary())
    assert capsys.readouterr().out.startswith("\x1b[1ma run, n = 59 ")
    print_recording(FACTS | {"notes": []}, np.zeros((0, 0, 3), np.uint8))
    assert "\x1b[1mformat" in capsys.readouterr().out


# ---------------------------------------------------------------- progress


class Now:
    def __init__(self, loss, accuracy):
        self.loss, self.validation_accuracy, self.stage, self.firing = loss, accuracy, "train", None


def test_the_label_of_a_training():
    assert training_label(Now(0.12345, None)) == "train|loss 0.123"
    assert training_label(Now(1.0, 0.876)) == "train|loss 1.000 val 88%"


def test_bars_show_each_stage_with_its_own_count(terminal_of, capsys):
    terminal_of(100)
    with Bars(quiet=False) as bars:
        bars.stage("attack", 3, 40)
        bars.stage("train|loss 0.5", 1, 9)
        bars.stage("train|loss 0.4", 2, 9)
        bars.stage("judge|a|b", 5, 6)
        tasks = bars._progress.tasks
        assert [(task.description, task.completed, task.total) for task in tasks] == [
            ("attack", 3, 40),
            ("train loss 0.4", 2, 9),
            ("judge a b", 5, 6),
        ]
        assert tasks[0].fields["rate"] == ""
        for done in (10, 20, 30):
            time.sleep(0.002)
            bars.stage("attack", done, 50)
        assert tasks[0].total == 50
        assert re.fullmatch(r"\d+\.\d/s", tasks[0].fields["rate"])
        rate = tasks[0].fields["rate"]
    out, err = capsys.readouterr()
    assert out == ""
    last = [Text.from_ansi(line).plain for line in re.split("[\r\n]+", err)]
    assert any(re.fullmatch(rf"attack +[━╸╺ ]{{20,}} +30/50 +{rate} +[-0-9:]+ *", line) for line in last)


def test_bars_are_silent_where_they_should_be(terminal_of, capsys):
    with Bars(quiet=False) as bars:  # not a terminal
        bars.stage("attack", 1, 2)
        assert bars._progress.disable
    terminal_of(100)
    with Bars(quiet=True) as bars:
        assert bars._progress.disable
    assert capsys.readouterr().out == ""


def test_what_a_run_wants_known_is_said_while_there_are_bars(capsys):
    log = logging.getLogger("spikeflip.runs.attack")
    with Bars(quiet=True):
        log.warning("memory [b]ended[/b]\n%s", "x" * 200)
        log.info("an aside")
        log.error("an error, which ends the command in its own sentence")
    log.warning("nobody listens")
    assert capsys.readouterr().err == f"spikeflip: memory [b]ended[/b] {'x' * 200}\n"
