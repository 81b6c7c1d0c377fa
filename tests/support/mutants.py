"""Small mistakes for ``mutate.py`` to put into a file: one place of it is another, or left out."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PAIRS = [(ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)]
_PAIRS += [(ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr), (ast.And, ast.Or)]
_OTHER = {a: b for one, other in _PAIRS for a, b in ((one, other), (other, one))}
_OTHER |= {ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_NOT_CODE = ("annotation", "returns", "ctx")


class Mutant:
    """One change of one file: where it is, and the function around it, None for what runs when the file is imported."""

    def __init__(self, path: Path, span: tuple[int, int], at: Any, function: Any, what: str) -> None:
        self.path, self.span = path, span
        self.function = function and (function.name, min(one.lineno for one in (function, *function.decorator_list)))
        self.name = f"{path.parent.name}/{path.name}:{at.lineno}:{at.col_offset} {what}"


def mutants(path: Path) -> Iterator[tuple[Mutant, ast.Module]]:
    """Each mutant of a file with its tree, which is changed back before the next one."""
    tree = ast.parse(path.read_text())
    for mutant in _below(tree, path, (0, 0), None):
        yield mutant, tree


def _below(node: ast.AST, path: Path, span: tuple[int, int], function: ast.AST | None) -> Iterator[Mutant]:
    for field, value in ast.iter_fields(node):
        several = isinstance(value, list)
        slots: list[Any] = [(value, at) for at in range(len(value))] if several else [(vars(node), field)]
        inside = node if field == "body" and isinstance(node, ast.FunctionDef) and function is None else function
        for place, key in slots if field not in _NOT_CODE else ():
            old = place[key]
            if not isinstance(old, ast.AST) or _left_alone(old):
                continue
            at = _span(old) if isinstance(old, ast.stmt) else span
            where = old if hasattr(old, "lineno") else node
            for new in _variants(old):
                text = f"{_text(old)} → {_text(new) if new else '(left out)'}"
                with _in_place(place, key, new and ast.fix_missing_locations(ast.copy_location(new, where))):
                    yield Mutant(path, at, where, inside, text)
            yield from _below(old, path, at, inside)


@contextmanager
def _in_place(place: Any, key: Any, new: ast.AST | None) -> Iterator[None]:
    old = place.pop(key)
    if new is None:
        yield
    elif isinstance(place, list):
        place.insert(key, new)
        yield
        place.pop(key)
    else:
        place[key] = new
        yield
    place.insert(key, old) if isinstance(place, list) else place.update({key: old})


def _variants(node: ast.AST) -> list[ast.AST | None]:
    """What may stand in the place of a node; None leaves it out."""
    match node:
        case ast.Constant():
            return [ast.Constant(other) for other in _other_values(node.value)]
        case ast.FormattedValue(format_spec=ast.JoinedStr()):
            return [ast.FormattedValue(node.value, node.conversion, None)]
        case ast.UnaryOp():
            return [node.operand]
        case ast.Name(id=name) if name in _NAMES:
            return [ast.Name(_NAMES[name], ast.Load())]
        case ast.Expr(value=ast.Call()):
            return [ast.Pass()]
        case ast.keyword(arg=str(), value=value) if not isinstance(value, ast.Constant) or value.value is None:
            return [None]
        case ast.If() | ast.IfExp() | ast.While() if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            return [type(node)(**{**vars(node), "test": ast.UnaryOp(ast.Not(), node.test)})]
    return [_OTHER[type(node)]()] if type(node) in _OTHER else []


def _other_values(value: object) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    return ["XX"] if isinstance(value, str) and value != "XX" else []


def _left_alone(node: ast.AST) -> bool:
    """Imports, docstrings, names of exported things, and what is for type checkers."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def _span(node: ast.stmt) -> tuple[int, int]:
    """First and last line of a statement; of one with a body, of its head."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    last = getattr(body[0], "lineno", node.lineno + 1) - 1 if body else node.end_lineno
    return node.lineno, max(node.lineno, last)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.FormattedValue):
        return ast.unparse(ast.JoinedStr([node]))
    return ast.unparse(node) or type(node).__name__
