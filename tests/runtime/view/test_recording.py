"""Films of states and of runs, pictures for the clipboard, and the camera path that films can follow."""

import dataclasses
import json
import os
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interactive3d.dsl import loads
from interactive3d.dsl.program import CheckContext
from interactive3d.runtime.engine.session import Session
from interactive3d.runtime.output.camera_path import load_camera_path
from interactive3d.runtime.scene.camera import Camera, turntable
from interactive3d.runtime.view import clipboard
from interactive3d.runtime.view.camera_keys import CameraKey, CameraKeys
from interactive3d.runtime.view.clipboard import ClipboardProblem, copy_png
from interactive3d.runtime.view.orbit import OrbitCamera
from interactive3d.runtime.view.panels.camera_panel import CameraPanel
from interactive3d.runtime.view.panels.recording_panel import Film, RecordingPanel
from interactive3d.runtime.view.project import Project
from interactive3d.runtime.view.recording import Subject, Timelapse, film, picture
from interactive3d.runtime.view.studio import Studio
from interactive3d.runtime.view.worker import Worker

NEAR = 1e-4
"""Positions in files are text of doubles; what is left is float32 of the camera's matrix."""


PATIENCE = 60.0


def until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def three() -> CameraKeys:
    keys = CameraKeys()
    for azimuth in (0.0, 60.0, 150.0):
        keys = keys.with_key(OrbitCamera(azimuth=azimuth, elevation=10.0, distance=2.0))
    return keys


def test_a_film_is_written_and_counts(tmp_path: Path, red_ball):
    subject = Subject(model=red_ball)
    going = film(subject, turntable(3), tmp_path / "turn.gif", (48, 32), 10, (0.0, 0.0, 0.0))
    going.start()
    going.join()
    assert going.finished and going.share == 1.0 and not going.failed, going.message
    with Image.open(tmp_path / "turn.gif") as seen:
        assert seen.size == (48, 32) and seen.convert("RGB").getpixel((0, 0)) == (0, 0, 0)
    stopped = film(subject, turntable(3), tmp_path / "no.gif", (32, 32), 10, (1.0, 1.0, 1.0))
    stopped.stop()
    stopped.start()
    stopped.join()
    assert "stopped" in stopped.message and not (tmp_path / "no.gif").exists()


def test_hidden_blobs_are_not_filmed(red_ball):
    camera = Camera.orbit(0.0, 0.0)
    everything = np.ones(len(red_ball), bool)
    assert picture(Subject(model=red_ball), camera, 32, 32).min() < 128
    assert picture(Subject(model=red_ball, hidden=everything), camera, 32, 32).min() == 255


def test_a_timelapse_films_the_steps_to_come_and_not_those_between(tmp_path: Path, make_run):
    _, state = make_run()
    going = film(Subject.of(state), [], tmp_path / "grow", (16, 16), 10, (1.0, 1.0, 1.0))
    lapse = Timelapse(going, [Camera.orbit(0.0, 0.0)], every=2)
    lapse.recording.total = None
    lapse.recording.start()
    for step in range(1, 8):
        lapse.take(dataclasses.replace(state, step=step))
    lapse.end()
    lapse.recording.join()
    assert not lapse.recording.failed and lapse.recording.done == 3, lapse.recording.message
    assert len(list((tmp_path / "grow").glob("*.png"))) == 3


def test_the_panel_films_the_path_and_a_run(tmp_path: Path, make_run):
    trainer, state = make_run(steps=6)
    program = loads('prompt "a ball"\nseed 0\nsteps 6\n', CheckContext()).program
    studio = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path, program=program))
    panel = RecordingPanel(studio)
    panel.width = panel.height = 16
    panel.choose(Film.PATH)
    panel.start()
    assert panel.recording is None and "keyframe" in studio.notices[-1].text
    studio.set_path(three())
    panel.fps, panel.format = 10, 2
    assert len(panel.cameras()) == 40, "as long as the path, which is played in four seconds"
    panel.path_seconds = 0.5
    assert len(panel.cameras()) == 5
    panel.choose(Film.TIMELAPSE)
    panel.every = 2
    panel.start()
    lapse = panel.timelapse
    assert lapse is not None and panel.name == "timelapse"
    studio.worker.run()
    # Nobody looks at the panel; the film ends with the run.
    until(lambda: panel.settle() or panel.recording is None)
    assert lapse.recording.done == 3 and not studio.worker.listeners
    with Image.open(tmp_path / "timelapse.gif") as seen:
        assert seen.n_frames == 3
    panel.start()
    assert panel.recording is None and "last one" in studio.notices[-1].text
    studio.close()


def test_a_film_is_never_written_over_another(tmp_path: Path, make_run):
    trainer, state = make_run(steps=6)
    studio = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path))
    panel = RecordingPanel(studio)
    panel.width = panel.height = 16
    panel.seconds, panel.fps, panel.format, panel.name = 0.5, 5, 2, "turn.gif"
    for _ in range(2):
        panel.start()
        until(lambda: panel.settle() or panel.recording is None)
    assert sorted(p.name for p in tmp_path.glob("*.gif")) == ["turn.gif", "turn_002.gif"]
    panel.name = "  "
    panel.start()
    assert panel.recording is None and "name" in studio.notices[-1].text
    studio.close()


def test_a_timelapse_is_finished_when_the_window_closes(tmp_path: Path, make_run):
    trainer, state = make_run(steps=6)
    program = loads('prompt "a ball"\nseed 0\nsteps 6\n', CheckContext()).program
    studio = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path, program=program))
    panel = RecordingPanel(studio)
    panel.choose(Film.TIMELAPSE)
    panel.width, panel.height, panel.every, panel.format = 16, 16, 1, 3
    panel.start()
    studio.worker.step(2)
    until(lambda: studio.worker.latest().step == 2 and not studio.worker.running)
    taken = threading.Event()
    studio.worker.command(taken.set)
    assert taken.wait(PATIENCE)
    panel.close()
    assert len(list((tmp_path / "timelapse").glob("*.png"))) == 2
    studio.close()


def test_a_path_goes_through_its_keyframes_and_back_when_closed():
    keys = three()
    found = keys.at(np.array([0.0, 2.0, 4.0]))
    for camera, key in zip(found, keys.keys, strict=True):
        assert np.allclose(camera.position, key.camera.camera().position, atol=NEAR)
    assert keys.seconds == 4.0 and dataclasses.replace(keys, loop=True).seconds == 6.0
    closed = dataclasses.replace(keys, loop=True).at(np.array([6.0]))[0]
    assert np.allclose(closed.position, keys.keys[0].camera.camera().position, atol=NEAR)
    assert len(keys.frames(30.0)) == 120
    with pytest.raises(ValueError, match="keyframe"):
        CameraKeys().at(np.array([0.0]))


def test_keyframes_are_ordered_replaced_and_deleted():
    keys = three()
    azimuths = lambda k: [key.camera.azimuth for key in k.keys]  # noqa: E731
    assert azimuths(keys.swapped(0, 1)) == [60.0, 0.0, 150.0] and keys.swapped(0, -1) == keys
    assert azimuths(keys.without(1)) == [0.0, 150.0]
    other = CameraKey(camera=OrbitCamera(azimuth=7.0), seconds=1.0)
    assert azimuths(keys.changed(2, other)) == [0.0, 60.0, 7.0]
    assert azimuths(keys.with_key(OrbitCamera(azimuth=9.0), after=0)) == [0.0, 9.0, 60.0, 150.0]


def test_a_path_is_saved_for_other_tools_and_read_again(tmp_path: Path):
    keys = three()
    keys.save(tmp_path / "path.json", 30.0, 640, 480)
    read = load_camera_path(tmp_path / "path.json")
    assert (read.width, read.height) == (640, 480)
    for a, b in zip(read.cameras, keys.frames(30.0), strict=True):
        assert np.allclose(a.position, b.position, atol=NEAR)
    # Without the keyframes in the file they are found again from the frames.
    tree = json.loads((tmp_path / "path.json").read_text())
    (tmp_path / "frames.json").write_text(json.dumps({**tree, "keyframes": []}))
    again = CameraKeys.load(tmp_path / "frames.json")
    assert len(again.keys) == 3
    assert np.allclose(again.keys[-1].camera.camera().position, keys.keys[-1].camera.camera().position, atol=NEAR)


@pytest.mark.parametrize("loop", [False, True])
def test_a_path_that_is_read_again_is_the_same_path(tmp_path: Path, loop: bool):
    """Keyframes were thinned out of the frames: their times were lost, and each saving moved them a little."""
    keys = dataclasses.replace(three(), loop=loop, tension=0.4)
    keys = keys.changed(0, dataclasses.replace(keys.keys[0], seconds=0.7))
    keys = keys.changed(1, dataclasses.replace(keys.keys[1], seconds=5.2))
    keys.save(tmp_path / "path.json", 30.0, 640, 480)
    again = CameraKeys.load(tmp_path / "path.json")
    assert (again.loop, again.tension) == (loop, 0.4)
    for a, b in zip(again.keys, keys.keys, strict=True):
        assert dataclasses.astuple(a.camera)[:3] == pytest.approx(dataclasses.astuple(b.camera)[:3], abs=NEAR)
        assert a.seconds == pytest.approx(b.seconds, abs=0.02)
    # Another number of frames is made of the same keyframes at the same times.
    few = load_camera_path(tmp_path / "path.json", frames=11).cameras
    for a, b in zip(few, keys.frames(11 / keys.seconds), strict=True):
        assert np.allclose(a.position, b.position, atol=0.02)


def test_a_path_plays_until_the_hand_takes_the_camera(tmp_path: Path, make_run):
    """Whether its panel is shown or not; it once fought with the hand, and stopped where the panels were hidden."""
    trainer, state = make_run(steps=6)
    studio = Studio(Worker(Session(trainer, (), state)), Project(title="t", folder=tmp_path))
    panel = CameraPanel(studio)
    panel.play()
    assert not panel.playing and "two keyframes" in studio.notices[-1].text
    for azimuth in (0.0, 90.0):
        studio.camera = OrbitCamera(azimuth=azimuth)
        studio.add_view()
    assert "keyframe 2" in studio.notices[-1].text
    panel.play()
    moments = []
    for _ in range(3):
        time.sleep(0.02)
        panel.advance()
        moments.append(panel.moment)
    assert 0.0 < moments[0] < moments[1] < moments[2]
    assert np.allclose(studio.camera.camera().position, studio.path.at(np.array(moments[-1:]))[0].position, atol=NEAR)
    turned = studio.camera = studio.camera.orbited(30.0, 0.0)
    panel.advance()
    assert not panel.playing and studio.camera == turned
    panel.play()
    studio.undo()
    panel.advance()
    assert not panel.playing, "one keyframe is no path"
    studio.close()


def test_an_orbit_is_found_from_its_camera():
    for azimuth, elevation in ((0.0, 0.0), (130.0, -40.0), (-75.0, 89.0)):
        orbit = OrbitCamera(azimuth=azimuth, elevation=elevation, distance=1.7, target=(0.1, 0.2, -0.3), fov=33.0)
        found = OrbitCamera.seen_by(orbit.camera())
        assert dataclasses.astuple(found)[:3] == pytest.approx(dataclasses.astuple(orbit)[:3])
        assert found.fov == 33.0 and found.target == orbit.target


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tool is replaced by a shell script")
def test_a_picture_goes_to_the_clipboards_tool(tmp_path: Path, monkeypatch):
    tool = tmp_path / "bin" / "xclip"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\n/bin/cat > {tmp_path}/taken\necho "$@" > {tmp_path}/said\n')
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tool.parent))
    picture_file = tmp_path / "a.png"
    picture_file.write_bytes(b"not really a picture")
    assert copy_png(picture_file) == "xclip"
    assert (tmp_path / "taken").read_bytes() == picture_file.read_bytes()
    assert "image/png" in (tmp_path / "said").read_text()
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(ClipboardProblem, match="install"):
        copy_png(picture_file)
    monkeypatch.setattr(clipboard, "TOOLS", {})
    with pytest.raises(ClipboardProblem, match="no tool"):
        copy_png(picture_file)
