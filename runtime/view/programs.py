"""Shader programs that follow their files: a changed file is compiled at once, a broken one keeps the last good program."""

from dataclasses import dataclass
from pathlib import Path

import moderngl

from interactive3d.shaders import shader_paths


class ShaderProblem(RuntimeError):
    """A shader that does not compile and has no earlier good version."""


@dataclass(kw_only=True)
class _Held:
    program: moderngl.Program
    stamp: tuple[int, int]


class Programs:
    """Compiled programs by stem. ``log`` is what the compiler said about broken files, by stem; empty when all is well."""

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
                held = _Held(program=self._compile(paths), stamp=_stamp(paths))
            except moderngl.Error as error:
                raise ShaderProblem(f"shader {stem}: {error}") from error
            self._held[stem] = held
        return held.program

    def reload(self) -> bool:
        """Compile what has changed on disk; True when a program was exchanged."""
        changed = False
        for stem, held in self._held.items():
            paths = shader_paths(stem)
            stamp = _stamp(paths)
            if stamp == held.stamp:
                continue
            held.stamp = stamp
            try:
                program = self._compile(paths)
            except moderngl.Error as error:
                self.log[stem] = str(error)
                continue
            self.log.pop(stem, None)
            # Vertex arrays still hold the old program; it is freed with the last of them.
            held.program = program
            changed = True
        self.generation += changed
        return changed

    def _compile(self, paths: tuple[Path, Path]) -> moderngl.Program:
        vertex, fragment = (path.read_text() for path in paths)
        return self.context.program(vertex_shader=vertex, fragment_shader=fragment)


def _stamp(paths: tuple[Path, Path]) -> tuple[int, int]:
    return paths[0].stat().st_mtime_ns, paths[1].stat().st_mtime_ns


def set_uniforms(program: moderngl.Program, **values: object) -> None:
    """Set uniforms by name; a name that the compiler has optimised away is skipped, so that a shader can be edited live."""
    for name, value in values.items():
        if name in program:
            program[name].value = value  # type: ignore[union-attr]
