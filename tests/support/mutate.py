"""Which small mistakes does no test notice? ``python tests/support/mutate.py FILE...`` puts them in, one at a time.

The tests that pass through the line of a mutant run on it, the quick ones first, until one fails. Tools that copy the
package meet the unmutated one here, as an editable install has a finder of its own. So this one collects the tests once
and forks: in the child, a function gets its mutated code, or a module its mutated constants and defaults.
``tests/MUTANTS.md`` has what was found.
"""

import argparse
import gc
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from enum import EnumType
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mutants import Mutant, mutants

HOME = Path(__file__).parents[2]
TESTS = ["attacks", "judging", "report/test_tables.py", "report/test_notices.py", "runs/test_merge.py"]
TESTS += ["runs/test_notices.py", "runs/test_plan.py", "snn/test_coding.py", "snn/test_probe.py"]
TESTS += [f"test_{name}.py" for name in ("cli_tables", "cli_terminal")]
TESTS += [f"test_terminal_{name}.py" for name in ("narrow", "notices", "training")]
ENOUGH, TOO_LONG, ASLEEP = 3, 40, 900
"""Seconds: of the processor, after which a mutant survives the tests and after which it hangs; of waiting for it."""
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:warnings", "-o", "timeout=0", f"--rootdir={HOME}"]


class Coverage:
    """Notes which tests pass through which lines of the files, and how long they take.

    What a shared fixture passes through counts for every test that uses it.
    """

    def __init__(self, files: set[str]) -> None:
        self._files, self._now = files, ""
        self._lines: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._seconds: dict[str, float] = defaultdict(float)
        self._failed: set[str] = set()

    def trace(self, frame: types.FrameType, _event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        self._lines[self._now].add((frame.f_code.co_filename, frame.f_lineno))
        return self.trace

    def _within(self, name: str) -> Iterator[None]:
        before, start, self._now = self._now, time.perf_counter(), name
        yield
        took, self._now = time.perf_counter() - start, before
        self._seconds[name] += took
        self._seconds[before] -= took

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        yield from self._within(self._now if fixturedef.scope == "function" else _name(fixturedef))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        yield from self._within(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)

    def found(self, items: list[pytest.Item]) -> dict[str, Any]:
        """Of each test its seconds, with its fixtures, and its lines."""
        tests = {}
        for item in items:
            fixtures = [one for same in item._fixtureinfo.name2fixturedefs.values() for one in same]
            parts = {item.nodeid, *map(_name, fixtures)}
            lines = set().union(*(self._lines[part] for part in parts if part in self._lines))
            seconds = sum(self._seconds[part] for part in parts if part in self._seconds)
            if item.nodeid not in self._failed:
                tests[item.nodeid] = {"seconds": seconds, "lines": sorted(lines)}
        return {"tests": tests, "failed": sorted(self._failed)}


def _name(fixturedef: Any) -> str:
    return f"{fixturedef.baseid}::{fixturedef.argname}"


def covering(known: dict[str, Any], path: Path | None = None, first: int = 0, last: int = 1 << 30) -> list[str]:
    """The tests that pass through lines of a file, the quickest first; all tests without one."""
    found = [
        (test["seconds"], name)
        for name, test in known["tests"].items()
        if path is None or any(file == str(path) and first <= line <= last for file, line in test["lines"])
    ]
    return [name for _, name in sorted(found)]


def in_child(work: Callable[[], str], limit: float | None = None) -> str:
    """What ``work`` returns in a forked process, with folders of its own; "hangs" where it takes too long."""
    read, write = os.pipe()
    scratch = tempfile.mkdtemp(prefix="mutant-")
    child = os.fork()
    if not child:
        answer = "dies"
        try:
            if limit:
                os.setsid()
                resource.setrlimit(resource.RLIMIT_CPU, (TOO_LONG, TOO_LONG))
            tempfile.tempdir = os.environ["TMPDIR"] = scratch
            answer = work()
        finally:
            os.write(write, answer.encode())
            os._exit(0)
    os.close(write)
    answer = os.read(read, 1 << 12).decode() if select.select([read], [], [], limit)[0] else ""
    os.close(read)
    if limit:  # whatever the tests started goes too
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    shutil.rmtree(scratch, ignore_errors=True)
    return answer or "hangs"


def first_failure(session: pytest.Session, tests: list[pytest.Item]) -> str:
    """Run tests until one fails; what became of the mutant."""
    session.config._tmp_path_factory._basetemp = Path(tempfile.mkdtemp()).resolve()
    start = time.process_time()
    for test, after in zip(tests, [*tests[1:], None], strict=True):
        test.config.hook.pytest_runtest_protocol(item=test, nextitem=after)
        if session.testsfailed:
            return f"killed by {test.nodeid}"
        if time.process_time() - start > ENOUGH:
            return f"survives {ENOUGH} s"
    return "survives"


class Judges:
    """With the tests collected, forks for each mutant."""

    def __init__(self, chosen: list[tuple[Mutant, types.CodeType]], known: Path, save: Callable[..., None]) -> None:
        self._chosen, self._known, self._save = chosen, known, save

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        plugins = session.config.pluginmanager
        plugins.unregister(plugins.get_plugin("terminalreporter"))
        if not self._known.exists():
            in_child(partial(self._cover, session))
        known, items = json.loads(self._known.read_text()), {item.nodeid: item for item in session.items}
        functions = {path: _functions(path) for path in {mutant.path for mutant, _ in self._chosen}}
        gc.freeze()
        for mutant, code in self._chosen:
            names = covering(known, mutant.path, *(mutant.span if mutant.function else ())) or covering(known)
            tests = [items[name] for name in names if name in items]
            if mutant.function:
                change = partial(_inside, functions[mutant.path][mutant.function], code)
            else:
                change = partial(_outside, mutant.path, functions[mutant.path], code)
            self._save(mutant, in_child(partial(_mutated, session, change, tests), ASLEEP), tests)
        return True

    def _cover(self, session: pytest.Session) -> str:
        coverage = Coverage({str(mutant.path) for mutant, _ in self._chosen})
        session.config.pluginmanager.register(coverage)
        sys.settrace(coverage.trace)
        session.config._tmp_path_factory._basetemp = Path(tempfile.mkdtemp()).resolve()
        for item, after in zip(session.items, [*session.items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        self._known.write_text(json.dumps(coverage.found(session.items)))
        return "done"


def _functions(path: Path) -> dict[tuple[str, int], list[types.FunctionType]]:
    """All that a file has, by name and first line; of a decorated one the function itself."""
    found = defaultdict(list)
    for one in gc.get_objects():
        if type(one) is types.FunctionType and one.__code__.co_filename == str(path):
            found[one.__code__.co_name, one.__code__.co_firstlineno].append(one)
    return found


def _mutated(session: pytest.Session, change: Callable[[], bool | None], tests: list[pytest.Item]) -> str:
    changed = change()
    if not changed:
        return "killed by its import" if changed is None else "is not judged"
    session._setupstate.teardown_exact(tests[0])
    return first_failure(session, tests)


def _inside(functions: Any, code: types.CodeType) -> bool:
    """Give a function its mutated code."""
    now = functions[0].__code__
    inside = next(one for one in _codes(code) if (one.co_name, one.co_firstlineno) == (now.co_name, now.co_firstlineno))
    for function in functions:
        function.__code__ = inside
    return True


def _outside(path: Path, functions: Any, code: types.CodeType) -> bool | None:
    """Run a mutated file beside its module, and give the module the constants and defaults that differ; if any do."""
    module = next(one for one in list(sys.modules.values()) if getattr(one, "__file__", None) == str(path))
    new = {"__name__": module.__name__, "__file__": str(path), "__package__": module.__package__}
    try:
        exec(code, new)
    except Exception:
        return None
    differ = []
    for key, others in _functions(path).items():
        for function in functions.get(key, ()):
            other = next(one for one in others if one not in functions[key])
            differ.append(_defaults(function, other))
    for name, value in new.items():
        old = vars(module).get(name)
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and not isinstance(value, EnumType):
            differ += [_defaults(old.__init__, value.__init__)] if "__init__" in vars(value) else []
            for attribute, its in vars(value).items():
                if attribute[:2] != "__" and _plain(its) and repr(its) != repr(vars(old)[attribute]):
                    setattr(old, attribute, its)
                    differ.append(True)
        elif old is not None and name[:2] != "__" and not callable(value) and repr(value) != repr(old):
            for one in [one for one in list(sys.modules.values()) if getattr(one, "__dict__", {}).get(name) is old]:
                setattr(one, name, value)
            differ.append(True)
    return any(differ)


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float | tuple | dict | frozenset | set | list)


def _defaults(old: Any, new: Any) -> bool:
    if repr((old.__defaults__, old.__kwdefaults__)) == repr((new.__defaults__, new.__kwdefaults__)):
        return False
    old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
    return True


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)


def main() -> None:
    """Judge the mutants of some files, or a part of them; what the file of results already has is not judged again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, default=Path("mutants.jsonl"), help="a line of JSON for each mutant")
    parser.add_argument("--known", type=Path, default=Path("coverage.json"), help="which test runs which lines")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants of each file, in a random fixed order")
    parser.add_argument("--survivors", action="store_true", help="judge those again that survived")
    args = parser.parse_args()
    results, known = args.results.resolve(), args.known.resolve()
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {
        row["mutant"]: row["answer"].startswith("survives") and args.survivors
        for row in rows
        if row["answer"] != "dies"
    }
    chosen = []
    for path in args.files:
        every = [(mutant, compile(tree, str(mutant.path), "exec")) for mutant, tree in mutants(path.resolve())]
        random.Random(0).shuffle(every)
        some = every[: round(args.share * len(every))]
        chosen += [one for one in some if done.get(one[0].name, not args.survivors)]
    random.Random(0).shuffle(chosen)

    def save(mutant: Mutant, answer: str, tests: list[Any]) -> None:
        with results.open("a") as file:
            file.write(json.dumps({"mutant": mutant.name, "answer": answer, "tests": len(tests)}) + "\n")

    os.chdir(HOME)
    tests = [f"tests/{name}" for name in TESTS]
    in_child(lambda: str(pytest.main([*OPTIONS, *tests], plugins=[Judges(chosen, known, save)])))


if __name__ == "__main__":
    main()
