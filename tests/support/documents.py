"""The fenced blocks of README.md and docs/ and what is done with each, and the commands in them and around them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parents[2]
PAGES = (path.relative_to(HOME).as_posix() for path in (HOME / "docs").rglob("*.md"))
DOCUMENTS = ["README.md", *sorted(page for page in PAGES if not page.startswith("docs/_build"))]

_BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its document, what stands behind the fence, and its lines."""

    document: str
    language: str
    text: str

    @property
    def start(self) -> str:
        """The first line, by which a block is known."""
        return self.text.partition("\n")[0]


def text_of(document: str) -> str:
    return (HOME / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    return [Block(document, *found.groups()) for found in _BLOCK.finditer(text_of(document))]


def prose(document: str) -> str:
    """The document without its blocks."""
    return _BLOCK.sub("", text_of(document))


def lines_of(text: str) -> list[list[str]]:
    """The words of each line as a shell splits them, without comments; a line that ends in a backslash goes on."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def commands(text: str) -> Iterator[list[str]]:
    """What follows each ``spikeflip`` of shell lines, which may be a part of a line, up to an ``&&``."""
    for words in lines_of(text):
        while "spikeflip" in words:
            words = words[words.index("spikeflip") + 1 :]
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end:]


def inline(document: str) -> list[str]:
    """The pieces of code in the prose."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(document))


NOT_RUN = {
    "pip install . && spikeflip demo": "run by .ci/run, in a fresh environment",
    "pip install -e '.[test]' && pytest -n auto": "run by .ci/run, in a fresh environment",
    "pip install .": "the tutorial on a first attack runs its second line",
    "#!/bin/bash": "needs Slurm",
    "array=$(sbatch --parsable array.sh)": "needs Slurm",
    "export RAY_AUTH_MODE=token": "needs Ray on several machines",
    "helm repo add kuberay https://ray-project.github.io/kuberay-helm/": "needs Kubernetes",
    "snn/        networks: neuron, surrogate, coding, architecture string, network and its ReLU twin, training, "
    "checkpoint, engines/": "lists what there is: test_the_folders_that_are_listed_are_there",
}
"""Blocks by their first line, and why they are not run here; ``spikeflip`` in them must still be right."""

ELSEWHERE = {
    "docs/interop.md": "tests/interop/test_page.py",
    **{page: "tests/test_docs_tutorials.py" for page in DOCUMENTS if page.startswith("docs/tutorials/")},
}
"""Documents whose code another test runs."""


def kind_of(block: Block) -> str | None:
    """What is done with a block; None for one that nobody thought of."""
    if block.language.startswith("{"):
        return "directive"  # for Sphinx, which warns of a wrong one
    if block.start in NOT_RUN:
        return "not run"
    if re.fullmatch(r"# \S+\.(toml|py|mplstyle)", block.start):
        return "file"
    if block.language == "python":
        return "python"
    if block.language == "" and all(words[0] == "spikeflip" for words in lines_of(block.text)):
        return "commands"
    return None


ALL = [block for document in DOCUMENTS for block in blocks(document)]
