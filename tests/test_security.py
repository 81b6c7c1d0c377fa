"""What SECURITY.md promises of the code itself: nothing in it can turn a file into code."""

import ast
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from own_scripts import without_scripts
from safetensors.numpy import load_file, save_file
from synthetic import write_run

import spikeflip
from spikeflip.report import render_report

SOURCES = sorted(Path(spikeflip.__file__).parent.rglob("*.py"))
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
    "runpy",
    "code",
}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.jit.load", "np.lib.format.read_array"}
ASKS = {"torch.load": "weights_only", "np.load": "allow_pickle", "numpy.load": "allow_pickle"}
"""What these calls must say: the first that it is True, the others that it is False."""


def problems(source):
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] if node.module.partition(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            asked = ASKS.get(name)
            wrong = asked is not None and said.get(asked) != str(asked == "weights_only")
            imported = name.endswith("import_module") and not constant(node.args[0])
            if name in CALLS or wrong or imported or said.get("shell", "False") != "False":
                found.append(name)
    return found


def constant(node):
    """Whether what is imported is a name of this package, whatever the rest of it is."""
    if isinstance(node, ast.Constant):
        return True
    return isinstance(node, ast.JoinedStr) and str(getattr(node.values[0], "value", "")).startswith("spikeflip.")


ON_PURPOSE = {"factory.py": ["importlib.import_module"]}
"""The user's own code, by the name that the user gives; no file's content decides on it."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_in_the_package_runs_what_it_reads(path):
    assert problems(path.read_text(encoding="utf-8")) == ON_PURPOSE.get(path.name, [])


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "import yaml", "eval(x)", "exec(x)", "os.system(x)",
        "torch.load(x)", "torch.load(x, weights_only=False)", "np.load(x)", "np.load(x, allow_pickle=True)",
        "subprocess.run(x, shell=True)", "subprocess.run(x, shell=y)", "importlib.import_module(x)",
        "import_module(f'{x}.spikeflip')", "__import__(x)", "compile(x, y, z)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(line):
    assert problems(line)
    assert not problems("torch.load(x, weights_only=True)\nnp.load(x, allow_pickle=False)\nre.compile(x)\nmodel.eval()")


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        assert not any("alert" in (value or "") for name, value in attrs if name in ("href", "src", "style"))

    def handle_data(self, data):
        self.words.append(data)


EVIL = "</title></style></svg>\"'><script>alert(1)</script><img src=x onerror=alert(2)>"


def poisoned(value, key=""):
    """Every text, name of a list and key that may be free text replaced; what must be one of few words stays."""
    if isinstance(value, dict):
        inner = {key: poisoned(part, key) for key, part in value.items()}
        return inner | {EVIL: EVIL}
    if isinstance(value, list):
        return [poisoned(part) for part in value] or [EVIL]
    return EVIL if isinstance(value, str) and key != "kind" else value


def test_every_text_of_a_run_folder_is_text_in_its_page(tmp_path):
    run = write_run(tmp_path / "run <script>alert(3)</script>".replace("/", "_"))
    for name in ("config", "manifest", "summary"):
        path = run / f"{name}.json"
        path.write_text(json.dumps(poisoned(json.loads(path.read_text()))))
    tensors = load_file(run / "adversarials.safetensors")
    save_file(tensors, run / "adversarials.safetensors", metadata={EVIL: EVIL})
    nameless = write_run(tmp_path / "<script>alert(4)<_script>", config={"name": None})
    for runs in ([run], [run, nameless]):
        tags = Tags(without_scripts(render_report(runs, title=EVIL)))
        assert {"script", "img"}.isdisjoint(tags.found)
        assert tags.found.count("title") == 1 + tags.found.count("svg")
        assert EVIL in "".join(tags.words)
