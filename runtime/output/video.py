"""Videos: MP4 (H.264), WebM (VP9), GIF and folders of PNG frames.

MP4 and WebM go through PyAV with whichever encoder it brings; without one, PNG frames are written beside the asked name and the result
says so. Files appear whole or not at all.
"""

import contextlib
import itertools
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from interactive3d.runtime.output.atomic import atomic_path, sync_folder, write_problem, writing
from interactive3d.runtime.output.problems import FileProblem, Note

Frame = UInt8[np.ndarray, "h w 3"]
Progress = Callable[[int, int | None], None]
Form = Literal["mp4", "webm", "gif", "frames"]

MAX_SIDE = 8192
MAX_FPS = 240.0
FRAMES_MARKER = ".interactive3d-frames"

SUFFIXES: dict[str, Form] = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mp4", ".webm": "webm", ".gif": "gif", "": "frames"}
# In order of preference. Hardware encoders are left out: they are listed where no such hardware is, and differ from machine to machine.
_CODECS: dict[Form, tuple[str, ...]] = {"mp4": ("libx264", "libopenh264"), "webm": ("libvpx-vp9", "libvpx")}
_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "18", "preset": "medium"},
    "libvpx-vp9": {"crf": "28", "b": "0", "row-mt": "1", "cpu-used": "4"},
    "libvpx": {"crf": "10"},
}
# The index in front lets browsers play while they load.
_CONTAINER: dict[Form, dict[str, str]] = {"mp4": {"movflags": "+faststart"}, "webm": {}}
# Constant-quality options mean nothing to the others: they get so many bits a pixel and second.
_BITS_PER_PIXEL = 0.2
# Browsers slow down what is faster.
_MAX_GIF_FPS = 50.0
# Pixels of a frame, and frames, that a GIF's palette is made from.
_PALETTE_SAMPLES = 16_384
_PALETTE_FRAMES = 16


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """What was written: the file (or the folder of frames), its size in pixels, and what was done differently from what was asked."""

    path: Path
    form: Form
    encoder: str
    frames: int
    width: int
    height: int
    fps: float
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """One way to write videos, and whether it works here; ``reason`` says why not."""

    form: Form
    name: str
    available: bool
    reason: str = ""


def write_video(
    path: str | Path,
    frames: Iterable[Frame],
    fps: float = 30.0,
    total: int | None = None,
    progress: Progress | None = None,
) -> VideoFile:
    """Writes frames as the suffix says: ``.mp4``, ``.webm``, ``.gif``, or a folder of PNGs for a name without suffix.

    Frames are taken one at a time, so they may be rendered while they are encoded. Odd sizes are padded to even ones where the format
    wants it, by repeating the last row or column. ``progress`` is called with (frames done, ``total``).

    Raises:
        FileProblem: unknown suffix, no frames, the disk is full, or the place cannot be written.
        ValueError: a frame of another size, type or shape, or ``fps`` out of range.
    """
    path = Path(path)
    form = _form(path)
    if not 0.0 < fps <= MAX_FPS:
        raise ValueError(f"fps: expected more than 0 and at most {MAX_FPS:g} frames per second, got {fps}")
    # Before the first frame is rendered: the place must be writable.
    with writing(path if form != "frames" else path.with_name(f"{path.name}.part")):
        pass
    checked = _counted(_checked(path, frames), total, progress)
    if form == "frames":
        return _write_frames(path, checked, fps)
    if form == "gif":
        return _write_gif(path, checked, fps)
    codec = next((name for name in _CODECS[form] if _codec_problem(name) is None), None)
    if codec is None:
        folder = path.with_name(f"{path.stem}_frames")
        reason = f"no encoder for {path.suffix} works here ({', '.join(_CODECS[form])}); PNG frames were written to {folder.name} instead"
        written = _write_frames(folder, checked, fps)
        return VideoFile(**{**vars(written), "notes": (Note(code="no-encoder", count=1, text=reason),)})
    return _encode(path, form, codec, checked, fps)


def encoders() -> list[Encoder]:
    """Every way to write videos that is known here, and whether it works."""
    found = []
    for form, names in _CODECS.items():
        for name in names:
            problem = _codec_problem(name)
            found.append(Encoder(form=form, name=name, available=problem is None, reason=problem or ""))
    found.append(Encoder(form="gif", name="Pillow", available=True))
    found.append(Encoder(form="frames", name="PNG", available=True))
    return found


def turntable_frames(seconds: float, fps: float) -> int:
    """How many frames a video of this length has; at least one."""
    return max(1, round(seconds * fps))


def _form(path: Path) -> Form:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise FileProblem(
            path,
            f"{suffix} is no kind of video that can be written",
            "expected .mp4, .webm, .gif, or a name without suffix for a folder of PNGs",
        )
    return SUFFIXES[suffix]


def _checked(path: Path, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Frames of one size, uint8, contiguous; at least one."""
    shape: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        array = np.asarray(frame)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(
                f"frame {number}: expected uint8 of shape (height, width, 3), got {array.dtype} of shape {array.shape}"
            )
        if shape is None:
            shape = array.shape
            if not 1 <= min(shape[:2]) <= max(shape[:2]) <= MAX_SIDE:
                raise ValueError(
                    f"frame {number}: expected sides of 1 to {MAX_SIDE} pixels, got {shape[1]} x {shape[0]}"
                )
        elif array.shape != shape:
            raise ValueError(
                f"frame {number}: expected {shape[1]} x {shape[0]} as the first, got {array.shape[1]} x {array.shape[0]}"
            )
        yield np.ascontiguousarray(array)
    if shape is None:
        raise FileProblem(path, "was not written: there are no frames", "ask for at least one")


def _counted(frames: Iterator[Frame], total: int | None, progress: Progress | None) -> Iterator[Frame]:
    for done, frame in enumerate(frames, start=1):
        yield frame
        if progress is not None:
            progress(done, total)


def _even(frame: Frame) -> Frame:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return frame


def _encode(path: Path, form: Form, codec: str, frames: Iterator[Frame], fps: float) -> VideoFile:
    import av

    first = _even(next(frames))
    height, width = first.shape[:2]
    count = 0
    with (
        atomic_path(path) as temporary,
        _av_problems(path),
        av.open(str(temporary), "w", format=form, options=_CONTAINER[form]) as container,
    ):
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = container.add_stream(codec, rate=rate, options=_OPTIONS.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec not in _OPTIONS:
            stream.bit_rate = int(_BITS_PER_PIXEL * width * height * fps)
        # Players take HD's matrix for granted at any size when it is said, and differ when it is not.
        context = stream.codec_context
        context.color_range, context.colorspace = (
            av.video.reformatter.ColorRange.MPEG,
            av.video.reformatter.Colorspace.ITU709,
        )
        context.color_primaries, context.color_trc = 1, 1
        for frame in itertools.chain([first], frames):
            picture = av.VideoFrame.from_ndarray(_even(frame), format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            picture.pts = count
            container.mux(stream.encode(picture))
            count += 1
        container.mux(stream.encode(None))
    return VideoFile(path=path, form=form, encoder=codec, frames=count, width=width, height=height, fps=float(rate))


@contextlib.contextmanager
def _av_problems(path: Path) -> Iterator[None]:
    """FFmpeg's errors are the system's or its own."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        if error.errno and error.errno > 0 and isinstance(error, OSError):
            raise write_problem(path, OSError(error.errno, error.strerror)) from error
        raise FileProblem(path, f"could not be encoded: {error}", "try another suffix, such as .gif") from error


def _write_gif(path: Path, frames: Iterator[Frame], fps: float) -> VideoFile:
    """One palette for all frames, so that still parts do not flicker; times in hundredths of a second add up to the right length."""
    # Rendered pictures shrink to a tenth, so that a long video waits for its palette in little memory.
    packed: list[bytes] = []
    samples: list[Frame] = []
    shape: tuple[int, ...] = ()
    for frame in frames:
        shape = frame.shape
        packed.append(zlib.compress(frame.tobytes(), 1))
        stride = max(1, round(math.sqrt(frame.shape[0] * frame.shape[1] / _PALETTE_SAMPLES)))
        samples.append(frame[::stride, ::stride].reshape(1, -1, 3))
    pixels = np.concatenate(samples[:: max(1, len(samples) // _PALETTE_FRAMES)], axis=1)
    palette = Image.fromarray(pixels).quantize(256, method=Image.Quantize.MEDIANCUT)

    def picture(data: bytes) -> Image.Image:
        frame = np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)
        return Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)

    times = [round(100 * i / fps) for i in range(len(packed) + 1)]
    durations = [10 * max(2, b - a) for a, b in itertools.pairwise(times)]
    with atomic_path(path) as temporary:
        rest = (picture(data) for data in packed[1:])
        picture(packed[0]).save(
            temporary, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0, disposal=1
        )
    notes: tuple[Note, ...] = ()
    if fps > _MAX_GIF_FPS:
        text = f"GIF shows at most {_MAX_GIF_FPS:g} frames per second; {fps:g} were asked for"
        notes = (Note(code="gif-rate", count=1, text=text),)
    return VideoFile(
        path=path,
        form="gif",
        encoder="Pillow",
        frames=len(packed),
        width=shape[1],
        height=shape[0],
        fps=min(fps, _MAX_GIF_FPS),
        notes=notes,
    )


def _write_frames(folder: Path, frames: Iterator[Frame], fps: float) -> VideoFile:
    """PNGs ``frame_00000.png`` … in a folder of their own, which appears when all are there."""
    if folder.exists() and not _ours(folder):
        raise FileProblem(folder, "is in the way: it holds other files than frames of ours", "choose another name")
    building = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    with writing(building / FRAMES_MARKER):
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        try:
            count = height = width = 0
            for frame in frames:
                height, width = frame.shape[:2]
                Image.fromarray(frame).save(building / f"frame_{count:05d}.png", compress_level=4)
                count += 1
            (building / FRAMES_MARKER).write_text(f"{count} frames at {fps:g} per second\n")
            if folder.exists():
                shutil.rmtree(folder)
            building.rename(folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        sync_folder(folder.parent)
    return VideoFile(path=folder, form="frames", encoder="PNG", frames=count, width=width, height=height, fps=fps)


def _ours(folder: Path) -> bool:
    """An empty folder, or one with nothing but frames that were written here."""
    if not folder.is_dir():
        return False
    names = [p.name for p in folder.iterdir()]
    frames = [n for n in names if n.startswith("frame_") and n.endswith(".png")]
    return not names or (FRAMES_MARKER in names and len(frames) + 1 == len(names))


def _codec_problem(name: str) -> str | None:
    """Why this encoder cannot be used; None when it can."""
    try:
        import av

        av.codec.Codec(name, "w")
    except ImportError as error:
        return f"PyAV cannot be imported: {error}"
    except Exception:
        # PyAV's exception for an unknown codec has moved between modules.
        return "not among the encoders of this PyAV"
    return None
