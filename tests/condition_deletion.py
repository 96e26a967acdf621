"""Job: take the source of a file, leave out one condition at a time, and give each mutilated version a name.

Thread: the test's. Lock: none. Units: none. A condition is an `if ...: return`, one side of an `and`, an `or` or a `|`,
or one end of a chained comparison.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Deletion:
    """One condition that is left out of a file."""

    name: str
    path: Path
    functions: tuple[str, ...]  # where conditions are counted
    number: int  # which of them is left out

    def load(self) -> ModuleType:
        """The file as a module of its own, without the condition."""
        tree = ast.parse(self.path.read_text(encoding="utf-8"))
        _leave_out(list(_places(tree, self.functions))[self.number][0])
        module = ModuleType(f"without_{self.path.stem}")
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module  # dataclasses look their own module up
        exec(compile(ast.fix_missing_locations(tree), str(self.path), "exec"), module.__dict__)
        return module


def deletions(path: Path, functions: Collection[str]) -> list[Deletion]:
    """Every way to leave out one condition of these functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        Deletion(f"{number:02d} {words}", path, tuple(functions), number)
        for number, (_, words) in enumerate(_places(tree, functions))
    ]


@dataclass
class _Place:
    node: ast.AST
    what: int  # which operand, or which statement
    field: str


def _places(tree: ast.Module, functions: Collection[str]) -> Iterator[tuple[_Place, str]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in functions:
            yield from _of(function, function.name)
            for statement in function.body:  # never the annotations
                for node in ast.walk(statement):
                    yield from _of(node, function.name)


def _of(node: ast.AST, where: str) -> Iterator[tuple[_Place, str]]:
    body = getattr(node, "body", None)
    if isinstance(body, list):
        for index, statement in enumerate(body):
            if isinstance(statement, ast.If) and isinstance(statement.body[0], ast.Return):
                yield _Place(node, index, "body"), f"{where}: if {ast.unparse(statement.test)}"
    if isinstance(node, ast.BoolOp):
        for index, value in enumerate(node.values):
            yield _Place(node, index, "values"), f"{where}: {ast.unparse(value)}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        for index, side in enumerate((node.left, node.right)):
            yield _Place(node, index, "bits"), f"{where}: | {ast.unparse(side)}"
    if isinstance(node, ast.Compare) and len(node.ops) == 2:
        for index in range(2):
            yield _Place(node, index, "chain"), f"{where}: end {index} of {ast.unparse(node)}"


def _leave_out(place: _Place) -> None:
    node = place.node
    if place.field == "body":
        node.body[place.what] = ast.Pass()  # type: ignore[attr-defined]
    elif place.field == "values":
        del node.values[place.what]  # type: ignore[attr-defined]
        if len(node.values) == 1:  # type: ignore[attr-defined]
            node.values.append(copy.deepcopy(node.values[0]))  # type: ignore[attr-defined]
    elif place.field == "bits":
        _no_bits(node, place.what)
    else:
        _one_end(node, place.what)


def _no_bits(node: ast.AST, side: int) -> None:
    setattr(node, "left" if side == 0 else "right", ast.Constant(0))


def _one_end(node: ast.AST, end: int) -> None:
    assert isinstance(node, ast.Compare)
    if end == 0:
        node.left, node.ops, node.comparators = node.comparators[0], node.ops[1:], node.comparators[1:]
    else:
        node.ops, node.comparators = node.ops[:1], node.comparators[:1]
