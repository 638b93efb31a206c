import itertools
import subprocess
import sys
import textwrap

import av
import numpy as np
import pytest
from PIL import Image

from interactive3d.runtime.output import video
from interactive3d.runtime.output.problems import FileProblem
from interactive3d.runtime.output.video import encoders, turntable_frames, write_video

# H.264 and VP9 at these settings, after chroma subsampling, on smooth pictures; of 255.
CODEC_ERROR = 4.0
# 256 colours for a smooth picture.
GIF_ERROR = 6.0


def frames(count=12, height=64, width=96):
    rows, columns = np.mgrid[:height, :width]
    for i in range(count):
        frame = np.full((height, width, 3), 200, np.uint8)
        frame[..., 0] = columns * 255 // width
        frame[..., 1] = (rows + 3 * i) * 128 // height % 256
        yield frame


def error(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "h264"), ("webm", "vp9")])
def test_videos_play_back_what_was_written(tmp_path, suffix, codec):
    calls = []
    path = tmp_path / f"a.{suffix}"
    written = write_video(path, frames(), 24, 12, lambda done, total: calls.append((done, total)))
    assert calls == [(i, 12) for i in range(1, 13)]
    assert (written.frames, written.width, written.height, written.form, written.notes) == (12, 96, 64, suffix, ())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec and stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (96, 64) and stream.average_rate == 24
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
    assert len(pictures) == 12
    for picture, frame in zip(pictures, frames(), strict=True):
        assert error(picture, frame) < CODEC_ERROR


def test_pure_colours_survive_the_way_through_yuv(tmp_path):
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 128, 128]], np.uint8)
    write_video(tmp_path / "a.mp4", (np.tile(c, (32, 32, 1)) for c in colors))
    with av.open(str(tmp_path / "a.mp4")) as container:
        for frame, color in zip(container.decode(video=0), colors, strict=True):
            assert np.abs(frame.to_ndarray(format="rgb24")[16, 16].astype(int) - color).max() <= 4


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_odd_sizes_are_padded_with_their_rim(tmp_path, suffix):
    written = write_video(tmp_path / f"a.{suffix}", frames(height=33, width=47))
    assert (written.width, written.height) == (48, 34)
    with av.open(str(tmp_path / f"a.{suffix}")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert error(picture[:33, :47], next(frames(height=33, width=47))) < CODEC_ERROR
    assert np.abs(picture[33].astype(int) - picture[32].astype(int)).mean() < CODEC_ERROR


def test_a_single_pixel_and_a_single_frame(tmp_path):
    assert write_video(tmp_path / "a.mp4", [np.zeros((1, 1, 3), np.uint8)]).frames == 1
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 1


def test_gif_keeps_frames_colours_and_length(tmp_path):
    write_video(tmp_path / "a.gif", frames(30), 30)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 30 and image.info["loop"] == 0 and image.size == (96, 64)
        duration = 0
        for number, frame in enumerate(frames(30)):
            image.seek(number)
            duration += image.info["duration"]
            assert error(np.asarray(image.convert("RGB")), frame) < GIF_ERROR
    assert duration == 1000
    notes = write_video(tmp_path / "b.gif", frames(2), 100).notes
    assert [n.code for n in notes] == ["gif-rate"]


def test_a_folder_of_frames_is_exact_and_is_replaced_only_if_it_is_ours(tmp_path):
    write_video(tmp_path / "turn", frames(5))
    written = write_video(tmp_path / "turn", frames(3), 12)
    assert written.path == tmp_path / "turn" and written.frames == 3
    names = sorted(p.name for p in (tmp_path / "turn").glob("*.png"))
    assert names == ["frame_00000.png", "frame_00001.png", "frame_00002.png"]
    for name, frame in zip(names, frames(3), strict=True):
        with Image.open(tmp_path / "turn" / name) as image:
            assert np.array_equal(np.asarray(image), frame)
    (tmp_path / "turn" / "notes.txt").write_text("mine")
    with pytest.raises(FileProblem, match="in the way"):
        write_video(tmp_path / "turn", frames(1))
    assert len(list(tmp_path.iterdir())) == 1


def test_without_an_encoder_frames_are_written_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_codec_problem", lambda name: "gone")
    written = write_video(tmp_path / "a.mp4", frames(2))
    assert written.path == tmp_path / "a_frames" and len(list(written.path.glob("*.png"))) == 2
    assert [n.code for n in written.notes] == ["no-encoder"] and "a_frames" in str(written.notes[0])
    assert not (tmp_path / "a.mp4").exists()
    found = {e.name: e for e in encoders()}
    assert not found["libx264"].available and found["libx264"].reason == "gone" and found["PNG"].available


def test_the_next_best_encoder_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_CODECS", {**video._CODECS, "mp4": ("no-such-codec", "mpeg4")})
    assert write_video(tmp_path / "a.mp4", frames(4)).encoder == "mpeg4"
    missing = next(e for e in encoders() if e.name == "no-such-codec")
    assert not missing.available and "not among" in missing.reason


def test_encoders_of_this_machine_can_make_mp4():
    assert any(e.form == "mp4" and e.available for e in encoders())


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a"])
def test_a_failing_renderer_leaves_nothing(tmp_path, name):
    (tmp_path / "a.mp4").write_text("old")

    def failing():
        yield from frames(3)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        write_video(tmp_path / name, failing())
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"] and (tmp_path / "a.mp4").read_text() == "old"


def test_frames_are_taken_one_at_a_time(tmp_path):
    done = []
    taken = []

    def watched():
        for i, frame in enumerate(frames(6)):
            taken.append(len(done))
            assert len(done) >= i - 1
            yield frame

    write_video(tmp_path / "a.mp4", watched(), progress=lambda n, _: done.append(n))
    assert len(taken) == 6


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([np.zeros((4, 4), np.uint8)], "frame 0: expected uint8 of shape"),
        ([np.zeros((4, 4, 3))], "got float64"),
        ([np.zeros((4, 4, 4), np.uint8)], "frame 0"),
        (
            [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)],
            "frame 1: expected 4 x 4 as the first, got 6 x 4",
        ),
        ([np.zeros((1, 9000, 3), np.uint8)], "sides of 1 to 8192"),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_wrong_frames_are_named(tmp_path, bad, message, name):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, bad)
    assert list(tmp_path.iterdir()) == []


def test_wrong_calls(tmp_path):
    with pytest.raises(FileProblem, match="no kind of video"):
        write_video(tmp_path / "a.avi", frames())
    for fps in (0, -1, float("nan"), 1000):
        with pytest.raises(ValueError, match="fps"):
            write_video(tmp_path / "a.mp4", frames(), fps)
    for name in ("a.mp4", "a.gif", "a"):
        with pytest.raises(FileProblem, match="there are no frames"):
            write_video(tmp_path / name, [])
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileProblem, match="is not a folder"):
        write_video(tmp_path / "file" / "a.mp4", itertools.repeat(np.zeros((2, 2, 3), np.uint8)))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits as on Linux")
@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a"])
def test_a_full_disk_is_said_clearly(tmp_path, name):
    """A limit on file sizes stands for the full disk: writing fails in the same place, inside FFmpeg or Pillow."""
    program = textwrap.dedent(
        f"""
        import resource, signal, sys
        import numpy as np
        from interactive3d.runtime.output.problems import FileProblem
        from interactive3d.runtime.output.video import write_video
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        noise = np.random.default_rng(0)
        try:
            write_video({str(tmp_path / name)!r}, (noise.integers(0, 256, (128, 128, 3), np.uint8) for _ in range(8)))
        except FileProblem as problem:
            print(problem)
            sys.exit(7)
        """
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 7, result.stderr[-2000:]
    assert "the disk is full" in result.stdout and "free some room" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_length_of_a_turntable():
    assert turntable_frames(4, 30) == 120 and turntable_frames(0.001, 30) == 1
