"""Runs the code of the tutorials while the documents are built, and shows what it prints and draws.

A page stays plain Markdown. Its blocks are run in order in one process and one empty folder: ``python`` blocks share
their names, blocks of ``spikeflip`` lines are commands, a block that begins with ``# name.toml`` or ``# name.py`` is
written to that file. What a block prints, its last value and its open figures come below it. ``<!-- show: FILE | TEXT
-->`` shows a picture, or links a page, that the code has written.
"""

from __future__ import annotations

import ast
import contextlib
import html
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import showing

_PIECE = re.compile(
    r"^```(?P<language>.*)\n(?P<code>(?:.*\n)*?)```$|^<!-- show: (?P<file>\S+) \| (?P<text>.+) -->$", re.MULTILINE
)
_FILE = re.compile(r"# (\S+\.(?:toml|py))\n")
_KINDS = {".svg": "image/svg+xml", ".png": "image/png", ".gif": "image/gif"}
COLUMNS = "88"


class NotRunError(Exception):
    """A block failed; names the page and the line."""


@dataclass
class Page:
    """One page at work: its name, where pages that it links are copied to, and the names its code has defined."""

    name: str
    copies: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def piece(self, found: re.Match[str]) -> str:
        """A block with what it gave below it, or what a file shows."""
        if found["file"]:
            return self._shown(Path(found["file"]), found["text"])
        code, out, error = found["code"], io.StringIO(), io.StringIO()
        if named := _FILE.match(code):
            Path(named[1]).write_text(code)
        if named or found["language"] == "text":
            return found[0]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                value = self._python(code) if found["language"] == "python" else _commands(code)
        except NotRunError as reason:
            raise NotRunError(f"{reason} {error.getvalue()}") from reason
        return "\n\n".join([found[0], *showing.printed(out.getvalue()), *showing.value(value), *showing.figures()])

    def _python(self, code: str) -> object:
        """Run statements; the value of the last one, where it is an expression."""
        tree = ast.parse(code)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, self.name, "exec"), self.names)
        return last and eval(compile(ast.Expression(last.value), self.name, "eval"), self.names)

    def _shown(self, file: Path, text: str) -> str:
        if file.suffix in _KINDS:
            return showing.picture(file.read_bytes(), _KINDS[file.suffix], text)
        name = "-".join((Path(self.name).name, *file.parts))
        self.copies.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, self.copies / name)
        return f'```{{raw}} html\n<p class="made"><a href="../made/{name}">{html.escape(text)}</a></p>\n```'


def _commands(code: str) -> None:
    from spikeflip.cli.app import main

    for line in re.sub(r"\\\n\s*", "", code).splitlines():
        name, *words = shlex.split(line, comments=True) or [""]
        if name != "spikeflip":
            raise NotRunError(f"no command of spikeflip: {line}")
        files = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words]
        try:
            main([part for several in files for part in several])
        except SystemExit as stop:
            if stop.code:
                raise NotRunError(line) from stop


def execute(text: str, name: str, copies: Path) -> str:
    """The page with what its code gives.

    Raises:
        NotRunError: a block failed.
    """
    page, position = Page(name, copies), 0

    def run(found: re.Match[str]) -> str:
        nonlocal position
        position = text.count("\n", 0, found.start()) + 1
        return page.piece(found)

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        before, path = os.environ.get("COLUMNS"), list(sys.path)
        os.environ["COLUMNS"], sys.path[:0] = COLUMNS, [folder]
        try:
            return _PIECE.sub(run, text)
        except (Exception, SystemExit) as error:
            raise NotRunError(f"{name}, line {position}: {type(error).__name__}: {error}") from error
        finally:
            sys.path[:] = path
            os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)


def _read(app: Any, name: str, source: list[str]) -> None:
    if app.config.run_tutorials and name.startswith("tutorials/"):
        source[0] = execute(source[0], name, Path(app.outdir) / "made")


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx hand over pages as they are read; ``-D run_tutorials=0`` builds without running them."""
    app.add_config_value("run_tutorials", default=True, rebuild="env", types=[bool])
    app.connect("source-read", _read)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
