"""Figures and animations of runs: what is drawn is what the rows say, and the data beside it say the same."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from spikeflip import SpikeflipError
from spikeflip.cli.app import main
from spikeflip.intervals import wilson
from spikeflip.report import figures as drawing
from spikeflip.report import strips
from spikeflip.report.loading import open_inputs, read_facts, read_rows
from spikeflip.runs import figures as module
from spikeflip.runs import list_runs
from spikeflip.runs.figures import animate, plot

SWEEP = """
[base]
victim = "demo-events"
simulate_events = true
samples = 4
steps = 2
[grid]
gamma = [0.05, 0.1, 0.2]
seed = [0, 1]
target = ["none", "next"]
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    from blank_pictures import blank_pictures

    home = tmp_path_factory.mktemp("figures")
    (home / "sweep.toml").write_text(SWEEP)
    with blank_pictures():
        main(["sweep", str(home / "sweep.toml"), "--out", str(home / "sweep"), "--quiet"])
    return home / "sweep"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    from blank_pictures import blank_pictures

    out = tmp_path_factory.mktemp("figures") / "images"
    with blank_pictures():
        main(["attack", "--victim", "demo-digits", "--samples", "12", "--draws", "5", "--out", str(out), "--quiet"])
    return out


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are made, as they are written."""
    made = []
    write = drawing.to_bytes
    monkeypatch.setattr(drawing, "to_bytes", lambda figure, ending: made.append(figure) or write(figure, ending))
    return made


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_a_sweep_is_drawn_over_its_number_with_seeds_pooled(sweep, drawn, tmp_path):
    figure, data = plot(sweep, "sweep", tmp_path / "f.svg")
    (axes,) = drawn[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("gamma", "attack success, %")
    rows = table(data)
    assert {row["line"] for row in rows} == {"target=none", "target=next"}
    pooled = list_runs([sweep], merge=["seed"])
    said = {(row["settings"]["target"], row["settings"]["gamma"]): row["success"] for row in pooled}
    assert len(rows) == len(said) == 6
    for row in rows:
        assert float(row["success"]) == said[row["line"].removeprefix("target="), float(row["gamma"])]
    heights = [bars[0].get_ydata().tolist() for bars in axes.containers]
    assert heights == [[100 * float(row["success"]) for row in rows[at : at + 3]] for at in (0, 3)]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["target=next", "target=none"]
    assert figure.read_bytes().count(b"<svg") == 1


def test_robust_accuracy_ends_at_that_of_the_summary_and_begins_at_clean_accuracy(images, drawn, tmp_path):
    _, data = plot(images, "budget", tmp_path / "f.png", columns=2)
    rows, summary = table(data), read_facts(images, "summary")
    assert float(rows[-1]["robust_accuracy"]) == pytest.approx(summary["robust_accuracy"])
    ends = [float(rows[-1][end]) for end in ("low", "high")]
    assert ends == pytest.approx(summary["robust_accuracy_interval"])
    assert (float(rows[0]["mse"]), float(rows[0]["robust_accuracy"])) == (0, summary["clean_accuracy"])
    known = read_rows(images, open_inputs(images).samples, ["still_right"])
    middle = np.median(known["mse"])
    within, clean = known["mse"] <= middle, ~known["already_wrong"].astype(bool)
    wanted = np.where(within, known["still_right"], clean).mean()
    found = [float(row["robust_accuracy"]) for row in rows if float(row["mse"]) <= middle][-1]
    assert found == pytest.approx(wanted)
    assert drawn[0].axes[0].get_xlabel() == "mse, squared intensity a point"
    assert drawn[0].get_figwidth() == 7.16


def test_a_change_that_failed_at_a_small_size_and_one_without_a_size(images, monkeypatch):
    """By hand: wrong from the start; fooled at 2; not fooled at 1; half of the draws at 3; no size at all."""
    given = {
        "sample": np.arange(5),
        "input": np.arange(5),
        "already_wrong": np.array([1, 0, 0, 0, 0]),
        "still_right": np.array([0.0, 0.0, 1.0, 0.5, 1.0]),
        "l0": np.array([9.0, 2.0, 1.0, 3.0, np.nan]),
    }
    monkeypatch.setattr(module, "read_rows", lambda *_: given)
    found = module._robustness(images, "l0")
    assert found.sizes.tolist() == [0, 1, 2, 3]
    assert found.rate.tolist() == pytest.approx([0.8, 0.8, 0.6, 0.5])
    assert found.low[0] == pytest.approx(wilson(0.8, 5)[0])
    given["input"] = np.zeros(5, dtype=int)
    assert module._robustness(images, "l0").low[0] == pytest.approx(wilson(0.8, 1)[0])


def test_runs_are_told_apart_by_their_settings_or_their_folders(sweep, images, drawn, tmp_path):
    only = tmp_path / "some"
    only.mkdir()
    for run in sorted(sweep.glob("*seed=0,target=none")):
        (only / run.name).mkdir()
        for file in run.iterdir():
            if file.is_file():
                (only / run.name / file.name).write_bytes(file.read_bytes())
    _, data = plot(only, "budget", tmp_path / "f.pdf")
    assert {row["run"] for row in table(data)} == {"gamma=0.05", "gamma=0.1", "gamma=0.2"}
    assert drawn[0].axes[0].get_xlabel() == "l0, cells"
    _, data = plot(images, "budget", tmp_path / "g.pdf", metric="l0")
    assert {row["run"] for row in table(data)} == {"images"}
    assert drawn[1].axes[0].get_xlabel() == "l0, pixels"


def test_runs_in_folders_of_one_name_are_all_drawn(images, drawn, tmp_path):
    for place in ("one", "two"):
        shutil.copytree(images, tmp_path / "study" / place / "scg")
    _, data = plot(tmp_path / "study", "budget", tmp_path / "f.pdf")
    assert {row["run"] for row in table(data)} == {"one/scg", "two/scg"}
    assert [line.get_label() for line in drawn[0].axes[0].lines] == ["one/scg", "two/scg"]


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_equal_runs_give_equal_bytes_of_the_right_kind_and_width(images, ending, tmp_path):
    files = [plot(images, "frames", tmp_path / f"{name}.{ending}")[0].read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert drawing.FORMATS[f".{ending}"] in files[0][:500]
    if ending == "png":
        assert Image.open(io.BytesIO(files[0])).size[0] == 3.5 * 300


def test_the_data_of_frames_are_the_cells_that_changed(sweep, images, tmp_path):
    run = next(sweep.glob("gamma=0.2,seed=0,target=none"))
    for place, axes in ((run, ("step", "channel", "y", "x")), (images, ("channel", "y", "x"))):
        _, data = plot(place, "frames", tmp_path / "f.svg", row=3)
        before, after = open_inputs(place).read(3)
        rows = table(data)
        assert len(rows) == (before != after).sum() > 0
        assert {row["row"] for row in rows} == {"3"}
        for row in rows:
            at = tuple(int(row[name]) for name in axes)
            assert (float(row["original"]), float(row["adversarial"])) == pytest.approx((before[at], after[at]))


def test_names_of_classes_are_no_formulas_in_the_data(images, tmp_path):
    shutil.copytree(images, tmp_path / "run")
    config = read_facts(images, "config")
    config["classes"] = ["=1+1\rx"] * len(config["classes"])
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    _, data = plot(tmp_path / "run", "frames", tmp_path / "f.svg")
    assert {row["label"] for row in table(data)} == {"'=1+1 x"}


def test_a_strip_has_no_more_frames_than_there_is_room_for_and_all_are_as_long():
    assert [part.stop for part in strips._parts(15, 6)] == [3, 6, 9, 12, 15]
    assert [part.stop for part in strips._parts(15, 12)] == [2, 4, 6, 8, 9, 11, 13, 15]
    assert [part.stop for part in strips._parts(3, 6)] == [1, 2, 3]
    spikes = np.zeros((15, 2, 4, 4))
    assert len(strips.spike_strip(spikes, spikes).axes) == 3 * 5
    assert len(strips.spike_strip(np.zeros((4, 7)), np.zeros((4, 7)), columns=2).axes) == 3  # a raster, all time in one


def test_colours_of_an_images_change_say_the_extremes():
    before = np.full((1, 4, 4), 0.5)
    after = before.copy()
    after[0, 0, 0], after[0, 3, 3] = 0.75, 0.375
    figure = strips.image_strip(before, after)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["brighter, to +0.25", "darker, to −0.12"]
    picture = figure.axes[2].images[0].get_array()
    assert tuple(picture[0, 0]) == strips.ADDED
    assert tuple(picture[1, 1]) == (255, 255, 255)
    assert tuple(picture[3, 3]) == (128, 180, 180)  # half of the largest change


def test_a_style_is_matplotlibs_own_by_name_or_file(images, drawn, tmp_path):
    (tmp_path / "mine.mplstyle").write_text("font.size: 11\nxtick.labelsize: 11\n")
    files = []
    for style in (None, "grayscale", str(tmp_path / "mine.mplstyle")):
        plot(images, "budget", tmp_path / "f.svg", style=style)
        files.append((tmp_path / "f.svg").read_text())
    assert [drawing.COLOURS[0] in file for file in files] == [True, False, True]
    sizes = [figure.axes[0].get_xticklabels()[0].get_size() for figure in drawn]
    assert sizes[2] == 11 != sizes[0]


def test_many_lines_keep_apart_where_colours_repeat():
    run = drawing.Robustness(np.array([0.0, 1.0]), np.ones(2), np.ones(2), np.ones(2), 9)
    with drawing.styled_for_paper("grayscale"):
        figure = drawing.budget_figure({str(at): run for at in range(6)}, "l0")
        looks = [(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines]
    assert len(set(looks)) == 6
    assert len(figure.axes[0].collections) == 0  # six bands would hide each other


def test_values_over_decades_are_on_a_logarithmic_axis():
    points = [{"x": x, "success": 0.5, "success_low": 0.4, "success_high": 0.6, "verified": 0.25} for x in (0.01, 1)]
    with drawing.styled_for_paper(None):
        figure = drawing.sweep_figure("gamma", {"": points})
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.01", "1"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["success", "verified"]
    assert axes.lines[-1].get_ydata().tolist() == [25, 25]


def test_an_animation_has_a_frame_a_time_step(sweep, images, tmp_path):
    run = next(sweep.glob("gamma=0.2,seed=0,target=none"))
    with Image.open(animate(run, tmp_path / "a.gif", row=0, fps=10)) as film:
        assert (film.format, film.n_frames, film.info["duration"], film.info["loop"]) == ("GIF", 15, 100, 0)
        film.seek(14)
        before, after = open_inputs(run).read(0)
        pixels = np.array(film.convert("RGB"))
    # The middle of the upper left cell of each of the three pictures.
    factor, wide = 224 // 16, 224 + 12
    cells = [pixels[26 + factor // 2, 12 + at * wide + factor // 2].tolist() for at in range(3)]
    lit = [bool(values[14, :, 0, 0].any()) for values in (before, after)]
    assert [cell == [255, 255, 255] for cell in cells[:2]] == [not one for one in lit]
    with Image.open(animate(images, tmp_path / "b.gif")) as film:
        assert film.n_frames == 2


def test_more_time_steps_than_frames_are_taken_together():
    parts = strips._parts(10_000, strips._MOST_FRAMES)
    assert len(parts) <= 300
    assert (parts[0].start, parts[-1].stop) == (0, 10_000)
    assert {part.stop - part.start for part in parts} <= {33, 34}


def test_a_long_caption_ends_where_its_picture_does():
    font = strips._font(13)
    assert strips._shortened("3", font, 100) == "3"
    short = strips._shortened("a class of a long name " * 20, font, 100)
    assert short.endswith("…")
    assert font.getlength(short) <= 100 < font.getlength(f"{short[:-1]}mmm…")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{images}", "--kind", "sweep", "--out", "f.svg"], "holds no two finished runs that differ in a number"),
        (["{images}", "--kind", "swep", "--out", "f.svg"], 'Did you mean "sweep"?'),
        (["{images}", "--kind", "frames", "--out", "f.jpg"], "is neither a .pdf, .svg nor .png file"),
        (["{images}", "--kind", "frames", "--out", "f.svg", "--sample", "12"], "--sample is 12, and"),
        (["{images}", "--kind", "frames", "--out", "f.svg", "--sample", "-1"], "give one from 0 to 11"),
        (["{images}", "--kind", "budget", "--out", "f.svg", "--sample", "1"], "--sample is for --kind frames"),
        (["{images}", "--kind", "budget", "--out", "f.svg", "--metric", "l00"], "did you mean l0?"),
        (["{images}", "--kind", "budget", "--out", "f.svg", "--metric", "moved_us"], "does not know moved_us"),
        (["{images}", "--kind", "budget", "--out", "f.svg", "--columns", "3"], "--columns"),
        (["{images}", "--kind", "budget", "--out", "f.svg", "--style", "grayscal"], "did you mean grayscale?"),
        (["{images}", "--kind", "budget", "--out", "f.svg", "--style", "http://x/y.mplstyle"], "is no style of"),
        (["{images}", "--kind", "budget", "--out", "no/f.svg"], "cannot be written (No such file or directory)"),
        (["{sweep}", "--kind", "frames", "--out", "f.svg"], "is no run folder: give one, as a single input is shown"),
        (["{sweep}", "--kind", "budget", "--out", "f.svg"], "12 runs are more than can be told apart"),
        (["{sweep}", "--kind", "sweep", "--over", "gama", "--out", "f.svg"], "did you mean gamma?"),
        (["nowhere", "--kind", "sweep", "--out", "f.svg"], "nowhere is no folder"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(words, message, sweep, images, run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("plot", *(word.format(sweep=sweep, images=images) for word in words))
    assert (status, out) == (2, "")
    assert err.startswith("spikeflip: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "f.mp4"], "--out f.mp4 is no .gif file"),
        (["--out", "f.gif", "--fps", "0"], "--fps is 0: give a number from 0.1 to 50"),
        (["--out", "f.gif", "--fps", "nan"], "--fps is nan"),
        (["--out", "f.gif", "--sample", "99"], "--sample is 99, and"),
    ],
)
def test_mistakes_in_an_animation(words, message, images, run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("animate", images, *words)
    assert (status, err.count("\n"), message in err) == (2, 1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_inputs_has_none_to_draw(small_recordings, run, tmp_path):
    victim, data = small_recordings
    options = ["--input", data / "left", "--target", "left", "--quiet", "--out", tmp_path / "run"]
    assert run("attack", "--victim", victim, *options)[0] == 0
    said = f"spikeflip: {tmp_path / 'run'} has no inputs: give a run that attacked some\n"
    for kind in ("frames", "budget"):
        assert run("plot", tmp_path / "run", "--kind", kind, "--out", tmp_path / "f.svg") == (2, "", said)
    assert run("animate", tmp_path / "run", "--out", tmp_path / "f.gif") == (2, "", said)


@pytest.mark.parametrize("name", ["f.svg", "f.csv", "f.gif"])
def test_files_of_others_stay(name, images, run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("mine")
    words = ["animate", images] if name == "f.gif" else ["plot", images, "--kind", "frames"]
    status, _, err = run(*words, "--out", "f.gif" if name == "f.gif" else "f.svg")
    assert (status, f"{name} exists and is not" in err) == (2, True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


@pytest.mark.parametrize("text", ["crow,1\nrun,2\n", "run,seed,accuracy\n1,0,0.5\n", "baseline,run,n\n", ""])
def test_a_table_of_others_stays_though_it_has_a_column_of_that_name(text, images, run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.csv").write_text(text)
    status, _, err = run("plot", images, "--kind", "budget", "--out", "f.svg")
    assert (status, "f.csv exists and is not the data of such a figure" in err) == (2, True)
    assert (tmp_path / "f.csv").read_text() == text


def test_a_figure_is_drawn_again_over_itself(images, run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for metric in ("l0", "mse"):
        status, out, _ = run("plot", images, "--kind", "budget", "--metric", metric, "--out", "f.pdf")
        assert (status, out) == (0, "figure: f.pdf\ndata: f.csv\n")
    assert table(tmp_path / "f.csv")[0].keys() == {"run", "mse", "robust_accuracy", "low", "high", "n"}


def test_what_matplotlib_cannot_draw_is_one_sentence(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("latex\nwas not found")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(SpikeflipError, match=r"cannot be drawn \(latex was not found\): leave --style out"):
        drawing.to_bytes(Figure(), ".pdf")
