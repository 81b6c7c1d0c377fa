"""What readers get beyond Sphinx's own: formulae as MathML, which loads nothing; what scrolls within reach of keys."""

import re
from typing import Any

from docutils.utils.math.latex2mathml import parse_latex_math
from sphinx.ext.napoleon import GoogleDocstring


def _mathml(source: str, *, inline: bool) -> str:
    from docutils.utils.math import mathml_elements

    tree = mathml_elements.math() if inline else mathml_elements.math(display="block")
    parse_latex_math(tree, source)
    return str(tree.toxml())


def _inline(writer: Any, node: Any) -> None:
    from docutils import nodes

    writer.body.append(_mathml(node.astext(), inline=True))
    raise nodes.SkipNode


def _block(writer: Any, node: Any) -> None:
    from docutils import nodes

    writer.body.append(f'<div class="math" tabindex="0">{_mathml(node.astext(), inline=False)}</div>')
    raise nodes.SkipNode


def _reachable(app: Any, name: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """What scrolls sideways can be scrolled by the arrow keys; captions of the menu are headings of a level."""
    menu = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = menu.replace('role="heading"', 'role="heading" aria-level="2"')
    if "body" in context:
        body = context["body"].replace('<div class="highlight"><pre>', '<div class="highlight"><pre tabindex="0">')
        body = re.sub(r"~(?:[a-z_]+\.)+(?=[A-Z])", "", body)  # Sphinx leaves these in types inside of types
        context["body"] = re.sub(r'<div class="(table-wrapper[^"]*|output)"', r'<div tabindex="0" class="\1"', body)


def _returns(self: Any, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
    """A Returns section is a description: napoleon takes what stands before a colon for the type, annotated here."""
    return [("", "", self._dedent(self._consume_to_next_section()))]


def setup(app: Any) -> dict[str, bool]:
    """Add the renderer of formulae and the hook; read docstrings as they are written here."""
    GoogleDocstring._consume_returns_section = _returns
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.connect("html-page-context", _reachable, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
