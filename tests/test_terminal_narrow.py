"""What tables, bars and notes do where lines are short, and that nothing but names and titles is coloured."""

import logging
import re

from rich.text import Text

from spikeflip.cli.run_lists import print_comparison
from spikeflip.cli.terminal import Bars, print_findings, print_names


def lines_of(text):
    return [Text.from_ansi(line).plain.rstrip() for line in re.split("[\r\n]+", text)]


def test_the_text_of_a_finding_wraps_and_its_state_and_experiment_do_not(terminal_of, capsys):
    terminal_of(33)
    finding = {"state": "did not hold", "text": "It holds of each", "words": "no figures here"}
    print_findings([{"experiment": "figure-10", "findings": [finding]}])
    lines = lines_of(capsys.readouterr().out)
    assert lines[0] == "✗ did not hold  figure-10  It"
    assert [line.strip() for line in lines[1:]] == ["holds", "of", "each", ""]


def test_a_name_is_whole_and_its_description_wraps(terminal_of, capsys):
    terminal_of(20)
    print_names({"greedy-flips": "trial and error of spikes", "scg": "one"})
    first, *rest = [line.split(maxsplit=1) for line in lines_of(capsys.readouterr().out)]
    assert first == ["greedy-flips", "trial"]
    assert rest == [["and"], ["error"], ["of"], ["spikes"], ["scg", "one"], []]


def test_the_notes_of_compared_runs_are_a_row_of_that_name(capsys):
    found = {"victims": ["v", "w"], "settings": {}, "runs": ["a", "b"], "second_better": None}
    found |= {key: [0.5, 0.5] for key in ("success", "verified", "mse", "l0", "steps")}
    found |= dict.fromkeys(("only_first", "only_second", "attacked", "shared", "both", "neither"), 1)
    print_comparison(found | {"notices": [["silent-victim", "own-labels"], ["nothing-moved"]]})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "silent" in line]
    assert line.split(maxsplit=1) == ["notes", "silent victim, own labels  nothing moved"]


def test_a_bar_takes_what_its_figures_leave(terminal_of, capsys):
    terminal_of(90)
    with Bars(quiet=False) as bars:
        bars.stage("attack", 3, 40)
    lines = [line for line in lines_of(capsys.readouterr().err) if line.startswith("attack")]
    assert re.fullmatch(r"attack [━╸╺ ]{50,} +3/40 +[-0-9:]+", lines[-1])
    assert len(lines[-1]) == 90


def test_what_a_run_wants_known_has_no_colours(terminal_of, capsys):
    terminal_of(60)
    with Bars(quiet=True):
        logging.getLogger("spikeflip.runs").warning("1,234 of 'five' True")
    assert capsys.readouterr().err == "spikeflip: 1,234 of 'five' True\n"
