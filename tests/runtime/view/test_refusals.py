"""What the scene does not let the hand do, and what the hand cannot do where the run stands: it is said where it is seen."""

import threading
import time
from pathlib import Path

import pytest

from interactive3d.dsl import loads
from interactive3d.dsl.operations import AllPart, NamedPart, Paint
from interactive3d.runtime.engine.script import check_context
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

PATIENCE = 60.0
NOBODY = NamedPart(name="nobody")


@pytest.fixture
def studio(make_run, tmp_path: Path):
    trainer, state = make_run(steps=3)
    program = loads('prompt "a ball"\nseed 0\nsteps 3\n', check_context()).program
    made = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path, program=program))
    yield made
    made.close()


def wait(studio: Studio) -> None:
    done = threading.Event()
    studio.worker.command(done.set)
    assert done.wait(PATIENCE)
    studio.refresh()


def to_the_end(studio: Studio) -> None:
    studio.worker.run()
    deadline = time.monotonic() + PATIENCE
    while not studio.worker.session.finished or studio.worker.stepping:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    wait(studio)


def test_a_refusal_is_shown_over_the_picture_once(studio):
    assert studio.submit(Paint(part=NOBODY, color=(1.0, 0.0, 0.0)))
    wait(studio)
    (notice,) = studio.notices
    assert notice.error and "nobody" in notice.text
    studio.notices.clear()
    studio.submit(Paint(part=AllPart(), color=(1.0, 0.0, 0.0)))
    wait(studio)
    assert not studio.notices
