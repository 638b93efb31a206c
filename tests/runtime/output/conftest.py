"""Shared by the tests of files: random blobs, and a guard for readers that are fed nonsense."""

import resource
import time
import tracemalloc
from collections.abc import Callable

import pytest
import torch

from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.scene.gaussians import GaussianModel

# A malformed file of a few kilobytes must not make a reader allocate more than this, nor think longer.
MOST_BYTES = 64 << 20
MOST_SECONDS = 3.0
# Waiting for something that never comes takes no processor time; a busy machine takes its time.
MOST_WAITING = 60.0


@pytest.fixture
def blobs() -> Callable[..., GaussianModel]:
    """Makes a random model of ``count`` blobs."""

    def make(count: int = 50, seed: int = 0) -> GaussianModel:
        g = torch.Generator().manual_seed(seed)
        return GaussianModel.create(
            mean=torch.randn(count, 3, generator=g) * 0.4,
            log_scale=torch.randn(count, 3, generator=g) * 0.5 - 3.0,
            rotation=torch.randn(count, 4, generator=g),
            color=torch.rand(count, 3, generator=g),
            logit_opacity=torch.randn(count, generator=g) * 2.0,
        )

    return make


@pytest.fixture(scope="session")
def survives() -> Callable[[Callable[[], object]], FileProblem | None]:
    """Runs a reader: it returns, or raises FileProblem with a useful text; nothing else, not for long, not with much memory."""

    def run(read: Callable[[], object]) -> FileProblem | None:
        tracemalloc.start()
        started, begun = time.process_time(), time.monotonic()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        problem = None
        try:
            read()
        except FileProblem as caught:
            problem = caught
        finally:
            seconds, waited = time.process_time() - started, time.monotonic() - begun
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MOST_BYTES, f"{peak} bytes"
        # Allocations that Python does not see, in MiB (ru_maxrss counts kilobytes).
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < 4 * MOST_BYTES
        assert seconds < MOST_SECONDS and waited < MOST_WAITING, f"{seconds:.1f} s busy, {waited:.1f} s in all"
        if problem is not None:
            assert problem.what and problem.todo and str(problem.path) in str(problem)
        return problem

    return run
