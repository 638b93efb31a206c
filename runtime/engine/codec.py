"""Operations and programs as plain JSON and back, for snapshots and run records.

Only the closed vocabulary of the language is known here: nothing else can be built from a file.
"""

import dataclasses
import types
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from interactive3d.dsl import operations as vocabulary
from interactive3d.dsl import program as whole
from interactive3d.dsl import values
from interactive3d.dsl.operations import OPERATION_KINDS, Operation

# Keys that no field can be called.
IS = "$is"
ENUM = "$enum"
_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *OPERATION_KINDS,
        *values.SHAPE_KINDS,
        *values.PART_KINDS,
        *values.WHEN_KINDS,
        values.AxisAngle,
        values.OrbitView,
        values.Click,
        whole.Program,
        whole.GuidanceChoice,
        whole.RepairPolicy,
        *get_args(whole.Initial),
    )
}
_ENUMS: dict[str, type[Enum]] = {
    name: value
    for name, value in vars(vocabulary).items()
    if isinstance(value, type) and issubclass(value, Enum) and value is not Enum
}


def to_json(value: Any) -> Any:
    """A value of the vocabulary as JSON's own kinds; spans are left out.

    Raises:
        TypeError: for anything outside the vocabulary.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Enum):
        return {ENUM: type(value).__name__, "value": value.value}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    if dataclasses.is_dataclass(value) and type(value).__name__ in _KINDS:
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name != "span"}
        return {IS: type(value).__name__, **{k: v for k, v in fields.items() if v is not None}}
    raise TypeError(f"cannot write {type(value).__name__} as part of an operation")


def from_json(data: Any) -> Any:
    """The value that ``to_json`` wrote.

    Raises:
        ValueError: unknown kind, unknown field or wrong shape, naming it.
    """
    if isinstance(data, list):
        return tuple(from_json(v) for v in data)
    if not isinstance(data, dict):
        return data
    if ENUM in data:
        if data[ENUM] not in _ENUMS:
            raise ValueError(f"unknown enumeration {data[ENUM]!r} in a saved operation")
        return _ENUMS[data[ENUM]](data["value"])
    kind = _KINDS.get(str(data.get(IS, "")))
    if kind is None:
        raise ValueError(f"unknown kind {data.get(IS)!r} in a saved operation; was it saved by a newer version?")
    try:
        return kind(**{k: _fitted(kind, k, from_json(v)) for k, v in data.items() if k != IS})
    except TypeError as error:
        raise ValueError(f"saved {data[IS]} does not fit this version: {error}") from None


def _fitted(kind: type, name: str, value: Any) -> Any:
    """JSON does not keep 1.0 apart from 1 in every writer: numbers of float fields become floats."""
    hint = get_type_hints(kind).get(name)
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if isinstance(value, int) and not isinstance(value, bool) and float in choices and int not in choices:
        return float(value)
    return value


def operation_from_json(data: Any) -> Operation:
    """A saved operation. Raises ValueError when the data is something else."""
    operation = from_json(data)
    if not isinstance(operation, Operation):
        raise ValueError(f"expected a saved operation, got {type(operation).__name__}")
    return operation


def program_from_json(data: Any) -> whole.Program:
    """A saved program. Raises ValueError when the data is something else."""
    program = from_json(data)
    if not isinstance(program, whole.Program):
        raise ValueError(f"expected a saved program, got {type(program).__name__}")
    return program
