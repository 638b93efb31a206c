import numpy as np
import pytest
import torch
from PIL import Image

from interactive3d.runtime.output.pictures import (
    SheetRow,
    contact_sheet,
    load_picture,
    save_picture,
    tile_pictures,
    to_bytes,
)
from interactive3d.runtime.output.problems import FileProblem

# A picture goes through bytes.
BYTE = 0.5 / 255 + 1e-6


def plain(color, height=40, width=40):
    return torch.tensor(color, dtype=torch.float32).expand(height, width, 3)


def test_pictures_come_back(tmp_path):
    image = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0))
    save_picture(tmp_path / "new" / "a.png", image, {"prompt": "a green dragon, für Elise"})
    assert torch.allclose(load_picture(tmp_path / "new" / "a.png"), image, atol=BYTE)
    with Image.open(tmp_path / "new" / "a.png") as opened:
        assert opened.size == (7, 5) and opened.text["prompt"] == "a green dragon, für Elise"
    save_picture(tmp_path / "a.jpg", plain([1, 0, 0]))
    assert torch.allclose(load_picture(tmp_path / "a.jpg"), plain([1, 0, 0]), atol=0.02)


def test_values_are_clamped_rounded_and_never_wrap():
    image = torch.tensor([[[-1.0, 2.0, float("nan")], [0.5, 1.0 / 255 * 0.6, float("inf")]]])
    assert to_bytes(image).tolist() == [[[0, 255, 0], [128, 1, 255]]]
    bytes_ = np.full((2, 2, 3), 7, np.uint8)
    assert to_bytes(bytes_) is not None and (to_bytes(bytes_) == 7).all()


def test_transparency_shows_the_background(tmp_path):
    Image.new("RGBA", (3, 3), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert torch.allclose(load_picture(tmp_path / "a.png", (0.0, 1.0, 0.0)), plain([0, 1, 0], 3, 3))
    Image.new("L", (3, 3), 255).save(tmp_path / "b.png")
    assert load_picture(tmp_path / "b.png").shape == (3, 3, 3)


def test_wrong_pictures(tmp_path):
    for bad in (torch.zeros(3, 3), torch.zeros(3, 3, 4), torch.zeros(0, 3, 3)):
        with pytest.raises(ValueError, match="expected shape"):
            save_picture(tmp_path / "a.png", bad)
    with pytest.raises(FileProblem, match="no kind of picture"):
        save_picture(tmp_path / "a.tga", plain([0, 0, 0]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 10, 60])
def test_damaged_pictures_are_refused(tmp_path, survives, cut):
    save_picture(tmp_path / "a.png", torch.rand(20, 20, 3))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:cut])
    problem = survives(lambda: load_picture(tmp_path / "a.png"))
    assert problem is not None
    Image.new("1", (9000, 9000)).save(tmp_path / "b.png")
    problem = survives(lambda: load_picture(tmp_path / "b.png"))
    assert problem is not None and "9000 x 9000" in str(problem)


def regions(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def count(pixels, color):
    return int((np.abs(pixels - np.array(color)).max(-1) == 0).sum())


def test_a_sheet_shows_every_picture_whole_and_labels_beside_them(tmp_path):
    red, green = plain([1, 0, 0], 64, 64), plain([0, 1, 0], 64, 64)
    rows = [("drag the wing", "step 300", [red, green]), SheetRow(title="remove", images=[green], captions=["after"])]
    size = contact_sheet(rows, tmp_path / "contact.png", heading="a dragon", columns=["before", "after"])
    pixels = regions(tmp_path / "contact.png")
    assert pixels.shape == (size[1], size[0], 3)
    assert count(pixels, (255, 0, 0)) == 64 * 64 and count(pixels, (0, 255, 0)) == 2 * 64 * 64
    columns = np.flatnonzero((pixels == np.array([255, 0, 0])).all(-1).any(0))
    label = pixels[:, : columns[0]]
    # Letters: dark pixels left of the pictures, in the heading, and over the columns.
    assert (label.sum(-1) < 250).sum() > 100
    assert np.abs(np.diff(columns)).max() == 1, "in one piece"


def test_sheets_of_mixed_sizes_and_long_words_fit(tmp_path):
    wide = plain([0, 0, 1], 20, 80)
    rows = [
        ("w" * 300 + " some words that go on and on " * 5, "line one\nline two " + "y" * 200, [wide, plain([1, 0, 0])])
    ]
    width, height = contact_sheet(rows, tmp_path / "a.png", tile=100)
    pixels = regions(tmp_path / "a.png")
    assert width < 600 and height < 900
    blue = np.argwhere(np.abs(pixels - np.array([0, 0, 255])).max(-1) < 3)
    extent = blue.max(0) - blue.min(0) + 1
    assert extent[1] == pytest.approx(100, abs=2) and extent[0] == pytest.approx(25, abs=2)
    assert (pixels[:, -8:] == 255).all() and (pixels[-8:] == 255).all(), "nothing runs over the rim"


def test_the_same_sheet_is_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        contact_sheet([("a", "b", [plain([0.2, 0.4, 0.6])])], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_wrong_sheets(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], tmp_path / "a.png")
    with pytest.raises(ValueError, match="row 'x' has no pictures"):
        contact_sheet([("x", "", [])], tmp_path / "a.png")


def test_tiles():
    images = [np.full((2, 3, 3), i, np.uint8) for i in range(5)]
    tiles = tile_pictures(images, 3, gap=1)
    assert tiles.shape == (5, 11, 3)
    assert tiles[0, 4, 0] == 1 and tiles[3, 0, 0] == 3 and tiles[3, 8, 0] == 255 and tiles[2, 0, 0] == 255
    with pytest.raises(ValueError, match="one size"):
        tile_pictures([images[0], np.zeros((1, 1, 3), np.uint8)], 2)
