"""The habits of the code base, kept by tests: who imports whom, sizes, and that failures cannot hide."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "otjd"

CALENDAR_AND_ENDPOINT_SIDES = {"otjd.meetings", "otjd.rules", "otjd.protocol", "otjd.operate.board", "otjd.seam",
                               "otjd.poller"}
ALLOWED = {
    "otjd.meetings": set(),
    "otjd.rules": {"otjd.meetings"},
    "otjd.protocol": {"otjd.meetings"},
    "otjd.operate": {"otjd.meetings", "otjd.seam", "otjd.poller", "otjd.channels", "otjd.__init__"},
    "otjd.outbound": {"otjd.seam", "otjd.poller"},
    "otjd.gather": CALENDAR_AND_ENDPOINT_SIDES | {"otjd.outbound"},
    "otjd.serve": CALENDAR_AND_ENDPOINT_SIDES | {"otjd.channels"},
    "otjd.push": CALENDAR_AND_ENDPOINT_SIDES | {"otjd.outbound"},
    "otjd.simulate": {"otjd.meetings", "otjd.protocol", "otjd.seam", "otjd.poller"},
    "otjd.config": {"otjd.meetings"},
    "otjd.seam": set(),
    "otjd.channels": set(),
    "otjd.poller": {"otjd.seam"},
    "otjd.descriptors": set(),
    "otjd.steady": set(),
    "otjd.__init__": set(),
}
PURE = ("otjd.meetings", "otjd.rules", "otjd.protocol", "otjd.push.converge", "otjd.gather.gate",
        "otjd.gather.pace", "otjd.gather.planner", "otjd.gather.questions")
IMPURE_MODULES = {"twisted", "treq", "socket", "ssl", "time", "random", "secrets", "os", "pathlib", "sqlite3",
                  "threading", "subprocess", "requests"}
STANDARD_LIBRARY_ONLY = "otjd.meetings"
COMPOSITION = ("otjd.service", "otjd.node", "otjd.wiring", "otjd.listeners", "otjd.cli", "otjd.demo",
               "otjd.rules_test", "otjd.rules_explained", "otjd.rules_import", "otjd.sign_in", "otjd.authorize",
               "otjd.sources", "otjd.gathering", "otjd.live")
LINES_A_MODULE = 420
LINES_A_FUNCTION = 64


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


def imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Every imported module of a module, as dotted names; names that are modules are resolved as such."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports hide who imports whom"
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES or f"{submodule}.__init__" in MODULES else node.module


def module_of(imported: str) -> str:
    return f"{imported}.__init__" if f"{imported}.__init__" in MODULES else imported


def within(name: str, rooms: Iterator[str] | set[str] | tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("name", [n for n in MODULES if not within(n, COMPOSITION)])
def test_a_module_imports_only_what_its_room_may(name: str) -> None:
    room = next(r for r in ALLOWED if within(name, (r,)))
    strangers = {i for i in map(module_of, imports(name, MODULES[name])) if i.startswith("otjd")
                 and not within(i, {room, *ALLOWED[room]})}
    assert not strangers


@pytest.mark.parametrize("name", [n for n in MODULES if within(n, PURE)])
def test_pure_rooms_import_nothing_that_touches_the_world(name: str) -> None:
    assert not {i for i in imports(name, MODULES[name]) if i.split(".")[0] in IMPURE_MODULES}


@pytest.mark.parametrize("name", [n for n in MODULES if within(n, (STANDARD_LIBRARY_ONLY,))])
def test_meetings_uses_the_standard_library_only(name: str) -> None:
    import sys
    assert all(i.split(".")[0] in sys.stdlib_module_names or i.startswith("otjd.meetings")
               for i in imports(name, MODULES[name]))


def test_spyne_is_known_to_one_service_and_its_help_only() -> None:
    knowing = {name for name, tree in MODULES.items() for i in imports(name, tree) if i.split(".")[0] == "spyne"}
    assert knowing == {"otjd.protocol.autodiscover_soap", "otjd.protocol.spyne_compatibility"}


def test_only_the_composition_root_imports_the_reactor() -> None:
    guilty = {name for name, tree in MODULES.items()
              for i in ast.walk(tree)
              if isinstance(i, ast.ImportFrom) and i.module == "twisted.internet"
              and any(a.name == "reactor" for a in i.names)}
    assert guilty <= {"otjd.service"}


def test_there_is_no_import_cycle() -> None:
    graph = {name: {m for m in map(module_of, imports(name, tree)) if m in MODULES and m != name}
             for name, tree in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for imported in sorted(graph[name]):
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_functions_stay_short(name: str) -> None:
    path = ROOT / Path(*name.split(".")).with_suffix(".py")
    assert len(path.read_text().splitlines()) <= LINES_A_MODULE
    long = [f"{node.name} at line {node.lineno}" for node in ast.walk(MODULES[name])
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or 0) - node.lineno + 1 > LINES_A_FUNCTION]
    assert not long


HIDDEN_FAILURES = """
import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

def test_unhandled_errback():
    fail(ValueError("nobody looked"))

def test_logged_failure():
    try:
        raise KeyError("swallowed")
    except KeyError:
        Logger().failure("went on regardless")

def test_logged_error():
    Logger().error("that was wrong")

def test_expected_failure_may_be_flushed(logged_failures):
    fail(ValueError("seen"))
    assert len(logged_failures.flush(ValueError)) == 1

async def test_coroutines_are_awaited_and_their_assertions_count():
    done = Deferred()
    done.callback(1)
    assert await done == 2
"""


def test_a_logged_failure_or_unhandled_errback_fails_a_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makepyfile(HIDDEN_FAILURES)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed") == 4  # the three tests pass and then fail at teardown; one flushes
    assert outcomes.get("errors") == 3
    assert outcomes.get("failed") == 1
