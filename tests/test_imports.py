"""Job: who may import what, as one table; and what nobody may call. Walks the sources with `ast`, imports none of them.

Thread: the test's. Lock: none. Units: none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = (
    "main", "mqtt_handler", "message_processor", "gun", "demand_processor", "power_module_controller",
    "contactor_controller", "config_manager", "logger_config", "deploy",
)  # fmt: skip
BESIDE = ("station", "status_file", "home_link", "kept_files", "wires", "worker", "service")  # at the root too
PACKAGES = ("planning", "protocols", "simulator", "monitoring", "commissioning", "updates")
OURS = {*ROOMS, *BESIDE, *PACKAGES, "tests", "bench"}
#: libraries that mean a wire, a socket or a thread
WIRES = {"can", "paho", "amqtt", "RPi", "git", "socket", "threading", "asyncio", "selectors", "multiprocessing"}

#: Files at the root: what of ours, and which wires, each may import (and nothing else of ours).
ROOM_IMPORTS: dict[str, set[str]] = {
    "mqtt_handler": {"planning", "worker", "paho", "socket", "threading"},
    "message_processor": {"planning", "worker", "gun"},
    "gun": {"planning", "threading"},
    "demand_processor": {"planning", "worker", "gun", "threading"},
    "power_module_controller": {"planning", "protocols", "worker", "can", "socket", "threading"},
    "contactor_controller": {"planning", "threading"},
    "config_manager": {"planning"},
    "logger_config": {"planning", "threading"},
    "deploy": {"updates", "threading"},
    "station": {
        "planning", "protocols", "mqtt_handler", "message_processor", "gun", "demand_processor", "logger_config",
        "power_module_controller", "contactor_controller", "home_link", "worker", "can", "threading",
    },
    "status_file": {"planning", "updates", "worker", "station", "kept_files"},
    "home_link": {"planning", "worker", "kept_files", "threading"},
    "kept_files": set(),
    "wires": {"planning", "worker", "power_module_controller", "logger_config", "simulator", "can"},
    "worker": {"threading"},
    "service": {"socket"},
}
#: main.py starts the station and watches over it; what looks on and what is done once on site only inside functions.
MAIN_AT_THE_TOP = {
    "planning", "protocols", "updates", "config_manager", "logger_config", "contactor_controller", "station",
    "status_file", "kept_files", "wires", "worker", "service", "threading",
}  # fmt: skip
MAIN_INSIDE_FUNCTIONS = {"monitoring", "commissioning"}
#: Packages: what of ours each may import. Wires only where named.
PACKAGE_IMPORTS: dict[str, set[str]] = {
    "planning": {"planning"},
    "protocols": {"protocols"},
    "simulator": {"simulator", "planning", *WIRES - {"RPi", "git"}},
    "commissioning": {"commissioning", "planning", "protocols", "worker", "gun", "can", "threading"},
    "monitoring": {"monitoring", "planning", "worker", *WIRES - {"RPi", "git", "can"}},
    # it has to work when the station does not
    "updates": {"updates", "git", "threading"},
}
#: Files that need more than their package: they build the station or its rooms, look at it, or read its config.
FILE_EXTRAS: dict[str, set[str]] = {
    "simulator/virtual.py": {
        "station", "demand_processor", "contactor_controller", "power_module_controller", "config_manager",
    },
    "simulator/readings.py": {"contactor_controller"},
    "commissioning/check.py": {"wires", "service"},
    "commissioning/commands.py": {
        "station", "wires", "service", "mqtt_handler", "message_processor", "power_module_controller",
        "contactor_controller", "updates",
    },
    "simulator/replay.py": {"config_manager", "worker"},
    "simulator/desk.py": {"worker"},
    "monitoring/export.py": {"config_manager"},
    "monitoring/attach.py": {"station", "logger_config"},
}  # fmt: skip
#: The stand-in package has the name of the GPIO library.
NOT_OURS = "simulator/standin/"
#: Who may start a thread of its own; everybody else has a Worker. paho's loop cannot be stopped from its own thread.
MAY_START_THREADS = ("worker.py", "logger_config.py", "mqtt_handler.py", "simulator/")
#: Stamps on messages, stamps in the log, the hours at which an update may come.
WALL_CLOCK = {
    "worker.py": {"time.time"}, "logger_config.py": {"datetime.now"},
    "deploy.py": {"datetime.now"}, "launcher.py": {"datetime.now"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Import:
    top: str
    line: int
    inside_function: bool
    for_types_alone: bool


def _imports(tree: ast.Module) -> Iterator[Import]:
    yield from _walk(tree, False, False)


def _walk(node: ast.AST, inside: bool, types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(each.name.split(".")[0], child.lineno, inside, types) for each in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute"
            yield Import((child.module or "").split(".")[0], child.lineno, inside, types)
        deeper = inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        yield from _walk(child, deeper, types or guarded)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _sources(*places: str) -> list[Path]:
    paths = [path for place in places for path in sorted(ROOT.glob(place))]
    return [path for path in paths if not _name(path).startswith(NOT_OURS)]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _judged(found: Import) -> bool:
    return found.top in OURS or found.top in WIRES


PRODUCT = _sources("*.py", *(f"{package}/**/*.py" for package in PACKAGES))
PACKAGED = [path for path in PRODUCT if path.parent != ROOT]


@pytest.mark.parametrize("room", ROOM_IMPORTS)
def test_a_room_imports_what_the_table_says(room: str) -> None:
    path = ROOT / f"{room}.py"
    if not path.exists():
        pytest.skip(f"accepted: {room}.py is not written yet")
    wrong = {i.top: i.line for i in _imports(_tree(path)) if _judged(i) and i.top not in ROOM_IMPORTS[room]}
    assert not wrong, f"{room}.py may not import {wrong}"


def test_every_root_file_stands_in_the_table() -> None:
    assert {path.stem for path in PRODUCT if path.parent == ROOT} <= {"main", *ROOM_IMPORTS}


def test_main_imports_what_looks_on_inside_functions_alone() -> None:
    found = [i for i in _imports(_tree(ROOT / "main.py")) if _judged(i) and not i.for_types_alone]
    assert {i.top for i in found if not i.inside_function} <= MAIN_AT_THE_TOP
    assert {i.top for i in found if i.inside_function} <= MAIN_AT_THE_TOP | MAIN_INSIDE_FUNCTIONS


def test_every_room_is_built_by_the_station_or_by_main() -> None:
    built = {i.top for name in ("main.py", "station.py") for i in _imports(_tree(ROOT / name)) if not i.for_types_alone}
    assert built >= set(ROOMS) - {"main", "deploy"}


@pytest.mark.parametrize("path", PACKAGED, ids=_name)
def test_a_package_imports_what_the_table_says(path: Path) -> None:
    name = _name(path)
    allowed = PACKAGE_IMPORTS[name.split("/")[0]] | FILE_EXTRAS.get(name, set())
    wrong = {i.top: i.line for i in _imports(_tree(path)) if _judged(i) and i.top not in allowed}
    assert not wrong, f"{name} may not import {wrong}"


def test_the_gpio_library_is_named_once() -> None:
    """Only wires.py names it, as a text for importlib: everybody else is handed the module."""
    named = [
        _name(path)
        for path in PRODUCT
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Constant) and node.value == "RPi.GPIO"
    ]
    assert named == ["wires.py"]


def test_the_simulator_is_loaded_on_a_desk_alone() -> None:
    found = [i for i in _imports(_tree(ROOT / "wires.py")) if i.top == "simulator" and not i.for_types_alone]
    assert found and all(i.inside_function for i in found)


# --- what nobody may call ---------------------------------------------------------------------------------------------


def _calls(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_nobody_sleeps_or_reads_the_wall_clock(path: Path) -> None:
    banned = {"time.time", "time.sleep", "time.localtime", "datetime.now", "datetime.datetime.now"}
    found = {name: line for name, line in _calls(path) if name in banned - WALL_CLOCK.get(path.name, set())}
    assert not found, f"{_name(path)}: {found}"
    names = {each.name for node in ast.walk(_tree(path)) if isinstance(node, ast.ImportFrom) and node.module == "time"
             for each in node.names}  # fmt: skip
    assert not names & {"time", "sleep"}, "from time import ... hides it"


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_threads_are_workers(path: Path) -> None:
    if _name(path).startswith(MAY_START_THREADS):
        return
    starts = {"threading.Thread", "Thread", "threading.Timer", "_thread.start_new_thread"}
    found = {name: line for name, line in _calls(path) if name in starts}
    assert not found, f"{_name(path)} starts a thread of its own: {found}"


@pytest.mark.parametrize("path", _sources("planning/**/*.py"), ids=_name)
def test_planning_has_no_clock(path: Path) -> None:
    clocks = {i.top: i.line for i in _imports(_tree(path)) if i.top in {"time", "datetime", "os", "random"}}
    assert not clocks, f"{_name(path)} imports {clocks}: time is an argument"


def test_the_walk_sees_what_it_should() -> None:
    source = "import can.bus\ndef f():\n    from simulator import desk\nif TYPE_CHECKING:\n    import main\n"
    assert [(i.top, i.inside_function, i.for_types_alone) for i in _imports(ast.parse(source))] == [
        ("can", False, False),
        ("simulator", True, False),
        ("main", False, True),
    ]
