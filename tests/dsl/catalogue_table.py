"""The table of broken examples: reading it, running a case, and writing it anew.

`catalogue.txt` holds one case per block: the code, further files and `--set` values where needed, the script, and word for word what the
terminal shows. `python tests/dsl/catalogue_table.py` records it again; read the difference before committing it.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dsl_support import context, whole

from interactive3d.dsl import SculptError, loads, parse_operation
from interactive3d.dsl.diagnostics import catalogue
from interactive3d.dsl.render import render_terminal
from interactive3d.dsl.source import Source

TABLE = Path(__file__).with_name("catalogue.txt")
NAME = "example.sculpt"
_UNUSED = ("W0802", "W0803")


@dataclass(frozen=True)
class Case:
    code: str
    script: str
    shown: str


def run(code: str, script: str, right: bool = False) -> str:
    """What the terminal shows for a script, in a folder with the files that the code's examples need."""
    entry = catalogue()[code]
    if code == "E0521" and not right:
        try:
            parse_operation(script, context())
        except SculptError as fault:
            return render_terminal(fault.diagnostics, [Source(name="<line>", text=script)])
        return ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in entry.files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        outside = folder.parent / f"{folder.name}_outside.sculpt"
        if code == "E0704":
            outside.write_text("let a = 1\n")
            (folder / "linked.sculpt").symlink_to(outside)
        overrides = entry.right_set if right else entry.wrong_set
        try:
            loaded = loads(whole(script, code), context(folder, overrides=overrides), path=folder / NAME, name=NAME)
        finally:
            outside.unlink(missing_ok=True)
        told = [d for d in loaded.diagnostics if d.code not in _UNUSED or d.code == code]
        if right:
            told = [d for d in told if d.code == code or d.severity.value == "error"]
        shown = render_terminal(told, loaded.sources)
        return shown.replace(str(outside), "OUTSIDE").replace(f"{folder}/", "")


def _escaped(text: str) -> str:
    return text.replace("\0", "\\0")


def read() -> list[Case]:
    cases = []
    for block in TABLE.read_text(encoding="utf-8").split("======== ")[1:]:
        code, _, rest = block.partition("\n")
        script, _, shown = rest.partition("--------\n")
        cases.append(Case(code.strip(), script.rstrip("\n").replace("\\0", "\0"), shown.rstrip("\n") + "\n"))
    return cases


def write(scripts: list[tuple[str, str]]) -> None:
    blocks = []
    for code, script in scripts:
        shown = run(code, script)
        if f"[{code}]" not in shown:
            raise ValueError(f"catalogue: expected {code} from\n{script}\ngot\n{shown}")
        blocks.append(f"======== {code}\n{_escaped(script)}\n--------\n{_escaped(shown)}\n")
    TABLE.write_text("".join(blocks), encoding="utf-8")


def main() -> None:
    """Every code's own example first, then the further cases that the table holds already or that are given as files."""
    known = [(case.code, case.script) for case in read()] if TABLE.exists() else []
    examples = [(code, entry.wrong) for code, entry in catalogue().items()]
    further = [pair for pair in known if pair not in examples]
    for path in sys.argv[1:]:
        for block in Path(path).read_text(encoding="utf-8").split("======== ")[1:]:
            code, _, script = block.partition("\n")
            pair = (code.strip(), script.rstrip("\n"))
            if pair not in further:
                further.append(pair)
    both = examples + further
    write(sorted(both, key=lambda pair: (pair[0][0] == "W", pair[0])))


if __name__ == "__main__":
    main()
