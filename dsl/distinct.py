"""Names for one thing each, as a script wants them.

Values keep what they were made of: a gesture that was done before its part was edited holds the part as it was, under the name that the
script has for another by now. And `a.b` of a used file is written `a_b`, which the script may have given away itself.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from interactive3d.dsl.operations import AddFile, AddShape, Duplicate, Mirror
from interactive3d.dsl.program import Program
from interactive3d.dsl.values import DeclaredPart, OrbitView

Named = DeclaredPart | OrbitView


def free_name(wanted: str, taken: set[str]) -> str:
    """The name itself, or with the first number that nobody has."""
    if wanted not in taken:
        return wanted
    stem, _, number = wanted.rpartition("_")
    stem = stem if number.isdigit() and stem else wanted
    count = 2
    while f"{stem}_{count}" in taken:
        count += 1
    return f"{stem}_{count}"


def named_apart(program: Program) -> Program:
    """The program in which two parts or views are never called the same; what the script declares now keeps its name."""
    taken = {
        op.name for op in program.operations if isinstance(op, AddFile | AddShape | Duplicate | Mirror) and op.name
    }
    names: dict[Named, str] = {}
    for value in (*_named(program.views), *_named(program.parts), *_named(program.operations)):
        if value not in names:
            names[value] = free_name(str(value.name).replace(".", "_"), taken)
            taken.add(names[value])
    if all(value.name == name for value, name in names.items()):
        return program
    views, parts, operations = (_renamed(v, names) for v in (program.views, program.parts, program.operations))
    return replace(program, views=views, parts=parts, operations=operations)


def _named(value: Any) -> Iterator[Named]:
    """Parts and views that have a name, inner ones first."""
    for inner in _inside(value):
        yield from _named(inner)
    if isinstance(value, DeclaredPart) or (isinstance(value, OrbitView) and value.name):
        yield value


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        yield from value
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, field.name) for field in fields(value))


def _renamed(value: Any, names: dict[Named, str]) -> Any:
    if isinstance(value, tuple):
        return tuple(_renamed(item, names) for item in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed: dict[str, Any] = {}
    for field in fields(value):
        old = getattr(value, field.name)
        new = _renamed(old, names)
        if new is not old and new != old:
            changed[field.name] = new
    if isinstance(value, DeclaredPart | OrbitView) and value in names:
        changed["name"] = names[value]
    return replace(value, **changed) if changed else value
