"""The tutorials are run while the documents are built: what does that, and each of them as it is built."""

import re

import executed
import pytest
from documents import HOME

TUTORIALS = {
    "first-attack": (),
    "my-model": ("spikingjelly", "snntorch"),
    "recordings": (),
    "sweep": (),
    "defence": (),
}
"""Each tutorial, and what it needs beside the package."""


def test_every_tutorial_is_known_and_in_the_menu():
    folder = HOME / "docs" / "tutorials"
    assert {path.stem for path in folder.glob("*.md")} == set(TUTORIALS)
    menu = re.findall(r"^tutorials/(\S+)$", (HOME / "docs" / "index.md").read_text(), re.MULTILINE)
    assert menu == list(TUTORIALS)


@pytest.mark.docs
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorial(name, tmp_path, undrawn):
    for module in TUTORIALS[name]:
        pytest.importorskip(module, reason=f"the tutorial attacks a model of {module}")
    text = (HOME / "docs" / "tutorials" / f"{name}.md").read_text()
    made = executed.execute(text, f"tutorials/{name}", tmp_path / "made")
    assert len(re.findall("^:class: output$", made, re.MULTILINE)) >= 2
    shown = re.findall(r'href="\.\./made/(\S+)"', made)
    assert shown or "data:image/svg+xml" in made
    assert all((tmp_path / "made" / page).stat().st_size > 5000 for page in shown)


def page(text, tmp_path):
    return executed.execute(text, "tutorials/a", tmp_path / "made")


def test_blocks_share_names_and_show_what_they_print_and_their_last_value(tmp_path):
    made = page('# A\n\n```python\nx = 2\nprint("one")\n```\n\n```python\nx + 1\n```\n', tmp_path)
    assert re.findall(r":class: output\n\n(.*)\n```", made) == ["one", "3"]
    assert made.startswith("# A\n\n```python\nx = 2\n")


def test_files_are_written_and_commands_run_in_a_folder_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "```python\n# own.py\nx = 7\n```\n\n```python\nimport own\nown.x\n```\n\n```\nspikeflip list data\n```\n"
    made = page(text, tmp_path)
    assert ":class: output\n\n7\n" in made
    assert "digits" in made.partition("spikeflip list data")[2]
    assert list(tmp_path.iterdir()) == []


def test_figures_and_tables_are_put_in(tmp_path):
    text = '```python\nimport matplotlib.pyplot as plt\nplt.figure(label="two \\"dots\\"")\nNone\n```\n'
    made = page(text, tmp_path)
    assert 'alt="two &quot;dots&quot;"' in made
    table = "```python\nclass T:\n    def _repr_html_(self):\n        return '<table></table>'\n\nT()\n```\n"
    assert '<div class="output"><table></table></div>' in page(table, tmp_path)


def test_pages_that_the_code_wrote_are_copied_and_linked(tmp_path):
    text = '```python\nopen("r.html", "w").write("hello")\nNone\n```\n\n<!-- show: r.html | Look <here> -->\n'
    made = page(text, tmp_path)
    assert '<a href="../made/a-r.html">Look &lt;here&gt;</a>' in made
    assert (tmp_path / "made" / "a-r.html").read_text() == "hello"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("# A\n\n```python\n1 / 0\n```\n", 3, "ZeroDivisionError"),
        ("```\nspikeflip attack --victim nowhere --out r\n```\n", 1, "no victim at nowhere"),
        ("a\n```\nmake install\n```\n", 2, "no command of spikeflip"),
        ("<!-- show: missing.svg | A -->\n", 1, "missing.svg"),
    ],
)
def test_a_block_that_fails_ends_the_build_and_is_named(tmp_path, text, line, reason):
    with pytest.raises(executed.NotRunError, match=rf"(?s)tutorials/a, line {line}: .*{reason}"):
        page(text, tmp_path)
