"""GLSL files and the function that finds them. Nothing else lives here.

Names are ``STEM.vert`` and ``STEM.frag`` on disk as ``STEM.vert.glsl`` and ``STEM.frag.glsl``.
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def shader_names() -> tuple[str, ...]:
    """Every program that is here, by its stem."""
    return tuple(sorted(path.name.removesuffix(".vert.glsl") for path in FOLDER.glob("*.vert.glsl")))


def shader_paths(stem: str) -> tuple[Path, Path]:
    """The vertex and the fragment file of a program.

    Raises:
        KeyError: no program is called so, with the names that are here.
    """
    paths = FOLDER / f"{stem}.vert.glsl", FOLDER / f"{stem}.frag.glsl"
    if not all(path.is_file() for path in paths):
        raise KeyError(f"no shader is called {stem!r}; there are {', '.join(shader_names())}")
    return paths
