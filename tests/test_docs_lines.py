"""Every command and option that is typed in README.md and docs/ is understood, and every block is of a known kind."""

import re
import subprocess
from pathlib import Path

import pytest
from documents import ALL, DOCUMENTS, ELSEWHERE, HOME, NOT_RUN, Block, blocks, commands, inline, kind_of

from spikeflip.cli.app import app, take_options
from spikeflip.cli.command_line import split_options
from spikeflip.interop import EVERY_ATTACK

OF_OTHERS = {"--help", "--no-build-isolation", "--no-deps", "--requeue", "--write"}
"""Options in the text that are not of a command of ours, or of all."""


def test_every_block_is_known():
    assert [f"{block.document}: {block.start}" for block in ALL if kind_of(block) is None] == []
    assert {block.start for block in ALL if kind_of(block) == "not run"} == set(NOT_RUN)
    assert all((HOME / test).is_file() and blocks(document) for document, test in ELSEWHERE.items())


def test_what_needs_a_cluster_is_right_in_its_syntax():
    shell = [block for block in ALL if block.language == "bash"]
    assert {block.document for block in shell} >= {f"docs/how-to/{name}.md" for name in ("cluster", "kubernetes")}
    for block in shell:
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_the_folders_that_are_listed_are_there():
    (tree,) = (block for block in blocks("docs/architecture.md") if kind_of(block) == "not run")
    names = re.findall(r"^(\w+/|(?:\w+\.py(?:, )?)+)", tree.text, re.MULTILINE)
    for name in (part.strip() for line in names for part in line.split(",")):
        assert (HOME / "src" / "spikeflip" / name).exists(), name


def understood(words: list[str], folder: Path) -> None:
    """Raise what the command would raise of its arguments."""
    rest, file = split_options(words)
    if file is not None:
        (folder / "run.toml").write_text('victim = "victims/digits"\n')
        file = folder / "run.toml"
    take_options(rest, file)
    try:
        app.parse_args(rest, exit_on_error=False, print_error=False)
    finally:
        app.config = ()


@pytest.mark.parametrize("document", [*DOCUMENTS, "results/README.md"])
def test_all_that_is_typed_is_understood(document, tmp_path):
    shell = [b for b in blocks(document) if b.language in ("", "bash") and not b.start.startswith("snn/")]
    typed = [words for block in shell for words in commands(block.text)]
    pieces = [piece for piece in inline(document) if re.match(r"spikeflip \w+ .", piece)]  # not a command's name alone
    typed += [words for piece in pieces for words in commands(piece)]
    for words in typed:
        understood([re.sub(r"\$\w+", "1", word) for word in words], tmp_path)  # variables of a shell's script


def test_options_and_commands_in_the_text_exist():
    known, missing = set(OF_OTHERS), []
    for one in EVERY_ATTACK:
        take_options(["attack", "--attack", one], None)
        for argument in app["attack"].assemble_argument_collection():
            known.update(argument.names)
    names = {name for name in app if not name.startswith("-")}
    for name in names:
        for argument in app[name].assemble_argument_collection():
            known.update(argument.names)
    for document in DOCUMENTS:
        for piece in inline(document):
            options = re.findall(r"(?<![\w-])--[a-z][a-z-]*", piece)
            found = re.findall(r"^spikeflip ([a-z]\S*)", piece)
            missing += [(document, word) for word in options if word not in known]
            missing += [(document, word) for word in found if word not in names]
    assert missing == []


def test_a_wrong_line_is_found_out(tmp_path):
    for line in ("attack --victim v --out r --dat mnist", "train --out v --updates many", "attack -c run.toml"):
        with pytest.raises(Exception, match=r"(?i)unknown option|valid integer|requires an argument"):
            understood(line.split(), tmp_path)
    odd = Block("README.md", "", "make install\n")
    assert kind_of(odd) is None
    assert kind_of(Block("README.md", "yaml", "a: 1\n")) is None
    typed = "spikeflip train --out v \\\n  --seed 1  # again\nsrun x -- \\\n  spikeflip runs && spikeflip list data\n"
    assert list(commands(typed)) == [["train", "--out", "v", "--seed", "1"], ["runs"], ["list", "data"]]
