"""Pictures as PNG files, and sheets of them with titles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from interactive3d.runtime.output.atomic import atomic_path
from interactive3d.runtime.output.problems import FileProblem, open_file

MAX_PIXELS = 1 << 26
MAX_PICTURE_FILE = 1 << 30

_PAPER, _INK, _FAINT, _LINE = (255, 255, 255), (24, 26, 30), (110, 116, 126), (222, 225, 230)

Picture = Float[Tensor, "h w 3"] | Float[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """One row of a sheet: what happened, details in smaller letters, pictures, and a word over each picture (or none)."""

    title: str
    subtitle: str = ""
    images: Sequence[Picture]
    captions: Sequence[str] = ()


def to_bytes(image: Picture) -> UInt8[np.ndarray, "h w 3"]:
    """Display values 0 .. 1 (clamped; NaN shows as black) as uint8; uint8 is passed on.

    Raises:
        ValueError: not (height, width, 3).
    """
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"image: expected shape (height, width, 3), got {array.shape}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    values = np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def save_picture(path: str | Path, image: Picture, comments: Mapping[str, str] | None = None) -> None:
    """Writes a PNG (or what the suffix says: .jpg, .webp); atomic. ``comments`` ride in the PNG as text.

    Raises:
        FileProblem: unknown suffix, or the place cannot be written.
        ValueError: not a picture.
    """
    path = Path(path)
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    if path.suffix.lower() not in formats:
        raise FileProblem(
            path,
            f"{path.suffix or 'no suffix'} is no kind of picture that is written",
            f"expected one of {', '.join(formats)}",
        )
    _save(Image.fromarray(to_bytes(image)), path, formats[path.suffix.lower()], comments)


def load_picture(path: str | Path, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Float[Tensor, "h w 3"]:
    """A picture as display values 0 .. 1; what is transparent shows the background.

    Raises:
        FileProblem: missing, damaged, not a picture, or larger than 64 megapixels.
    """
    path = Path(path)
    with open_file(path, at_most=MAX_PICTURE_FILE) as (stream, _):
        try:
            with Image.open(stream) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise FileProblem(
                        path, f"has {width} x {height} pixels, the limit is {MAX_PIXELS} in all", "scale it down"
                    )
                rgba = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255.0
        except FileProblem:
            raise
        except Exception as error:
            # A foreign decoder on foreign data: whatever it raises means that this is no whole picture.
            raise FileProblem(path, f"cannot be read as a picture: {error}", "save it again as PNG") from error
    alpha = rgba[..., 3:]
    return torch.from_numpy(rgba[..., :3] * alpha + np.array(background, np.float32) * (1.0 - alpha))


def contact_sheet(
    rows: Sequence[tuple[str, str, Sequence[Picture]] | SheetRow],
    path: str | Path,
    *,
    heading: str = "",
    columns: Sequence[str] = (),
    tile: int | None = None,
    comments: Mapping[str, str] | None = None,
) -> tuple[int, int]:
    """A sheet of pictures: a row per event with its title and subtitle at the left, a word over each column; atomic.

    ``tile`` is the side in pixels that every picture is fitted into (its own size when None, at most 256). Returns width and height.

    Raises:
        FileProblem: the place cannot be written.
        ValueError: no rows, a row without pictures, or something that is no picture.
    """
    sheet = [
        row if isinstance(row, SheetRow) else SheetRow(title=row[0], subtitle=row[1], images=row[2]) for row in rows
    ]
    if not sheet:
        raise ValueError("contact_sheet: expected at least one row")
    pictures = []
    for row in sheet:
        if len(row.images) == 0:
            raise ValueError(f"contact_sheet: row {row.title!r} has no pictures")
        pictures.append([Image.fromarray(to_bytes(image)) for image in row.images])
    side = tile or min(256, max(max(p.size) for line in pictures for p in line))
    canvas = _lay_out(sheet, pictures, side, heading, columns)
    _save(canvas, Path(path), "PNG", comments)
    return canvas.size


def tile_pictures(images: Sequence[Picture], columns: int, gap: int = 0) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures of one size in rows of ``columns``, white between them and after the last."""
    arrays = [to_bytes(image) for image in images]
    if not arrays or columns < 1 or any(a.shape != arrays[0].shape for a in arrays):
        raise ValueError(
            f"tile_pictures: expected pictures of one size and a column or more, got {[a.shape for a in arrays]}"
        )
    height, width = arrays[0].shape[:2]
    columns = min(columns, len(arrays))
    lines = -(-len(arrays) // columns)
    canvas = np.full((lines * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, array in enumerate(arrays):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        canvas[top : top + height, left : left + width] = array
    return canvas


def _lay_out(
    sheet: Sequence[SheetRow],
    pictures: Sequence[Sequence[Image.Image]],
    side: int,
    heading: str,
    columns: Sequence[str],
) -> Image.Image:
    size = max(13, round(side * 0.085))
    title_font, text_font, heading_font = (
        ImageFont.load_default(s) for s in (round(size * 1.1), size, round(size * 1.5))
    )
    gap, margin = max(4, side // 24), max(10, side // 10)
    label = max(round(side * 1.15), 150)
    widest = max(len(line) for line in pictures)
    titles = [_wrapped(row.title, title_font, label - gap) for row in sheet]
    subtitles = [_wrapped(row.subtitle, text_font, label - gap) for row in sheet]
    line_title, line_text = _line_height(title_font), _line_height(text_font)
    captioned = [bool(row.captions) for row in sheet]
    heights = [
        max(side + (line_text if c else 0), len(t) * line_title + len(s) * line_text + gap) + gap
        for t, s, c in zip(titles, subtitles, captioned, strict=True)
    ]
    head = (_line_height(heading_font) + gap if heading else 0) + (line_text + gap // 2 if columns else 0)
    width = margin * 2 + label + widest * (side + gap) - gap
    canvas = Image.new("RGB", (width, margin * 2 + head + sum(heights) - gap), _PAPER)
    draw = ImageDraw.Draw(canvas)
    left = margin + label
    if heading:
        draw.text((margin, margin), _fitted(heading, heading_font, width - 2 * margin), fill=_INK, font=heading_font)
    for number, name in enumerate(columns[:widest]):
        _centered(draw, name, (left + number * (side + gap), margin + head - line_text - gap // 2), side, text_font)
    top = margin + head
    for number, (row, line) in enumerate(zip(sheet, pictures, strict=True)):
        if number:
            draw.line((margin, top - gap // 2 - 1, width - margin, top - gap // 2 - 1), fill=_LINE)
        y = top
        for text in titles[number]:
            draw.text((margin, y), text, fill=_INK, font=title_font)
            y += line_title
        for text in subtitles[number]:
            draw.text((margin, y), text, fill=_FAINT, font=text_font)
            y += line_text
        shift = line_text if captioned[number] else 0
        for place, image in enumerate(line):
            x = left + place * (side + gap)
            if place < len(row.captions):
                _centered(draw, row.captions[place], (x, top), side, text_font)
            fitted = _fit(image, side)
            canvas.paste(fitted, (x + (side - fitted.width) // 2, top + shift + (side - fitted.height) // 2))
        top += heights[number]
    return canvas


def _fit(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    if scale == 1.0:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _line_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    box = font.getbbox("Ág")
    return int(box[3] * 1.2) + 1


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines that fit; words longer than a line are cut with an ellipsis."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = _fitted(longer, font, width)
        lines.append(line)
    return [line for line in lines if line]


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _centered(
    draw: ImageDraw.ImageDraw,
    text: str,
    place: tuple[int, int],
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    text = _fitted(text, font, width)
    draw.text((place[0] + (width - font.getlength(text)) / 2, place[1]), text, fill=_FAINT, font=font)


def _save(image: Image.Image, path: Path, format: str, comments: Mapping[str, str] | None) -> None:
    options: dict[str, object] = {}
    if format == "PNG":
        info = PngInfo()
        for key, value in (comments or {}).items():
            info.add_itxt(key[:79], value)
        options = {"pnginfo": info}
    elif format in ("JPEG", "WEBP"):
        options = {"quality": 95}
    with atomic_path(path) as temporary:
        image.save(temporary, format=format, **options)  # type: ignore[arg-type]
