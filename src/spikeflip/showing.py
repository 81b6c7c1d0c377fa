"""Results as small tables, for a prompt and a notebook: what they say, not the tensors that they hold."""

from collections.abc import Mapping, Sequence
from html import escape


def as_text(title: str, rows: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """A title, a line for each row, and notes below.

    >>> print(as_text("Judgement of 2 inputs", {"clean accuracy": "50.0 %", "ties": "0.0 %"}, ["it is small"]))
    Judgement of 2 inputs
      clean accuracy  50.0 %
      ties            0.0 %
      note: it is small
    """
    wide = max(map(len, rows), default=0)
    lines = [f"  {name:<{wide}}  {value}" for name, value in rows.items()]
    return "\n".join([title, *lines, *(f"  note: {note}" for note in notes)])


def as_html(title: str, rows: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """The same as a table of HTML, in which all text is escaped.

    >>> as_html("<T>", {"n": "2"}, ["small"])
    '<table><caption>&lt;T&gt;</caption><tr><th>n</th><td>2</td></tr></table><p>note: small</p>'
    """
    lines = [f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items()]
    below = [f"<p>note: {escape(note)}</p>" for note in notes]
    return f"<table><caption>{escape(title)}</caption>{''.join(lines)}</table>{''.join(below)}"


def grid_as_html(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of HTML with headings; all text is escaped.

    >>> grid_as_html("T", ["a"], [["<"]])
    '<table><caption>T</caption><tr><th>a</th></tr><tr><td>&lt;</td></tr></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><caption>{escape(title)}</caption><tr>{head}</tr>{body}</table>"


class Shown:
    """Gives a result its ``repr`` and its table in a notebook, of what :meth:`_shown` says of it."""

    def _shown(self) -> tuple[str, Mapping[str, str], Sequence[str]]:
        """The title, the rows and the notes."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(*self._shown())

    def _repr_html_(self) -> str:
        return as_html(*self._shown())
