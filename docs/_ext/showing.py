"""What the code of a tutorial gave, as Markdown: printed lines, a last value, figures, pictures."""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Iterator


def printed(text: str) -> Iterator[str]:
    """What went to the terminal, if anything did."""
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]  # tables end in blanks
    if any(lines):
        yield "\n".join(["```{code-block} text", ":class: output", "", *lines, "```"])


def value(last: object) -> Iterator[str]:
    """As a notebook shows it: its table where it has one."""
    if drawn := getattr(last, "_repr_html_", None):
        yield f'```{{raw}} html\n<div class="output">{drawn()}</div>\n```'
    elif last is not None:
        yield from printed(repr(last))


def figures() -> Iterator[str]:
    """Figures that pyplot holds; matplotlib is asked for none that no page has used."""
    plt = sys.modules.get("matplotlib.pyplot")
    for number in plt.get_fignums() if plt else ():
        file = io.BytesIO()
        figure = plt.figure(number)
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
        yield picture(file.getvalue(), "image/svg+xml", figure.get_label() or "The figure that the code above draws")
    if plt:
        plt.close("all")


def picture(content: bytes, kind: str, text: str) -> str:
    """A picture inside the page; the text is for those who do not see it."""
    data = base64.b64encode(content).decode()
    return f'```{{raw}} html\n<p class="made"><img src="data:{kind};base64,{data}" alt="{html.escape(text)}"></p>\n```'
