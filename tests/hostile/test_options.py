"""Hostile options: on the command line, and in a file for ``-c``."""

import itertools
import os

from harm import MANY
from hypothesis import given, settings
from hypothesis import strategies as st

CANARY = "__import__('os').system('touch {canary}')"
VALUES = [
    "", " ", "-1", "0", "1e309", "nan", "inf", "-inf", "1" * 30, "9" * 5000, "0x10", "1_000", "1e400", "½", "٣", "💥",
    "a\nb", "../../x", "/etc/passwd", "$(touch {canary})", "`touch {canary}`", CANARY, "{{{{7*7}}}}", "%s%n", "\x1b[2J",
    "\udcff", "none", "True", "[]", "{{}}", "-", "--", "--out", "x" * 100_000, "all", "999999999",
]  # fmt: skip
OPTIONS = {
    "attack": [
        "samples", "per-class", "steps", "gamma", "threshold", "target", "epsilon", "metric", "loss", "c", "draws",
        "micro-batch", "engine", "precision", "device", "seed", "data", "root", "input", "label", "split", "sensor",
        "output-window", "attack", "victim", "tuning", "trace",
    ],
    "train": [
        "network", "width", "loss", "time-steps", "bins", "time-bin", "size", "batch-size", "learning-rate", "dropout",
        "widest-dropout", "shift", "initial-rate", "validation", "validate-every", "micro-batch", "engine", "seed",
        "data",
    ],
}  # fmt: skip
QUICK = {
    "attack": ["--samples", "2", "--steps", "1", "--draws", "1", "--quiet"],
    "train": ["--network", "2C3-AP4-10FC", "--updates", "1", "--time-steps", "2", "--quiet"],
}
LONG = {("attack", "steps"), ("attack", "draws"), ("train", "time-steps"), ("train", "batch-size")}
"""Asked for much, these do much: not tried with large whole numbers that are allowed."""


def fill(value, ground):
    return value.format(canary=ground.canary)


def tried(command, option, value, ground):
    quick = list(QUICK[command])
    if f"--{option}" in quick:
        at = quick.index(f"--{option}")
        del quick[at : at + 2]
    if option == "per-class":
        quick = quick[2:]
    victim = ["--victim", ground.victim()] if command == "attack" and option != "victim" else []
    return [command, *victim, *quick, f"--{option}={fill(value, ground)}", "--out", ground.work / "out"]


@MANY
def test_values_of_options(ground, many):
    cases = [(c, o, v) for c, options in OPTIONS.items() for o, v in itertools.product(options, VALUES)]
    for command, option, value in cases[::7] if many else cases[::37]:
        ground.fresh()
        ground.meet("value of an option", *tried(command, option, value, ground))


@MANY
def test_commands_with_arguments_of_any_kind(ground, many):
    commands = ["demo", "train", "attack", "judge", "events", "report", "runs", "verify", "list", "sweep", "-c", "--"]
    for n, (command, value) in enumerate(itertools.product(commands, VALUES)):
        if not many and n % 11:
            continue
        ground.fresh()
        out = ["--quiet", "--network", value] if command == "train" else []
        out = ["--frob"] if command == "demo" else out  # trains for a minute where it is allowed to
        ground.meet("argument of a command", command, fill(value, ground), *out)


@MANY
def test_unknown_options_and_null_bytes(ground, many):
    @settings(max_examples=60 if many else 5, derandomize=True, database=None, deadline=None)
    @given(st.lists(st.text(min_size=1, max_size=20).filter(lambda text: text not in ("demo", "train")), max_size=4))
    def any_words(words):
        ground.fresh()
        ground.meet("words at random", "attack", *words, "a\0b" if len(words) % 2 else "--nothing")

    any_words()


TOML = {
    "nothing": "",
    "no TOML": "= = =",
    "bytes": b"\xff\xfe\x00",
    "null in a path": 'victim = "a\\u0000b"',
    "null in a name": '"sam\\u0000ples" = 2',
    "a table": "[samples]\nx = 1",
    "tables of tables": "samples = {a = {b = {c = 1}}}",
    "an array of tables": "[[samples]]\na = 1\n[[samples]]\na = 2",
    "a date": "samples = 1979-05-27T07:32:00Z",
    "a list for a number": "samples = [1, 2, 3]",
    "a number for a path": "victim = 7",
    "a truth for a number": "samples = true",
    "not a number": "gamma = nan",
    "infinity": "threshold = inf",
    "10^15 samples": "samples = 1000000000000000",
    "10^15 draws": "draws = 1000000000000000",
    "10^15 steps": "steps = 1000000000000000",
    "10^15 in a micro-batch": "micro-batch = 1000000000000000",
    "5000 digits": f"samples = {'9' * 5000}",
    "nesting": f"samples = {'[' * 5000}{']' * 5000}",
    "a deep table": f"[{'.'.join('a' * 3000)}]\nx = 1",
    "a megabyte of names": "\n".join(f"a{n} = 1" for n in range(120_000)),
    "a name twice": "samples = 1\nsamples = 2",
    "an unknown name": "colour = 'red'",
    "a name with a newline": '"sam\\nples" = 1',
    "a name of an escape": '"\\u001b[2J" = 1',
    "a name of dashes": '"--out" = "x"',
    "an empty name": '"" = 1',
    "code as a value": "samples = \"__import__('os').system('touch {canary}')\"",
    "code as a device": 'device = "cuda:$(touch {canary})"',
    "code as data": 'data = "$(touch {canary})"',
    "a template": 'data = "{{{{ config.__class__ }}}}"',
    "a module as victim": 'victim = "os:getcwd"',
    "a config in a config": 'config = "run.toml"',
    "c": 'c = "other.toml"',
    "help": "help = true",
    "version": "version = true",
    "a command": "[attack]\nsamples = 1",
    "a device": 'victim = "/dev/zero"',
    "a pipe": 'victim = "pipe"',
    "a home that is none": 'victim = "~nobody-at-all/x"',
    "a long path": f'victim = "{"x" * 5000}"',
    "a deep path": f'victim = "{"x/" * 5000}"',
    "json of no meaning": 'json = [1, "a"]',
    "quiet as text": 'quiet = "maybe"',
    "out as number": "out = 5",
    "sensor": 'sensor = "99999999x1"',
    "unicode": 'data = "\\U0001F4A5\\u202e"',
}


@MANY
def test_files_of_options(ground, many):
    for n, text in enumerate(TOML.values()):
        if not many and n % 5:
            continue
        work = ground.fresh()
        os.mkfifo(work / "pipe")
        content = text if isinstance(text, bytes) else text.replace("{canary}", str(ground.canary)).encode()
        (work / "run.toml").write_bytes(content)
        victim = [] if "victim" in str(text) else ["--victim", ground.victim()]
        quick = [word for word in ("--samples=2", "--steps=1", "--draws=1") if word[2:-2] not in str(text)]
        rest = [*victim, *quick, "--out", work / "out", "--quiet"]
        ground.meet("file of options", "attack", "-c", work / "run.toml", *rest)


@MANY
def test_files_of_options_at_random(ground, many):
    keys = st.sampled_from([*OPTIONS["attack"], "out", "quiet", "json", "download"]) | st.text(max_size=8)
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
        max_leaves=4,
    )

    @settings(max_examples=120 if many else 8, derandomize=True, database=None, deadline=None)
    @given(st.dictionaries(keys, values, max_size=4))
    def any_file(options):
        work = ground.fresh()
        (work / "run.toml").write_text("".join(f"{written(k)} = {written(v)}\n" for k, v in options.items()), "utf-8")
        quick = [word for word in ("--samples=2", "--steps=1", "--draws=1") if word[2:-2] not in options]
        ground.meet("file of options at random", "attack", "-c", work / "run.toml", "--victim", ground.victim(), *quick)

    any_file()


def written(value):
    """A value as TOML, None as something that is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" if not c.isalnum() or not c.isascii() else c for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(k)} = {written(v)}" for k, v in value.items()) + "}"
    return str(value)


BASE = '[base]\nvictim = "victim"\nsamples = 2\nsteps = 1\ndraws = 1\n'
SWEEPS = [
    "", "= = =", "[grid]\ngamma = [0.1]", BASE, BASE + "[grid]\n", BASE + "[grid]\ngamma = []",
    BASE + "[grid]\ngamma = 1",
    BASE + "[grid]\ngamma = [[0.1]]", BASE + '[grid]\ngamma = [{a = 1}]', BASE + "[grid]\ngamma = [nan, inf]",
    BASE + "[grid]\ngamma = [0.1, 0.1]", BASE + '[grid]\n"../../x" = [1]', BASE + '[grid]\ndata = ["../../x", "/etc"]',
    BASE + '[grid]\nvictim = ["/dev/zero", "../../around"]', BASE + '[grid]\ndevice = ["cuda:$(touch {canary})"]',
    BASE + "[grid]\n" + "\n".join(f"o{n} = [1, 2, 3, 4, 5, 6, 7, 8, 9]" for n in range(40)),
    BASE + f"[grid]\nseed = [{', '.join(map(str, range(20_000)))}]", BASE + "[[points]]", BASE + "points = 3",
    BASE + '[[points]]\n"" = 1', BASE + '[[points]]\nsteps = 1\n[[points]]\nsteps = 1', BASE + "[surprise]\nx = 1",
    BASE + '[grid]\ninput = ["a\\u0000b"]', BASE + '[grid]\ntarget = ["<script>alert(1)</script>"]',
    BASE + "[grid]\nsteps = [1000000000000000]", "base = 1\ngrid = 2", "[[base]]\nx = 1",
    "[base.victim]\nx = 1\n[grid]\nseed=[1]",
    BASE + "[grid]\nseed = [1, 2]", BASE + '[grid]\nmetric = ["<img src=x>"]', f"x = {'[' * 5000}", "a" * (2 << 20),
]  # fmt: skip


@MANY
def test_files_of_sweeps(ground, many):
    for n, text in enumerate(SWEEPS):
        if not many and n % 11:
            continue
        work = ground.fresh()
        ground.victim()
        (work / "sweep.toml").write_text(text.replace("{canary}", str(ground.canary)))
        ground.meet("file of a sweep", "sweep", work / "sweep.toml", "--out", work / "out", "--quiet")
        page = work / "out" / "report.html"
        assert not page.exists() or "<script" not in page.read_text("utf-8")
