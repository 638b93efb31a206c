"""Names for what the hand adds: a session can be written down as a script only where each is given once, and is a word of its own."""

from collections.abc import Iterable
from dataclasses import replace

from interactive3d.dsl import SculptError, parse_operation
from interactive3d.dsl.operations import AddFile, AddShape, Duplicate, Mirror, Operation
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.engine.state import RunState
from interactive3d.runtime.view.project import Project

Naming = AddFile | AddShape | Duplicate | Mirror


def given_names(operations: Iterable[Operation]) -> list[str]:
    """What operations call the things that they add."""
    return [op.name for op in operations if isinstance(op, Naming) and op.name is not None]


def names_taken(project: Project, state: RunState) -> set[str]:
    """Names that stand for something in the script, at any of its steps, or in the scene."""
    taken = {*state.model.tag_names, *given_names(state.journal)}
    if project.program is not None:
        program = project.program
        taken |= {*(p.name for p in program.parts), *(v.name for v in program.views if v.name)}
        taken |= set(given_names(program.operations))
    return taken


def naming_problem(name: str, taken: set[str]) -> str | None:
    """Why something cannot be called that, in the language's own words; None where it can."""
    if not name.isidentifier():
        return f"a name has letters, digits and _, and no digit first; got {name!r}"
    context = replace(check_context(), tags=tuple(sorted(taken)))
    try:
        parse_operation(f"duplicate all as {name}", context)
    except SculptError as error:
        found = error.diagnostics[0]
        return f"{found.message}; {found.help}" if found.help else found.message
    return None
