"""Shader programs that follow their files: a changed file is compiled at once, a broken one keeps the last good program."""

from dataclasses import dataclass
from pathlib import Path

import moderngl

from interactive3d.shaders import shader_paths


class ShaderProblem(RuntimeError):
    """A shader that does not compile and has no earlier good version."""


@dataclass(kw_only=True)
class _Held:
    """``interface`` is what the window gives to the program: the kind and length of each input and uniform, by name."""

    program: moderngl.Program
    stamp: tuple[int, int] | None
    interface: dict[str, tuple[int, int]]


class Programs:
    """Compiled programs by stem. ``log`` is what is wrong with broken files, by stem; empty when all is well."""

    def __init__(self, context: moderngl.Context) -> None:
        self.context = context
        self.log: dict[str, str] = {}
        self.generation = 0
        self._held: dict[str, _Held] = {}

    def get(self, stem: str) -> moderngl.Program:
        """The newest good program.

        Raises:
            ShaderProblem: its first compilation failed.
        """
        held = self._held.get(stem)
        if held is None:
            paths = shader_paths(stem)
            try:
                program = self._compile(paths)
            except (moderngl.Error, OSError, UnicodeDecodeError) as error:
                raise ShaderProblem(f"shader {stem}: {error}") from error
            held = self._held[stem] = _Held(program=program, stamp=_stamp(paths), interface=_interface(program))
        return held.program

    def reload(self) -> bool:
        """Compile what has changed on disk; True when a program was exchanged."""
        changed = False
        for stem, held in self._held.items():
            try:
                paths = shader_paths(stem)
                stamp = _stamp(paths)
            except (KeyError, OSError):
                # Editors that rename leave no file there for a moment.
                held.stamp = None
                self.log[stem] = "a file of it is missing"
                continue
            if stamp == held.stamp:
                continue
            held.stamp = stamp
            try:
                program = self._compile(paths)
            except (moderngl.Error, OSError, UnicodeDecodeError) as error:
                self.log[stem] = str(error)
                continue
            misfit = _misfit(held.interface, program)
            if misfit is not None:
                self.log[stem] = misfit
                continue
            self.log.pop(stem, None)
            held.interface |= _interface(program)
            # Vertex arrays still hold the old program; it is freed with the last of them.
            held.program = program
            changed = True
        self.generation += changed
        return changed

    def _compile(self, paths: tuple[Path, Path]) -> moderngl.Program:
        vertex, fragment = (path.read_text(encoding="utf-8") for path in paths)
        return self.context.program(vertex_shader=vertex, fragment_shader=fragment)


def first_fault(problem: str) -> str:
    """The line of a compiler's message that says what is wrong."""
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")


def _stamp(paths: tuple[Path, Path]) -> tuple[int, int]:
    return paths[0].stat().st_mtime_ns, paths[1].stat().st_mtime_ns


def _interface(program: moderngl.Program) -> dict[str, tuple[int, int]]:
    """Inputs and uniforms, without OpenGL's own."""
    members = ((name, program[name]) for name in program if not name.startswith("gl_"))
    return {
        name: (member.gl_type, member.array_length)  # type: ignore[union-attr]  # its annotations lack it
        for name, member in members
        if isinstance(member, moderngl.Attribute | moderngl.Uniform)
    }


def _misfit(given: dict[str, tuple[int, int]], program: moderngl.Program) -> str | None:
    """Why a program that compiles cannot be drawn with what the window gives it; None where it can.

    What it no longer reads is left out, and uniforms that the window does not know keep the values that the shader gives them.
    """
    for name, (kind, length) in _interface(program).items():
        if name in given and given[name] != (kind, length):
            return f"`{name}` is declared as {_kind(kind, length)}, and the window gives {_kind(*given[name])}"
        if name not in given and isinstance(program[name], moderngl.Attribute):
            return f"nothing is given for the input `{name}`; the window gives {', '.join(sorted(given))}"
    return None


KINDS = {
    5124: "int",
    5126: "float",
    35664: "vec2",
    35665: "vec3",
    35666: "vec4",
    35674: "mat2",
    35675: "mat3",
    35676: "mat4",
    35678: "sampler2D",
    36306: "usampler2D",
}
"""OpenGL's numbers for types, those that shaders here use."""


def _kind(kind: int, length: int) -> str:
    name = KINDS.get(kind, f"type {kind:#x}")
    return name if length == 1 else f"{name}[{length}]"


def set_uniforms(program: moderngl.Program, **values: object) -> None:
    """Set uniforms by name; a name that the compiler has optimised away is skipped, so that a shader can be edited live."""
    for name, value in values.items():
        if name in program:
            program[name].value = value  # type: ignore[union-attr]
