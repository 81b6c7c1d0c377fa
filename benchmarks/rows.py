"""How a benchmark is started and what it prints: rows as JSON, or a sentence each. Without PyTorch, see memory.py."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence


def parser_of(documentation: str | None) -> argparse.ArgumentParser:
    """A parser that shows a script's documentation, with ``--json``."""
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    return parser


def with_device(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The same parser with ``--device``."""
    parser.add_argument("--device", default="cpu", help="where the networks are: cpu, cuda or cuda:N")
    return parser


def print_rows(rows: Sequence[Mapping[str, object]], as_json: bool, sentence: Callable[[Mapping], str]) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(sentence(row))
