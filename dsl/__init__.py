"""Sculpt, the interaction language: text in, checked and immutable operations out.

`load` and `loads` check a whole script, `parse_operation` one event line, `format_operation`, `format_program` and
`format_source` write,
`explain` tells what a diagnostic code means. Names are resolved on first use, so that importing
`interactive3d.dsl.operations` for its
values costs neither the grammar nor Lark.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "load": "api",
    "loads": "api",
    "parse_operation": "api",
    "Loaded": "api",
    "format_operation": "printer",
    "format_program": "printer",
    "format_source": "formatter",
    "Diagnostic": "diagnostics",
    "Severity": "diagnostics",
    "SculptError": "diagnostics",
    "explain": "diagnostics",
    "render_json": "render",
    "render_plain": "render",
    "render_terminal": "render",
    "CheckContext": "program",
    "Program": "program",
    "SettingSpec": "program",
    "diff_programs": "replan",
    "Replan": "replan",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
