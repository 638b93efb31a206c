"""The surface that an export would write, made of the field beside the window, to be looked at before it is exported."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from interactive3d.runtime.field import HashGridField
from interactive3d.runtime.field.baking import vertex_colors
from interactive3d.runtime.field.meshing import NoSurface, extract_mesh
from interactive3d.runtime.settings import MeshSettings
from interactive3d.runtime.view.latest import Latest
from interactive3d.runtime.view.meshes import Mesh

FINEST = 128
"""Cells a side of a preview at most: an export has its own resolution, and takes its time."""


@dataclass(frozen=True, kw_only=True)
class PreviewJob:
    """A field, the step that it is of, and how meshes are made."""

    field: HashGridField
    step: int
    settings: MeshSettings


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The mesh of a job, or why there is none."""

    job: PreviewJob
    mesh: Mesh | None = None
    problem: str | None = None


def preview(job: PreviewJob) -> Preview:
    """Extract the surface with its colours."""
    chosen = job.settings
    resolution = min(chosen.resolution, FINEST)
    try:
        found = extract_mesh(job.field, resolution=resolution, faces=chosen.faces, floaters=chosen.floaters)
    except NoSurface as problem:
        return Preview(job=job, problem=str(problem))
    columns = (found.vertices, found.normals, vertex_colors(job.field, found) / 255.0)
    corners = np.concatenate([np.asarray(column)[found.faces.reshape(-1)] for column in columns], axis=1)
    mesh = Mesh(corners=corners.astype(np.float32), triangles=len(found.faces), path=Path(f"step_{job.step}"))
    return Preview(job=job, mesh=mesh)


class MeshPreview:
    """At most one preview: asked for, being made, shown."""

    def __init__(self) -> None:
        self._worker: Latest[PreviewJob, Preview] = Latest(preview, "mesh")
        self._asked: PreviewJob | None = None
        self.shown: Preview | None = None

    @property
    def waiting(self) -> bool:
        """Whether one is being made."""
        return self._asked is not None

    def ask(self, job: PreviewJob) -> None:
        """Have one made."""
        self._asked = job
        self._worker.request(job)

    def take(self) -> Preview | None:
        """What was asked for, once, when it is there. Raises what went wrong."""
        try:
            done = self._worker.take()
        except Exception:
            self._asked = None
            raise
        if done is None or done.job is not self._asked:
            return None
        self._asked = None
        self.shown = done if done.mesh is not None else None
        return done

    def drop(self) -> None:
        """Neither asked for nor shown any more."""
        self._asked = self.shown = None

    @property
    def ready(self) -> bool:
        """Whether one waits to be taken."""
        return self._worker.ready

    @property
    def thread_ids(self) -> list[int]:
        """Of the thread that makes it."""
        return [self._worker.thread_id]

    def close(self) -> None:
        """End the thread."""
        self._worker.close()
