"""Hostile run folders: files of a run damaged at random and by hand, shown, listed, compared and verified."""

import json
import os
import struct

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from claims import ALL, PART, WHOLE, claim_rows
from harm import MANY, holding, linked, replaced, safetensors, tensor
from mutations import mutate
from own_scripts import without_scripts
from safetensors.numpy import load_file, save_file

INPUTS = "adversarials.safetensors"
FILES = ("config.json", "manifest.json", "summary.json", "rows.parquet", INPUTS)


def look(ground, run, kind):
    """All that reads a run folder; the attack is not run again where its own files cannot be read."""
    ground.meet(kind, "report", run, "--out", ground.work / "page.html", "--quiet")
    ground.meet(kind, "runs", ground.work)
    ground.meet(kind, "runs", "--compare", run, run)
    ground.meet(kind, "verify", run, "--victim", ground.victim(), "--samples", "2", "--quiet")
    page = ground.work / "page.html"
    if page.exists():
        text = without_scripts(page.read_text("utf-8"))
        assert "<script" not in text
        assert "<img" not in text


@MANY
@pytest.mark.parametrize("name", [*FILES, "outputs.safetensors"])
def test_files_damaged_at_random(ground, many, name):
    random = np.random.default_rng([*FILES, "outputs.safetensors"].index(name))
    for _ in range(30 if many else 2):
        ground.fresh()
        run = ground.finished()
        (run / name).write_bytes(mutate((run / name).read_bytes(), random))
        look(ground, run, f"damaged {name}")


LEAVES = [
    None, True, -1, 10**15, 10**400, 1e308, float("nan"), float("-inf"), "", "<script>alert(1)</script>", "\ud800",
    "\x1b]0;x\x07", "a\nb\0c", "../../../etc/passwd", "$(touch {canary})", "{{7*7}}", "$\\frac{", "x" * 100_000,
    [], {}, [[]], {"a": {"b": []}}, [None] * 1000, {"<img src=x>": "<img src=x>"},
]  # fmt: skip


def places(value, path=()):
    """Where in a JSON value something else can be put."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def put(value, path, leaf):
    if not path:
        return leaf
    value = value.copy()
    value[path[0]] = put(value[path[0]], path[1:], leaf)
    return value


@MANY
@pytest.mark.parametrize("name", FILES[:3])
def test_json_with_another_value_in_any_place(ground, many, name):
    ground.fresh()
    original = json.loads((ground.finished() / name).read_text())
    cases = [(path, leaf) for path in places(original) for leaf in LEAVES]
    for path, leaf in cases[:: max(1, len(cases) // (120 if many else 4))]:
        ground.fresh()
        run = ground.finished()
        text = json.dumps(put(original, path, leaf)).replace("{canary}", str(ground.canary))
        (run / name).write_text(text)
        look(ground, run, f"another value in {name}")


NESTED = {
    "config.json": b'{"a":' * 900 + b"1" + b"}" * 900,
    "summary.json": b"[" * 100_000,
    "manifest.json": b'{"a":' * 30 + b"{}" + b"}" * 30,
}


def table_with(change):
    """The rows as another table."""

    def harm(run):
        changed = change(pyarrow.parquet.read_table(run / "rows.parquet"))
        pyarrow.parquet.write_table(changed, run / "rows.parquet")

    return harm


def rows(**columns):
    """The rows with other columns."""

    def change(table):
        for name, values in columns.items():
            table = table.set_column(table.schema.get_field_index(name), name, values)
        return table

    return table_with(change)


def whole(*values):
    return pyarrow.array(values, pyarrow.int64())


def tensors(**others):
    def harm(run):
        save_file(load_file(run / INPUTS) | others, run / INPUTS)

    return harm


def both(*shape, dtype=np.float32):
    return tensors(originals=np.zeros(shape, dtype), adversarials=np.zeros(shape, dtype))


def bomb(table):
    """Ten million equal rows in a small file."""
    zeros = pyarrow.DictionaryArray.from_arrays(np.zeros(10_000_000, np.int8), pyarrow.array([0])).cast(pyarrow.int64())
    return pyarrow.table(dict.fromkeys(table.schema.names, zeros))


def shards(run, make):
    (run / "summary.json").unlink()
    (run / "shards").mkdir()
    make(run / "shards" / "00000")


def damaged_shard(folder):
    folder.mkdir()
    (folder / "rows.parquet").write_bytes(b"PAR1")


def huge_shard(run, folder):
    folder.mkdir()
    (run / "rows.parquet").rename(folder / "rows.parquet")
    claim_rows(folder / "rows.parquet", 10**15)


HUGE = [10**15, 1, 8, 8]
BY_HAND = {
    "10^15 inputs": replaced(INPUTS, holding(safetensors({
        "originals": tensor("F32", HUGE, [0, 1]), "adversarials": tensor("F32", HUGE, [0, 1]),
        "samples": tensor("I64", [10**15], [0, 1]),
    }))),
    "inputs without bytes": replaced(INPUTS, holding(safetensors({
        "originals": tensor("F32", [3, 1, 8, 8], [0, 768]), "adversarials": tensor("F32", [3, 1, 8, 8], [0, 768]),
        "samples": tensor("I64", [3], [768, 792]),
    }))),
    "a header of 2^63 bytes": replaced(INPUTS, holding(struct.pack("<Q", 1 << 63) + b"{}")),
    "a pickle for tensors": replaced(INPUTS, holding(b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.")),
    "no numbers": tensors(adversarials=np.full((3, 1, 8, 8), np.nan, np.float32)),
    "another shape": tensors(adversarials=np.zeros((3, 1, 4, 16), np.float32)),
    "no inputs": lambda run: (both(0, 1, 8, 8)(run), tensors(samples=np.zeros(0, np.int64))(run)),
    "samples of floats": tensors(samples=np.full(3, np.inf)),
    "one dimension": both(3),
    "eight dimensions": both(3, 1, 1, 1, 1, 1, 1, 8),
    "half precision": both(3, 1, 8, 8, dtype=np.float16),
    "rows of words": rows(steps=pyarrow.array(["a", "b", "c"])),
    "rows of lists": rows(steps=pyarrow.array([[1], [2], []])),
    "rows with gaps": rows(label=pyarrow.array([1, None, 2])),
    "rows beyond int64": rows(label=pyarrow.array([1, 2, 1 << 63], pyarrow.uint64())),
    "labels of no class": rows(label=whole(-5, 10**15, 3), prediction=whole(-9, 7, 10**12)),
    "labels of a large class": rows(label=whole(5, 10**15, 3), prediction=whole(9, 7, 10**12)),
    "inputs of no data": rows(input=whole(-1, 10**15, 3)),
    "targets of no class": rows(target=whole(10**15, -7, 3)),
    "steps without end": rows(steps=whole(10**18, -(10**18), 0)),
    "many steps": rows(steps=whole(10**9, 1, 0)),
    "mse of no size": rows(mse=pyarrow.array([float("nan"), float("inf"), -1e308])),
    "mse of any size": rows(mse=pyarrow.array([float("nan"), 1e29, 1e-308])),
    "verified of no size": rows(verified=pyarrow.array([float("nan"), 1e308, -5.0])),
    "other samples": rows(sample=whole(1, 2, 3)),
    "no rows": table_with(lambda table: table.slice(0, 0)),
    "a column twice": table_with(lambda table: table.append_column("steps", table["steps"])),
    "ten million rows": table_with(bomb),
    "10^15 rows in the header": lambda run: claim_rows(run / "rows.parquet", 10**15, WHOLE),
    "10^15 rows in a group": lambda run: claim_rows(run / "rows.parquet", 10**15, PART),
    "10^9 rows in a group": lambda run: claim_rows(run / "rows.parquet", 10**9, PART),
    "10^15 rows everywhere": lambda run: claim_rows(run / "rows.parquet", 10**15, ALL),
    "a file elsewhere": table_with(lambda t: t.append_column("file", pyarrow.array(["../../around/precious.txt"] * 3))),
    "a summary of 5 MB": replaced("summary.json", holding(json.dumps({"n": 3, "x": "y" * 5_000_000}).encode())),
    "files of nothing": lambda run: [(run / name).write_bytes(b"") for name in FILES],
    "files that are folders": lambda run: [((run / name).unlink(), (run / name).mkdir()) for name in FILES],
    "a shard of 10^15 rows": lambda run: shards(run, lambda folder: huge_shard(run, folder)),
    "a damaged shard": lambda run: shards(run, damaged_shard),
    "a shard that is a link": lambda run: shards(run, linked("/")),
    **{f"{name}: nested": replaced(name, holding(text)) for name, text in NESTED.items()},
    **{f"{name}: not there": replaced(name, lambda path: None) for name in FILES},
    **{f"{name}: a device": replaced(name, linked("/dev/zero")) for name in FILES},
    **{f"{name}: a pipe": replaced(name, os.mkfifo) for name in FILES},
    **{f"{name}: a circle": replaced(name, linked(name)) for name in FILES},
    **{f"{name}: a secret": replaced(name, linked("/etc/passwd")) for name in FILES},
}  # fmt: skip


@MANY
def test_run_folders_by_hand(ground, many):
    for n, harm in enumerate(BY_HAND.values()):
        if not many and n % 6:
            continue
        ground.fresh()
        run = ground.finished()
        harm(run)
        look(ground, run, "run folder by hand")


OPTIONS = ["--samples", "3", "--steps", "2", "--draws", "2", "--quiet"]
JSONS = FILES[:3]
BEFORE = {
    **{f"{name}: nested": replaced(name, holding(text)) for name, text in NESTED.items()},
    **{f"{name}: a list": replaced(name, holding(b"[1]")) for name in JSONS},
    **{f"{name}: a device": replaced(name, linked("/dev/zero")) for name in JSONS},
    **{f"{name}: a pipe": replaced(name, os.mkfifo) for name in JSONS},
    **{f"{name}: a circle": replaced(name, linked(name)) for name in JSONS},
    **{f"{name}: a folder": replaced(name, lambda path: path.mkdir()) for name in JSONS},
    "a page elsewhere": replaced("report.html", linked("../../around/precious.txt")),
    "a log elsewhere": replaced("run.log", linked("../../around/precious.txt")),
    "a log that is a pipe": replaced("run.log", os.mkfifo),
}


@MANY
def test_going_on_with_a_damaged_run(ground, many):
    """An attack on a folder that holds someone else's run."""
    random = np.random.default_rng(11)
    for n in range(40 if many else 3):
        ground.fresh()
        run = ground.finished()
        name = JSONS[n % 3]
        (run / name).write_bytes(mutate((run / name).read_bytes(), random))
        if n % 2:
            (run / "report.html").unlink()
        ground.meet("run to go on with", "attack", "--victim", ground.victim(), *OPTIONS, "--out", run)
    for n, harm in enumerate(BEFORE.values()):
        if not many and n % 5:
            continue
        for gone in ("report.html", "summary.json"):
            ground.fresh()
            run = ground.finished()
            harm(run)
            (run / gone).unlink(missing_ok=True) if not (run / gone).is_dir() else None
            ground.meet("run to go on with", "attack", "--victim", ground.victim(), *OPTIONS, "--out", run)
