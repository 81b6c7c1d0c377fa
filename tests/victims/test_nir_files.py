"""NIR files that lack something, do not fit or are hostile: one sentence each."""

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from mutations import mutate
from nir_graphs import (
    RECURRENT,
    SURROGATE,
    chain,
    full,
    graph,
    h5py,
    lif_of,
    network,
    nir,
    numbers,
    recurrent_nodes,
    spikes,
    write,
)

import spikeflip
from spikeflip import SpikeflipError
from spikeflip.victims import load_nir, save_nir

pytestmark = pytest.mark.frameworks

# What is missing, does not fit or is hostile: one sentence.


def refused(tmp_path, what, match, **options):
    file = what if not isinstance(what, nir.NIRGraph) else write(tmp_path, what)
    with pytest.raises(SpikeflipError, match=match) as error:
        load_nir(file, **{"time_steps": 7, "surrogate": SURROGATE, **options})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 900
    return str(error.value)


def small():
    return chain(nir.Linear(numbers(3, 6)), lif_of(3))


def test_what_the_file_does_not_say_must_be_said(tmp_path):
    file = write(tmp_path, small())
    with pytest.raises(SpikeflipError, match="does not say time_steps: pass time_steps="):
        load_nir(file, surrogate=SURROGATE)
    with pytest.raises(SpikeflipError, match="does not say surrogate: pass surrogate="):
        load_nir(file, time_steps=5)
    assert load_nir(file, surrogate=SURROGATE, example=spikes(4, 5, 6)).time_steps == 5


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dt": 0.0}, "dt is 0.0"),
        ({"dt": float("nan")}, "dt is nan"),
        ({"dt": 1.0}, r"node 'n1' \(LIF\) has a tau of 0.0002 s, shorter than a step of dt = 1 s: pass the dt="),
        ({"time_steps": 0}, "time_steps is 0"),
        ({"time_steps": 10**9}, "time_steps is 1000000000"),
        ({"input_shape": (7,)}, r"node 'n0' \(Linear\) is given \(7,\) and takes"),
        ({"input_shape": ()}, "pass input_shape="),
        ({"method": "rk4"}, "method is 'rk4': choose from euler, exponential"),
        ({"reset": "none"}, "reset is 'none': choose from hard, soft"),
        ({"readout": "median"}, "readout is 'median'"),
        ({"penultimate": "n7"}, "penultimate is 'n7'"),
        ({"example": spikes(4, 7, 5)}, r"is given \(5,\) and takes"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, match):
    refused(tmp_path, small(), match, **options)


def without(nodes, *names):
    return {name: node for name, node in nodes.items() if name not in names}


LINEAR = [("input", "in"), ("in", "lif"), ("lif", "out"), ("out", "last"), ("last", "output")]


@pytest.mark.parametrize(
    ("nodes", "edges", "match"),
    [
        (lambda n: without(n, "output"), LINEAR[:-1], "the graph has 0 Output nodes: give it exactly one"),
        (lambda n: without(n, "input"), LINEAR[1:], "the graph has 0 Input nodes"),
        (lambda n: n | {"more": nir.Input(np.array([6]))}, [*RECURRENT, ("more", "in")], "has 2 Input nodes"),
        (lambda n: n | {"more": nir.Output(np.array([4]))}, [*RECURRENT, ("lif", "more")], "has 2 Output nodes"),
        (lambda n: n, [*RECURRENT, ("lif", "ghost")], "edge with 'ghost', which is no node"),
        (lambda n: n, RECURRENT[:-1], "no path leads from node 'input'"),
        (
            lambda n: n | {"lost": nir.Linear(numbers(4, 4))},
            [*RECURRENT, ("lost", "lif")],
            "node 'lost' .* is not reached from the input",
        ),
        (
            lambda n: n | {"one": nir.Linear(numbers(4, 4)), "two": nir.Linear(numbers(4, 4))},
            [*LINEAR, ("lif", "one"), ("one", "two"), ("two", "one"), ("two", "out")],
            "form a cycle without a neuron or a delay",
        ),
        (
            lambda n: n | {"self": nir.Scale(full(4, 0.5))},
            [*LINEAR, ("lif", "self"), ("self", "self"), ("self", "out")],
            "the nodes 'self' form a cycle",
        ),
        (lambda n: n | {"in": nir.Linear(numbers(4, 5))}, LINEAR, r"node 'in' .* is given \(6,\) and takes \(..., 5\)"),
        (lambda n: n, [*LINEAR, ("input", "lif")], r"node 'lif' .* is given shapes"),
        (lambda n: n | {"lif": lif_of(5)}, LINEAR, r"node 'lif' .* of shape \(5,\) for values of shape \(4,\)"),
        (lambda n: n | {"in": nir.Affine(numbers(4, 6), numbers(3))}, LINEAR, r"bias of shape \(3,\) for 4 outputs"),
        (lambda n: n | {"in": nir.Linear(full((4, 6), np.nan))}, LINEAR, "node 'in' .* not finite"),
        (lambda n: n | {"output": nir.Output(np.array([9]))}, LINEAR, r"says \(9,\) and is given \(3,\)"),
        (lambda n: n, [*LINEAR[:2], ("lif", "output")], r"says \(3,\) and is given \(4,\)"),
        (
            lambda n: n | {"in": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))},
            LINEAR,
            r"takes \(channels, height, width\)",
        ),
        (
            lambda n: n | {"in": nir.Conv1d(6, numbers(4, 1, 3), 1, 0, 1, 1, numbers(4))},
            LINEAR,
            r"is given \(6,\) and takes \(1, size\)",
        ),
        (lambda n: n | {"in": nir.Flatten({"input": np.array([6])}, 0, 3)}, LINEAR, "flattens axes 0 to 3"),
        (
            lambda n: n | {"lif": nir.LIF(full(4, -1), full(4, 1), full(4, 0), full(4, 1))},
            LINEAR,
            "time constants are positive",
        ),
    ],
)  # fmt: skip
def test_graphs_that_do_not_fit(tmp_path, nodes, edges, match):
    try:
        what = graph(nodes(recurrent_nodes()), edges)
    except Exception as error:  # newer versions of nir do not let it be made
        pytest.skip(f"nir refuses it: {error}")
    refused(tmp_path, what, match)


def test_a_window_larger_than_its_input_and_an_output_of_maps(tmp_path):
    pool = nir.AvgPool2d(np.array([9, 9]), np.array([9, 9]), np.array([0, 0]))
    refused(tmp_path, chain(pool, shape=(1, 4, 4)), r"window of \(9, 9\), larger than its input \(1, 4, 4\)")
    refused(tmp_path, chain(lif_of(3, 2), shape=(3, 2), out=(3, 2)), r"scores are \(K,\) of at least 2 classes")


@pytest.fixture
def edited(tmp_path):
    """A good file, opened to be spoilt."""
    write(tmp_path, chain(nir.Linear(numbers(3, 6)), lif_of(3)))

    def edit(change):
        with h5py.File(tmp_path / "graph.nir", "r+") as file:
            change(file)
        return tmp_path / "graph.nir"

    return edit


def put(group, name, *args, **options):
    if name in group:
        del group[name]
    return group.create_dataset(name, *args, **options)


def deep(file):
    inner = file["node"]
    for _ in range(60):
        group = inner["nodes"].create_group("inner")
        group["type"] = "NIRGraph"
        group["edges"] = [("input", "output")]
        group.create_group("nodes")
        inner = group


def in_itself(file):
    for i in range(8):
        file["node/nodes"][f"again{i}"] = file["node"]


def many(file):
    for i in range(2100):
        file["node/nodes"].create_group(f"x{i}")["type"] = "Input"
        file["node/nodes"][f"x{i}"]["shape"] = [1]


def elsewhere(file):
    del file["node/nodes/n0/weight"]
    file["node/nodes/n0/weight"] = h5py.ExternalLink("/etc/hostname", "/weight")


def soft_link(file):
    del file["node/nodes/n0/weight"]
    file["node/nodes/n0/weight"] = h5py.SoftLink("/node/nodes/n0/weight")


def raw_elsewhere(file):
    put(file["node/nodes/n0"], "weight", (3, 6), "f4", external=[("/etc/passwd", 0, 72)])


def virtual(file):
    del file["node/nodes/n0/weight"]
    layout = h5py.VirtualLayout(shape=(3, 6), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "weight", shape=(3, 6))
    file["node/nodes/n0"].create_virtual_dataset("weight", layout)


def pickled(file):
    import pickle

    class Harm:
        def __reduce__(self):
            return exec, ("raise SystemExit('it ran')",)

    data = np.frombuffer(pickle.dumps(Harm()), np.uint8)
    put(file["node/nodes/n0"], "weight", data=np.void(data.tobytes()))


NODE = "node/nodes/n0"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: put(f[NODE], "type", data="Recurrent"), "'n0' is of type 'Recurrent', which .* use Input, Output"),
        (lambda f: put(f[NODE], "type", data=3), "'type' of node 'n0' hold 'i' data and no text"),
        (lambda f: put(f[NODE], "type", data="L" * 10**6), "longer than"),
        (lambda f: put(f[NODE], "type", data=b"\xff\xfe"), "cannot be read as HDF5"),
        (lambda f: f[NODE].__delitem__("type"), "node 'n0' has no type"),
        (lambda f: f[NODE].__delitem__("weight"), r"node 'n0' \(Linear\) has no weight: export it again"),
        (lambda f: f.__delitem__("node"), "without a NIR graph"),
        (lambda f: f["node"].__delitem__("edges"), "the graph has no edges"),
        (lambda f: put(f["node"], "type", data="Linear"), "node|graph"),
        (lambda f: put(f["node"], "edges", data=[("a", "b", "c")]), r"edges of shape \(1, 3\)"),
        (lambda f: put(f["node"], "edges", data=np.zeros((2, 2))), "hold 'f' data and no text"),
        (lambda f: put(f["node"], "edges", data=[("x" * 5000, "b")]), "longer than 1,000"),
        (lambda f: put(f["node"], "edges", (10**9, 2), h5py.string_dtype()), "give at most 5,000 pairs"),
        (lambda f: put(f[NODE], "weight", data="text"), "has the text 'text' as weight: give numbers"),
        (lambda f: put(f[NODE], "weight", data=np.zeros((3, 6), complex)), "is of type complex128: store numbers"),
        (lambda f: put(f[NODE], "weight", data=np.zeros(3, [("a", "f4"), ("b", "f4")])), "store numbers"),
        (lambda f: put(f[NODE], "weight", (3,), h5py.ref_dtype), "store numbers"),
        (lambda f: put(f[NODE], "weight", (3,), h5py.vlen_dtype("f4")), "store numbers"),
        (pickled, "store numbers"),
        (lambda f: put(f[NODE], "weight", data=h5py.Empty("f4")), "has no weight"),
        (lambda f: put(f[NODE], "weight", (10**6, 10**6), "f4"), "claims .* bytes in a file of"),
        (lambda f: put(f[NODE], "weight", (10**6, 10**6), "f4", chunks=(1000, 1000)), "claims more than it can hold"),
        (lambda f: put(f[NODE], "weight", (2000, 2000), "f4", chunks=(1000, 1000)), "claims more|0 pieces"),
        (lambda f: put(f[NODE], "weight", (3, 6), "f4", chunks=(3, 6)), "in 0 pieces"),
        (lambda f: put(f[NODE], "weight", (3, 6), "f4", chunks=(30000, 30000), maxshape=(None, None)), "it is damaged"),
        (lambda f: put(f[NODE], "weight", data=np.zeros((3, 6)), compression="lzf"), "packed by HDF5 filters"),
        (lambda f: put(f[NODE], "weight", data=np.zeros((0, 6), "f4")), r"weight of shape \(0, 6\)"),
        (lambda f: put(f["node/nodes/input"], "shape", data=np.array([10**9, 10**9, 6])), "gives more than"),
        (lambda f: put(f["node/nodes/input"], "shape", data=np.array([1e30])), "whole numbers"),
        (lambda f: put(f["node/nodes/input"], "shape", data=np.array([-6])), "whole numbers"),
        (lambda f: put(f["node/nodes/input"], "shape", data=np.ones((2, 2))), "whole numbers"),
        (lambda f: f["node"].create_group("metadata").create_dataset("spikeflip", data="{"), "'spikeflip' cannot be"),
        (lambda f: f["node"].create_group("metadata").create_dataset("spikeflip", data="[" * 60000), "cannot be used"),
        (lambda f: f["node"].create_group("metadata").create_dataset("spikeflip", data="[]"), "cannot be used"),
        (deep, "graph|Input"),
        (in_itself, "nest at most|more than 2,000 nodes"),
        (many, "more than 2,000 nodes"),
        (elsewhere, "'weight' that is a link to elsewhere"),
        (soft_link, "'weight' that is a link to elsewhere"),
        (raw_elsewhere, "data are in another file"),
        (virtual, "data are in another file"),
    ],
)  # fmt: skip
def test_hostile_files(tmp_path, edited, change, match):
    refused(tmp_path, edited(change), match)


@pytest.mark.parametrize("threshold", ["0", "1e999", '"x"', "null", "-1"])
def test_hostile_metadata(tmp_path, threshold):
    save_nir(network("16FC-5FC", (20,)), tmp_path / "own.nir")
    with h5py.File(tmp_path / "own.nir", "r+") as file:
        text = json.loads(file["node/metadata/spikeflip"][()])
        text["neuron"]["threshold"] = "HERE"
        put(file["node/metadata"], "spikeflip", data=json.dumps(text).replace('"HERE"', threshold))
    refused(tmp_path, tmp_path / "own.nir", "metadata 'spikeflip' cannot be used .*: save the network again")


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2", "i2"])
def test_packed_arrays_are_what_h5py_reads(tmp_path, edited, dtype, shuffle):
    values = (numbers(3, 6) * 100).astype(dtype)
    file = edited(lambda f: put(f[NODE], "weight", data=values, chunks=(2, 4), compression="gzip", shuffle=shuffle))
    victim = load_nir(file, time_steps=7, surrogate=SURROGATE)
    np.testing.assert_array_equal(victim.model.n0.weight, values.astype("f4"))


def test_a_packed_piece_is_unpacked_no_further_than_its_size(tmp_path, edited):
    import zlib

    def bomb(file):
        dataset = put(file[NODE], "weight", (512, 512), "f4", chunks=(512, 512), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**29), 9))

    file = edited(bomb)
    tracemalloc.start()
    refused(tmp_path, file, "takes|fit|damaged|claims")
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_hostile_bytes(tmp_path):
    save_nir(network("8FC-5FC", (20,)), tmp_path / "own.nir")
    base, random = (tmp_path / "own.nir").read_bytes(), np.random.default_rng(0)
    bad, refusals, accepted = tmp_path / "bad.nir", 0, 0
    for _ in range(60):
        bad.write_bytes(mutate(base, random))
        try:
            load_nir(bad)
        except SpikeflipError as error:
            refusals += "\n" not in str(error)
        else:
            accepted += 1
    assert refusals + accepted == 60
    assert refusals > 30
    bad.write_bytes(b"")
    refused(tmp_path, bad, "cannot be read as HDF5")
    refused(tmp_path, tmp_path, "there is no such file")
    refused(tmp_path, tmp_path / "nowhere.nir", "there is no such file")


@pytest.mark.parametrize("size", [0, 2**63, 2**64 - 8])
def test_damaged_heaps_of_text_end(tmp_path, size):
    """The HDF5 library goes round for ever where an object of a heap says that it has no size."""
    file = write(tmp_path, small())
    data = bytearray(file.read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 24 : heap + 32] = size.to_bytes(8, "little")
    file.write_bytes(data)
    refused(tmp_path, file, "damaged|lies beyond")


def test_memory_is_bounded(tmp_path, edited):
    """Claims of terabytes cost nothing; measured in a process of its own."""

    def claims(file):
        put(file[NODE], "weight", (10**6, 10**6), "f8", chunks=(1000, 1000), compression="gzip")
        put(file["node/nodes/n1"], "tau", (10**5, 10**5), "f8")

    program = f"""
import resource
import spikeflip
from spikeflip.victims import load_nir
import h5py
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_nir({str(edited(claims))!r}, time_steps=10_000, surrogate=spikeflip.Rectangular(1.0))
except spikeflip.SpikeflipError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 50 * 1024


def test_work_is_bounded_before_anything_runs(tmp_path):
    wide = chain(
        nir.Conv2d((4000, 4000), np.zeros((1, 1, 999, 999), np.float32), 1, 0, 1, 1, full(1, 0)), shape=(1, 4000, 4000)
    )
    refused(tmp_path, wide, "needs more than .* multiplications")
    refused(
        tmp_path, chain(nir.Delay(full(6, 1e6)), nir.Linear(numbers(3, 6)), lif_of(3)), "waits for 10000000000 steps"
    )
    padded = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([10**8, 10**8]))
    refused(tmp_path, chain(padded, shape=(1, 4, 4)), "padded by more than half its kernel")


@pytest.mark.parametrize(("name", "call"), [("h5py", load_nir), ("nir", lambda file: save_nir(network(), file))])
def test_without_the_packages(tmp_path, monkeypatch, name, call):
    file = write(tmp_path, small())
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SpikeflipError, match=r"pip install 'spikeflip\[nir\]'"):
        call(file)


def test_public_names():
    assert spikeflip.load_nir is load_nir
    assert spikeflip.save_nir is save_nir
